// Every verdict of OV1 by its name, as offline/verdicts.py has them: the value is what travels and is stored.

const of = (names, prefix) => Object.fromEntries(names.map((name) => [name, prefix + name]));

export const Verdict = Object.freeze({
  ...of([
    "ACCEPTED",
    // Reading
    "MALFORMED", "NON_CANONICAL", "UNSUPPORTED_VERSION",
    // A voucher at the terminal, in the order of its steps
    "VOIDED", "ALREADY_ACCEPTED", "ISSUER_KEY_UNKNOWN", "ISSUER_KEY_EXPIRED", "PAYEE_MISMATCH",
    "CHALLENGE_UNKNOWN", "CHALLENGE_USED", "CHALLENGE_EXPIRED", "AMOUNT_MISMATCH", "CURRENCY_MISMATCH",
    "NOT_YET_VALID", "ALLOWANCE_EXPIRED", "POLICY_EXCEEDED", "OVER_VOUCHER_LIMIT", "COUNTER_RANGE",
    "OVER_ALLOWANCE_CAP", "CUMULATIVE_INCONSISTENT", "REVOKED", "ALLOWANCE_SIGNATURE", "VOUCHER_SIGNATURE",
    "DOUBLE_SPEND_LOCAL", "ALLOWANCE_EXPOSURE",
    // Before a request is shown
    "CLOCK_UNTRUSTED", "SYNC_OVERDUE", "FLOOR_LIMIT",
    // Sync and settlement
    "JOURNAL_GAP", "JOURNAL_FORK", "ALLOWANCE_UNKNOWN", "DOUBLE_SPEND", "SETTLEMENT_CLOSED", "HOLD_EXHAUSTED",
    "REVOCATION_NOT_APPLIED",
    // The payer's device, and every other signed thing
    "CERTIFICATE_EXPIRED", "CERTIFICATE_SIGNATURE", "REQUEST_SIGNATURE", "REQUEST_REUSED", "DEVICE_ROLLED_BACK",
    "SIGNATURE", "OTHER_SUBJECT", "STALE",
  ], "OV_"),
  DUPLICATE: "DUPLICATE",
});

/** How a reader gives up inside web/ov1: carries the verdict that the public function returns. */
export class Refused extends Error {
  constructor(verdict, reason = "") {
    super(reason ? `${verdict}: ${reason}` : verdict);
    this.verdict = verdict;
  }
}

export function malformed(reason) {
  throw new Refused(Verdict.MALFORMED, reason);
}

/** `read()`, or the verdict for which it gave up: {verdict, value}. Other errors are faults of ours and go through. */
export async function verdictOf(read) {
  try {
    return { verdict: Verdict.ACCEPTED, value: await read() };
  } catch (error) {
    if (error instanceof Refused) return { verdict: error.verdict, value: null };
    throw error;
  }
}
