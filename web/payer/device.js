// The payer's device: reserve, sign, store, show, in this order and never in another.
//
// Every answer is {ok, why, ...}: `why` is a verdict of OV1 or one of the edge.… codes that words.js has a sentence for.
// Web Locks keep two tabs apart; the store's transaction is what holds when they do not.

import { fromHex, toHex } from "../ov1/bytes.js";
import { checkReceipt, checkRequest, checkVoid, decodeReceipt, decodeRequest, decodeVoid, nextVoucher, requestHash } from "../ov1/payer.js";
import { message, sign } from "../ov1/signing.js";
import { Verdict } from "../ov1/verdicts.js";
import { SignedAllowance, SignedBundle, SignedVoucher } from "../ov1/wire.js";

export function alone(work) {
  return navigator.locks.request("hundi-payer", work);
}

const refused = (why) => ({ ok: false, why });

export async function trusted(store) {
  return (await SignedBundle.fromBytes(await store.get("bundle"))).bundle;
}

/** Read a request and say who asks for what. `paid` is the voucher that answered this very request before. */
export async function offer(store, text, nowS) {
  const { verdict, value: request } = await decodeRequest(text);
  if (request === null) return refused(verdict);
  const { cert, body } = request;
  const hash = toHex(await requestHash(request));
  const bundle = await trusted(store);
  const shown = { ok: true, why: Verdict.ACCEPTED, request, hash, payeeName: cert.name, amount: body.amount, ccy: body.ccy };
  const paid = await store.answered(toHex(cert.terminal), toHex(body.nonce));
  if (paid) {
    if (paid.requestHash !== hash) return refused(Verdict.REQUEST_REUSED);
    const { stale } = await checkRequest(request, { bundle, nowS });
    return { ...shown, payeeName: paid.payeeName, paid, stale };
  }
  const seen = await store.usable();
  if (!seen) return refused("edge.no_allowance");
  if (seen.state !== "active") return refused("edge.allowance_surrendered");
  const { allowance } = await SignedAllowance.fromBytes(seen.wire);
  const judged = await checkRequest(request, { bundle, nowS, allowance, counter: seen.counter, cum: seen.cum });
  if (judged.verdict !== Verdict.ACCEPTED) return refused(judged.verdict);
  return { ...shown, stale: judged.stale, seen };
}

/** Pay a request that the payer agreed to: {ok, text, row, again}. The same request again shows the same voucher. */
export function pay(store, text, nowS) {
  return alone(async () => {
    await signReserved(store);
    for (;;) {
      const offered = await offer(store, text, nowS);
      if (!offered.ok) return offered;
      if (offered.paid) return shown(store, offered.paid, true);
      const reserved = await reserve(store, offered, nowS);
      if (reserved !== null) return shown(store, reserved, false);
    }
  });
}

/** The reserved row, or null if another tab came first: then everything is looked at again. */
async function reserve(store, { seen, request, hash }, nowS) {
  const { allowanceRaw } = await SignedAllowance.fromBytes(seen.wire);
  const last = { counter: seen.counter, cum: seen.cum, h: seen.lastH && fromHex(seen.lastH) };
  const { voucher, raw, h } = await nextVoucher(allowanceRaw, last, request, nowS);
  const row = {
    h: toHex(h), terminal: toHex(voucher.terminal), nonce: toHex(voucher.nonce), requestHash: hash,
    amount: voucher.amount, ccy: request.body.ccy, payeeName: request.cert.name, raw, reservedAt: nowS,
    proof: null, witnessed: 0,
  };
  if (!(await store.reserve(seen, row))) return null;
  return { ...row, aid: seen.aid, counter: voucher.counter, sig: null };
}

async function shown(store, row, again) {
  return { ok: true, why: Verdict.ACCEPTED, text: await textOf(store, row), row, again };
}

/** The text to show for a row; one that a crash left unsigned is signed now. */
export async function textOf(store, row) {
  const signed = await signedVoucher(store, row.sig === null ? await signRow(store, row) : row);
  return SignedVoucher.toText(signed);
}

export async function signedVoucher(store, row) {
  const { wire } = await store.allowance(row.aid);
  const a = await SignedAllowance.fromBytes(wire);
  return SignedVoucher.of(a.kid, a.allowanceRaw, a.sigA, row.raw, row.sig);
}

async function signRow(store, row) {
  const { wire } = await store.allowance(row.aid);
  const { allowanceRaw } = await SignedAllowance.fromBytes(wire);
  const sig = await sign(await store.get("pair"), await message.voucher(allowanceRaw, row.raw));
  return store.sign(row.aid, row.counter, sig);
}

/** After a crash, sign each reserved payload: the same one, for its counter is taken for ever. */
async function signReserved(store) {
  for (const row of await store.reserved()) {
    const { state } = await store.allowance(row.aid);
    if (state === "active") await signRow(store, row);
  }
}

export function recover(store) {
  return alone(() => signReserved(store));
}

/** Keep a terminal's receipt or void as the proof of what became of a voucher: {ok, why, row, cancelled}. */
export async function keep(store, text) {
  let { verdict, value: proof } = await decodeReceipt(text);
  const cancelled = proof === null;
  if (cancelled) ({ verdict, value: proof } = await decodeVoid(text));
  if (proof === null) return refused(verdict);
  const row = await store.byHash(toHex(proof.body.h));
  if (!row || row.sig === null) return refused(Verdict.OTHER_SUBJECT);
  const check = cancelled ? checkVoid : checkReceipt;
  const why = await check(proof, await trusted(store), await signedVoucher(store, row));
  if (why !== Verdict.ACCEPTED) return refused(why);
  await store.change(row.h, { proof: text });
  return { ok: true, why, row, cancelled };
}
