"""The faults that the simulation of payments must find: each changes one place of the engine."""

from typing import Final

from tests.sim.planted import Mutant

LANDING, ASKING = "server_core.payments.landing", "server_core.payments.asking"
CAPTURING, CONFIRMING = "server_core.payments.capturing", "server_core.payments.confirming"
REFUNDS, REFUND_LANDING = "server_core.refunds.rules", "server_core.refunds.landing"
STRAYS, STRAY_SERVICE = "server_core.strays.rules", "server_core.strays.service"
ATTEMPTS = "server_core.payments.attempts"

MUTANTS: Final = (
    Mutant(
        "landing does not look again under the lock", LANDING,
        "    if attempt.state not in OPEN:\n        await _doubt", "    if False:\n        await _doubt",
    ),
    Mutant(
        "another rail after no clear answer", LANDING,
        "    if attempt.state in OPEN:\n        intent, attempt = await _waits",
        "    if answer.outcome is RailOutcome.UNKNOWN and sent is not None and (\n"
        "        again := await _rerouted(\n"
        "            work, rails, intent, replace(attempt, state=AttemptState.NOT_SENT), sent)\n"
        "    ):\n        return again\n"
        "    if attempt.state in OPEN:\n        intent, attempt = await _waits",
    ),
    Mutant(
        "no clear answer is a decline", ATTEMPTS,
        "RailOutcome.UNKNOWN: AttemptState.UNKNOWN,", "RailOutcome.UNKNOWN: AttemptState.DECLINED,",
    ),
    Mutant(
        "a refund over a rail is not set aside", REFUNDS,
        "mode=Mode.SINGLE if at_once else Mode.PENDING,", "mode=Mode.SINGLE,",
    ),
    Mutant(
        "a failed refund is not counted back", REFUND_LANDING,
        "await payments.refunded(work, intent, -refund.amount)", "pass",
    ),
    Mutant(
        "a refund without a clear answer is over", REFUND_LANDING,
        "frozenset({Outcome.UNKNOWN, Outcome.AUTHORIZED, Outcome.ACTION})", "frozenset()",
    ),
    Mutant(
        "a stray is found anew by each look", STRAYS,
        'return derived("stray", found.attempt, found.debit or "")',
        'return derived("stray", found.attempt, found.debit or "", str(__import__("uuid").uuid4()))',
    ),
    Mutant(
        "a stray is never given back in the books", STRAY_SERVICE,
        "        await _post(work, rules.return_(stray))\n", "",
    ),
    Mutant(
        "a capture beside another one", CAPTURING,
        "    if await store.is_busy(work, intent.id):", "    if False:",
        sql="DROP INDEX attempt_open",  # else the database alone stops it
    ),
    Mutant(
        "a capture takes what the rail did not", LANDING,
        "    if attempt.state is not AttemptState.SUCCEEDED or intent.authorized is None:\n"
        '        return intent, "payment.capture_failed"',
        '    if intent.authorized is None:\n        return intent, "payment.capture_failed"',
    ),
    Mutant(
        "a decline leaves the hold", LANDING,
        "        await _post(work, attempts.resolution(intent, attempt.number, Mode.VOID))\n"
        "        await _compensate", "        await _compensate",
    ),
    Mutant(
        "what was not sent is not asked about again", ATTEMPTS,
        "    AttemptState.NOT_SENT: rail_rules.FIRST_CHECK_MS,\n", "",
    ),
    Mutant(
        "a reversal after 22 hours is not asked for", ASKING,
        "if unclear and rail_rules.is_over(", "if False and rail_rules.is_over(",
    ),
    Mutant(
        "what lapsed is not told to the rail", CAPTURING,
        "    if hold.rail is None:\n        await store.save(work, [done])\n    else:",
        "    if True:\n        await store.save(work, [done])\n    else:",
    ),
)  # fmt: skip
