// The payer's side: whether a terminal's request, receipt or void is what it says, and the voucher that answers one.
//
// `decodeRequest(text)`, `decodeReceipt`, `decodeVoid` give {verdict, value}. `checkRequest(signed, facts)` gives
// {verdict, stale}: facts are bundle, nowS, allowance (null asks only who is asking), counter and cum of the last
// RESERVED payload (0 and 0 before the first), freshS. `stale` is a warning, never a refusal. As offline/payer.py.

import { equal } from "./bytes.js";
import { bytesOf } from "./codec.js";
import { Size } from "./fields.js";
import { algorithmOf, message, sha256, verifySignature, voucherHash } from "./signing.js";
import { checkCertificate } from "./trust.js";
import { Verdict, verdictOf } from "./verdicts.js";
import { dates } from "./verify.js";
import { SignedReceipt, SignedRequest, SignedVoid } from "./wire.js";

const FRESH_S = 180;

export const decodeRequest = (text) => verdictOf(() => SignedRequest.fromText(text));
export const decodeReceipt = (text) => verdictOf(() => SignedReceipt.fromText(text));
export const decodeVoid = (text) => verdictOf(() => SignedVoid.fromText(text));

/** SHA-256(req): with the terminal it names a request; the same pair shows the same voucher for ever. */
export async function requestHash(signed) {
  return sha256(signed.bodyRaw);
}

/** Whether the device may offer to pay this request; the first failure is the verdict. */
export async function checkRequest(signed, facts) {
  const stale = Math.abs(facts.nowS - signed.body.ts) > (facts.freshS ?? FRESH_S);
  const verdict = (await asker(signed, facts)) ?? affordable(signed.body, facts) ?? Verdict.ACCEPTED;
  return { verdict, stale };
}

async function asker(signed, { bundle, nowS }) {
  const verdict = await checkCertificate(signed.kid, signed.certRaw, signed.sigCert, bundle, nowS);
  if (verdict !== Verdict.ACCEPTED) return verdict;
  if (nowS > signed.cert.notAfter) return Verdict.CERTIFICATE_EXPIRED;
  const data = await message.request(signed.certRaw, signed.bodyRaw);
  return (await byTerminal(signed, data)) ? null : Verdict.REQUEST_SIGNATURE;
}

function affordable(request, { allowance, nowS, counter = 0, cum = 0 }) {
  if (!allowance) return null;
  if (request.ccy !== allowance.ccy) return Verdict.CURRENCY_MISMATCH;
  const date = dates(allowance, nowS);
  if (date !== null) return date;
  if (request.amount > allowance.capEach) return Verdict.OVER_VOUCHER_LIMIT;
  if (counter + 1 > allowance.maxCount) return Verdict.COUNTER_RANGE;
  return cum + request.amount > allowance.capTotal ? Verdict.OVER_ALLOWANCE_CAP : null;
}

function byTerminal(signed, data) {
  const key = signed.cert.terminalKey;
  return verifySignature(algorithmOf(key), key, data, signed.sig);
}

/** The certificate's and the body's signatures, and that both speak of this very voucher. No dates. */
async function about(signed, data, bundle, voucher) {
  const verdict = await signedByTerminal(signed, data, bundle);
  if (verdict !== Verdict.ACCEPTED) return verdict;
  const { cert, body } = signed;
  const v = voucher.voucher;
  const same =
    equal(cert.terminal, v.terminal) && equal(cert.payee, v.payee) && equal(body.h, voucher.h) &&
    equal(body.aid, voucher.allowance.aid) && body.counter === v.counter;
  return same ? Verdict.ACCEPTED : Verdict.OTHER_SUBJECT;
}

async function signedByTerminal(signed, data, bundle) {
  const verdict = await checkCertificate(signed.kid, signed.certRaw, signed.sigCert, bundle);
  if (verdict !== Verdict.ACCEPTED) return verdict;
  return (await byTerminal(signed, data)) ? Verdict.ACCEPTED : Verdict.SIGNATURE;
}

/** Whether the payee's own terminal says that `voucher` is durable there. */
export async function checkReceipt(signed, bundle, voucher) {
  return about(signed, await message.receipt(signed.certRaw, signed.bodyRaw), bundle, voucher);
}

/** Whether the payee's own terminal gives `voucher` back. */
export async function checkVoid(signed, bundle, voucher) {
  return about(signed, await message.void(signed.certRaw, signed.bodyRaw), bundle, voucher);
}

/**
 * The payload that answers a request, after `last` {counter, cum, h} (h null before the first): {voucher, raw, h}.
 * It is what must be stored before it is signed.
 */
export async function nextVoucher(allowanceRaw, last, signedRequest, nowS) {
  const { cert, body } = signedRequest;
  const voucher = Object.freeze({
    counter: last.counter + 1,
    amount: body.amount,
    cum: last.cum + body.amount,
    payee: cert.payee,
    terminal: cert.terminal,
    nonce: body.nonce,
    ts: nowS,
    prev: last.h === null ? new Uint8Array(Size.PREV) : last.h.slice(0, Size.PREV),
  });
  const raw = bytesOf.voucher(voucher);
  return { voucher, raw, h: await voucherHash(allowanceRaw, raw) };
}
