// A payer's device online: link it, take an allowance, give it back, and bear witness to what it signed.

import { equal, fromHex, toHex } from "../ov1/bytes.js";
import { message, newKey, publicBytes, sign } from "../ov1/signing.js";
import { checkBundle, checkIssued } from "../ov1/trust.js";
import { Verdict, verdictOf } from "../ov1/verdicts.js";
import { SignedAllowance, SignedBundle, SignedVoucher } from "../ov1/wire.js";
import { alone, recover, signedVoucher, trusted } from "./device.js";
import * as server from "./server.js";

const WITNESS_BATCH = 100;
const LOWEST = "software"; // what every device is when it is linked
const refused = (why) => ({ ok: false, why });
const fine = { ok: true, why: Verdict.ACCEPTED };

/** A bundle that this root signed and that is not older than `floor`: {verdict, value}. */
async function readBundle(wire, rootKid, rootKey, floor) {
  const read = await verdictOf(() => SignedBundle.fromBytes(wire));
  if (read.value === null) return read;
  const verdict = await checkBundle(read.value, rootKid ?? read.value.rootKid, rootKey, floor);
  return verdict === Verdict.ACCEPTED ? read : { verdict, value: null };
}

/** What this browser may set aside, as the server says now: {tier, capTotal, capEach}. Kept, to be shown offline. */
export async function limits(store) {
  const me = await store.get("me");
  const { devices } = me ? await server.me() : { devices: [] };
  const tier = devices.find((one) => one.device === me?.device)?.tier ?? LOWEST;
  const caps = (await server.tiers())[tier];
  const found = { tier, capTotal: Number(caps.cap_total), capEach: Number(caps.cap_each) };
  await store.put("limits", found);
  return found;
}

/** Make the key, once, and link it to the session's payer. The root is believed on the strength of this connection. */
export async function link(store, label) {
  const who = await server.me();
  const pair = await store.putOnce("pair", await newKey());
  const [key, serverNonce] = [await publicBytes(pair), await server.nonce()];
  const proof = await sign(pair, message.enrolment("payer", serverNonce, key, who.party));
  const answer = await server.enrol({ key, label, serverNonce, proof });
  const { verdict, value: signed } = await readBundle(answer.bundle, null, answer.rootKey, 0);
  if (signed === null) return refused(verdict);
  await store.put("bundle", answer.bundle);
  const { rootKid } = signed;
  await store.put("me", { party: who.party, name: who.name, device: answer.device, rootKid, rootKey: answer.rootKey });
  await navigator.storage?.persist?.();
  return fine;
}

async function refreshBundle(store) {
  const [{ rootKid, rootKey }, held, wire] = [await store.get("me"), await trusted(store), await server.bundle()];
  const { verdict, value: signed } = await readBundle(wire, rootKid, rootKey, held.version);
  if (signed === null) return refused(verdict);
  if (signed.bundle.version > held.version) await store.put("bundle", wire);
  return fine;
}

/** Take an allowance of minor units. After a lost answer the same question is asked again under the same key. */
export function takeAllowance(store, { ccy, capTotal, capEach }, nowS) {
  return alone(async () => {
    const held = await store.usable();
    if (held) {
      const { allowance } = await SignedAllowance.fromBytes(held.wire);
      if (held.state !== "active" || nowS <= allowance.spendUntil) return refused("edge.allowance_held");
      await store.setState(held.aid, "ended");
    }
    const fresh = await refreshBundle(store);
    if (!fresh.ok) return fresh;
    const { device } = await store.get("me");
    const asked = await store.putOnce("asking", {
      device, currency: ccy, cap_total: String(capTotal), cap_each: String(capEach),
      idempotency_key: toHex(crypto.getRandomValues(new Uint8Array(16))),
    });
    let parts;
    try {
      parts = await server.allowance(asked);
    } catch (error) {
      // Refused under this key: the next attempt is a new question. Without an answer it is the same one.
      if (error.status >= 400 && error.status < 500) await store.forget("asking");
      throw error;
    }
    return keepIssued(store, parts, asked, nowS);
  });
}

async function keepIssued(store, parts, asked, nowS) {
  const { verdict, value: signed } = await verdictOf(() => SignedAllowance.of(...parts));
  if (signed === null) return refused(verdict);
  const data = message.allowance(signed.kid, signed.allowanceRaw);
  const issued = await checkIssued(await trusted(store), signed.kid, "A", data, signed.sigA);
  if (issued !== Verdict.ACCEPTED) return refused(issued === Verdict.SIGNATURE ? Verdict.ALLOWANCE_SIGNATURE : issued);
  const { aid, deviceKey, ccy } = signed.allowance;
  const key = await publicBytes(await store.get("pair"));
  if (!equal(deviceKey, key) || ccy !== asked.currency) return refused(Verdict.OTHER_SUBJECT);
  await store.take(toHex(aid), SignedAllowance.toBytes(signed), nowS);
  return fine;
}

/** Give the allowance back. It stops being spendable before the server hears of it. */
export async function surrender(store) {
  await recover(store);
  return alone(async () => {
    const row = await store.usable();
    if (!row) return refused("edge.no_allowance");
    await store.setState(row.aid, "surrendering");
    const { allowance, allowanceRaw } = await SignedAllowance.fromBytes(row.wire);
    const last = { counter: row.counter, cum: row.cum, h: row.lastH ? fromHex(row.lastH) : new Uint8Array(32) };
    const data = await message.surrender(allowanceRaw, last.counter, last.cum, last.h);
    const sig = await sign(await store.get("pair"), data);
    await server.surrender({ aid: allowance.aid, ...last, sig });
    await store.setState(row.aid, "ended");
    return fine;
  });
}

/** A cancellation that the payer holds: the server refunds by it, whoever brings it first. */
export const { handIn } = server;

/** Upload every voucher that was signed and not yet witnessed. */
export async function witness(store) {
  const rows = (await store.vouchers()).filter((row) => row.signed && !row.witnessed);
  for (let at = 0; at < rows.length; at += WITNESS_BATCH) {
    const batch = rows.slice(at, at + WITNESS_BATCH);
    const texts = await Promise.all(batch.map(async (row) => SignedVoucher.toText(await signedVoucher(store, row))));
    await server.witness(texts);
    for (const row of batch) await store.change(row.h, { witnessed: 1 });
  }
}
