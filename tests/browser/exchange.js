// A payer's device in a browser, step by step, for tests that hold Python at the other end.

import { fromHex, toHex } from "/ov1/bytes.js";
import { read } from "/ov1/codec.js";
import { checkReceipt, checkRequest, checkVoid, decodeReceipt, decodeRequest, decodeVoid, nextVoucher } from "/ov1/payer.js";
import { message, newKey, publicBytes, sign, verifySignature } from "/ov1/signing.js";
import { decode } from "/ov1/verify.js";
import { SignedAllowance, SignedVoucher } from "/ov1/wire.js";

let pair;

export async function newDevice(alg) {
  pair = await newKey(alg);
  return toHex(await publicBytes(pair));
}

/** Read a request under an allowance and answer it: {verdict, stale, text}. */
export async function answer({ allowance, bundle, request, nowS, last = null }) {
  const a = await SignedAllowance.fromBytes(fromHex(allowance));
  const { value: asked, verdict: unread } = await decodeRequest(request);
  if (asked === null) return { verdict: unread };
  const before = last === null ? { counter: 0, cum: 0, h: null } : { ...last, h: fromHex(last.h) };
  const trust = read.bundle(fromHex(bundle));
  const judged = await checkRequest(asked, { bundle: trust, nowS, allowance: a.allowance, ...before });
  const next = await nextVoucher(a.allowanceRaw, before, asked, nowS);
  const sig = await sign(pair, await message.voucher(a.allowanceRaw, next.raw));
  return { ...judged, text: SignedVoucher.toText(await SignedVoucher.of(a.kid, a.allowanceRaw, a.sigA, next.raw, sig)) };
}

/** What a receipt and a void are to a voucher. */
export async function proofs({ bundle, voucher, receipt, void: cancelled }) {
  const trust = read.bundle(fromHex(bundle));
  const { value: signed } = await decode(voucher);
  return [
    await checkReceipt((await decodeReceipt(receipt)).value, trust, signed),
    await checkVoid((await decodeVoid(cancelled)).value, trust, signed),
  ];
}

const DATABASE = "keys";

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function open() {
  const asked = indexedDB.open(DATABASE, 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore("key");
  return done(asked);
}

/** Why the private half cannot be had: one answer for each form that a key could leave in. */
export async function refusals() {
  return Promise.all(
    ["raw", "pkcs8", "jwk"].map((form) =>
      crypto.subtle.exportKey(form, pair.privateKey).then(() => "given out", (error) => error.name)),
  );
}

export async function keepKey() {
  const db = await open();
  await done(db.transaction("key", "readwrite").objectStore("key").put(pair, "device"));
  db.close();
}

/** After a reload: the stored key signs, and is still the one that `key` names; gives whether it can be exported. */
export async function signWithKept(key) {
  const db = await open();
  pair = await done(db.transaction("key").objectStore("key").get("device"));
  db.close();
  const data = new TextEncoder().encode("after a reload");
  const raw = fromHex(key);
  const sound = await verifySignature(raw.length === 32 ? 0 : 1, raw, data, await sign(pair, data));
  return [sound, pair.privateKey.extractable];
}
