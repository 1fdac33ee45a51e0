// Whether a bundle, certificate, beacon or revocation list is the issuer's own and meant for this reader: each gives
// ACCEPTED or why not. Dates of the issuer's key are asked only where the caller gives `nowS`. As offline/trust.py.

import { equal } from "./bytes.js";
import { entryOf } from "./codec.js";
import { algorithmOf, message, verifySignature } from "./signing.js";
import { Verdict } from "./verdicts.js";

/** ISSUER_KEY_UNKNOWN: another root. STALE: its version is below `floor`, the highest ever taken over. */
export async function checkBundle(signed, rootKid, rootKey, floor) {
  if (!equal(signed.rootKid, rootKid)) return Verdict.ISSUER_KEY_UNKNOWN;
  const data = message.bundle(rootKid, signed.bundleRaw);
  if (!(await verifySignature(algorithmOf(rootKey), rootKey, data, signed.sig))) return Verdict.SIGNATURE;
  return signed.bundle.version < floor ? Verdict.STALE : Verdict.ACCEPTED;
}

export function datesOfKey(key, nowS) {
  return key.notBefore <= nowS && nowS <= key.notAfter ? null : Verdict.ISSUER_KEY_EXPIRED;
}

/** ISSUER_KEY_UNKNOWN, ISSUER_KEY_EXPIRED (only with `nowS`), SIGNATURE or ACCEPTED. */
export async function checkIssued(bundle, kid, usage, data, sig, nowS = null) {
  const key = entryOf(bundle, kid, usage);
  if (key === null) return Verdict.ISSUER_KEY_UNKNOWN;
  if (nowS !== null && datesOfKey(key, nowS)) return Verdict.ISSUER_KEY_EXPIRED;
  return (await verifySignature(key.alg, key.key, data, sig)) ? Verdict.ACCEPTED : Verdict.SIGNATURE;
}

/** The issuer's signature over a terminal certificate; its own notAfter is the caller's to ask. */
export async function checkCertificate(kid, certRaw, sigCert, bundle, nowS = null) {
  const verdict = await checkIssued(bundle, kid, "C", message.certificate(kid, certRaw), sigCert, nowS);
  return verdict === Verdict.SIGNATURE ? Verdict.CERTIFICATE_SIGNATURE : verdict;
}

/** A beacon counts only for this terminal and the nonce of the request outstanding. */
export async function checkBeacon(signed, bundle, terminal, nonce) {
  const b = signed.beacon;
  if (!equal(b.terminal, terminal) || !equal(b.nonce, nonce)) return Verdict.OTHER_SUBJECT;
  return checkIssued(bundle, signed.kid, "B", message.beacon(signed.kid, b.terminal, b.nonce, b.ts), signed.sig);
}

/** For a terminal at revocation epoch `epoch`: STALE if it leads nowhere new or skips something. */
export async function checkRevocations(signed, bundle, epoch) {
  const data = message.revocations(signed.kid, signed.listRaw);
  const verdict = await checkIssued(bundle, signed.kid, "L", data, signed.sig);
  if (verdict !== Verdict.ACCEPTED) return verdict;
  const delta = signed.revocations;
  return delta.baseEpoch <= epoch && epoch < delta.epoch ? Verdict.ACCEPTED : Verdict.STALE;
}
