// THE ordered verification of a voucher, steps 1-10, the first failure is the verdict: as offline/verify.py.
//
// 1. `decode(text)` or `decodeBytes(data)` gives {verdict, value}: step 1. 2. The caller loads the facts. 3.
// `judge(signed, facts)` gives {verdict, evidence}. No function throws for anything in the input.
//
// facts: payee, terminal, bundle, nowS, challenge {state: UNKNOWN | OPEN | USED | EXPIRED, amount, ccy}, voided,
// redeemed, revoked, stored (links of EVERY voucher kept under A.aid), allowanceExposure, exposureLimit (null: none),
// allowanceVerified (this very kid, A and sigA were verified before under this bundle).
//
// Sums of two integers up to 2^53-1 may round, but never to below 2^53, so that no comparison below turns round.

import { equal } from "./bytes.js";
import { entryOf, policyOf } from "./codec.js";
import { message, verifySignature } from "./signing.js";
import { datesOfKey } from "./trust.js";
import { Verdict, verdictOf } from "./verdicts.js";
import { SignedVoucher } from "./wire.js";

export const decode = (text) => verdictOf(() => SignedVoucher.fromText(text));
export const decodeBytes = (data) => verdictOf(() => SignedVoucher.fromBytes(data));

/** What rule 9 compares of a voucher. */
export function linkOf(signed) {
  const { counter, amount, cum, prev } = signed.voucher;
  return { counter, amount, cum, prev, h: signed.h };
}

export async function judge(signed, facts) {
  if (facts.voided) return { verdict: Verdict.VOIDED, evidence: null };
  if (facts.redeemed) return { verdict: Verdict.ALREADY_ACCEPTED, evidence: null };
  const key = entryOf(facts.bundle, signed.kid, "A");
  if (key === null) return { verdict: Verdict.ISSUER_KEY_UNKNOWN, evidence: null };
  const { allowance, voucher } = signed;
  const verdict =
    datesOfKey(key, facts.nowS) ??
    sameSale(signed, facts) ??
    dates(allowance, facts.nowS) ??
    limits(allowance, voucher, policyOf(facts.bundle, allowance.ccy)) ??
    (facts.revoked ? Verdict.REVOKED : null) ??
    (await signatures(signed, key, facts.allowanceVerified));
  if (verdict !== null) return { verdict, evidence: null };
  const evidence = conflict(linkOf(signed), facts.stored ?? []);
  if (evidence !== null) return { verdict: evidence.verdict, evidence };
  const limit = facts.exposureLimit ?? Infinity;
  const over = (facts.allowanceExposure ?? 0) + voucher.amount > limit;
  return { verdict: over ? Verdict.ALLOWANCE_EXPOSURE : Verdict.ACCEPTED, evidence: null };
}

/** Whether this terminal may sign a void (refused) for a voucher that it did not accept: as offline's may_void. */
export async function mayVoid(signed, facts) {
  const key = entryOf(facts.bundle, signed.kid, "A");
  return (
    !facts.voided && !facts.redeemed && key !== null && mine(signed.voucher, facts) &&
    facts.challenge.state !== "UNKNOWN" &&
    (await signatures(signed, key, facts.allowanceVerified)) === null
  );
}

/** What needs no database: steps 3 without dates, 6 and 8. */
export async function checkForSettlement(signed, bundle, policy = null) {
  const key = entryOf(bundle, signed.kid, "A");
  if (key === null) return Verdict.ISSUER_KEY_UNKNOWN;
  return (
    limits(signed.allowance, signed.voucher, policy ?? policyOf(bundle, signed.allowance.ccy)) ??
    (await signatures(signed, key, false)) ??
    Verdict.ACCEPTED
  );
}

/** Rule 9 for two vouchers of one allowance, lower.counter < higher.counter. */
export function consistentPair(lower, higher) {
  const gap = higher.counter - lower.counter;
  if (gap === 1) {
    return higher.cum === lower.cum + higher.amount && equal(higher.prev, lower.h.subarray(0, 8));
  }
  return higher.cum >= lower.cum + higher.amount + gap - 1;
}

/** Rule 9 against every stored voucher: a double signature anywhere comes before a broken sum. */
export function conflict(offered, stored) {
  const evidence = (verdict, link) => ({ verdict, storedH: link.h, offeredH: offered.h });
  const double = stored.find((link) => link.counter === offered.counter && !equal(link.h, offered.h));
  if (double) return evidence(Verdict.DOUBLE_SPEND_LOCAL, double);
  for (const link of stored) {
    if (link.counter === offered.counter) continue;
    const [lower, higher] = link.counter < offered.counter ? [link, offered] : [offered, link];
    if (!consistentPair(lower, higher)) return evidence(Verdict.CUMULATIVE_INCONSISTENT, link);
  }
  return null;
}

function mine(voucher, facts) {
  return equal(voucher.payee, facts.payee) && equal(voucher.terminal, facts.terminal);
}

/** Step 4. */
function sameSale(signed, facts) {
  const { state, amount, ccy } = facts.challenge;
  if (!mine(signed.voucher, facts)) return Verdict.PAYEE_MISMATCH;
  if (state !== "OPEN") return Verdict[`CHALLENGE_${state}`];
  if (signed.voucher.amount !== amount) return Verdict.AMOUNT_MISMATCH;
  return signed.allowance.ccy === ccy ? null : Verdict.CURRENCY_MISMATCH;
}

/** Step 5; both ends are inside. */
export function dates(allowance, nowS) {
  if (nowS < allowance.notBefore) return Verdict.NOT_YET_VALID;
  return nowS > allowance.spendUntil ? Verdict.ALLOWANCE_EXPIRED : null;
}

/** Step 6; a currency without a policy, or another policy's currency, exceeds it. */
function limits(a, v, policy) {
  if (
    policy === null || a.ccy !== policy.ccy || a.capEach > policy.capEach || a.capTotal > policy.capTotal ||
    a.settleUntil - a.notBefore > policy.lifeS
  ) {
    return Verdict.POLICY_EXCEEDED;
  }
  if (v.amount > a.capEach) return Verdict.OVER_VOUCHER_LIMIT;
  if (v.counter > a.maxCount) return Verdict.COUNTER_RANGE;
  if (v.cum > a.capTotal) return Verdict.OVER_ALLOWANCE_CAP;
  if (v.cum < v.amount || (v.counter === 1 && v.cum !== v.amount)) return Verdict.CUMULATIVE_INCONSISTENT;
  return null;
}

/** Step 8. The device's algorithm is inside A, so it is looked at only after A's signature. */
async function signatures(signed, key, allowanceVerified) {
  const { kid, allowance, allowanceRaw, sigA, voucherRaw, sigV } = signed;
  if (!allowanceVerified && !(await verifySignature(key.alg, key.key, message.allowance(kid, allowanceRaw), sigA))) {
    return Verdict.ALLOWANCE_SIGNATURE;
  }
  const data = await message.voucher(allowanceRaw, voucherRaw);
  const sound = await verifySignature(allowance.flags, allowance.deviceKey, data, sigV);
  return sound ? null : Verdict.VOUCHER_SIGNATURE;
}
