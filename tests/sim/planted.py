"""The faults that the simulation must find: each changes one place of the ledger, and is named."""

from dataclasses import dataclass

RULES, MODEL = "server_core.ledger.rules", "server_core.ledger.model"
STORE, SERVICE = "server_core.ledger.store", "server_core.ledger.service"
WORK, BATCH = "server_core.db.work", "server_core.db.batch"
HISTORY = "server_core.ledger.history"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, which stands once in `module`, becomes `new`; or `sql` is done to the database."""

    name: str
    module: str = ""
    old: str = ""
    new: str = ""
    sql: str = ""


MUTANTS = (
    # Locks and keys: what only shows when two are at work.
    Mutant("accounts not locked", STORE, "ORDER BY id FOR NO KEY UPDATE", "ORDER BY id"),
    Mutant("transfer has no primary key", sql="ALTER TABLE transfer DROP CONSTRAINT transfer_pkey"),
    Mutant("a collision is not tried again", WORK, "    asyncpg.UniqueViolationError,\n", ""),
    Mutant(
        "known ids not looked up", STORE,
        "known = [row[0] for row in found if row[1] is None]", "known = []",
    ),
    # Limits.
    Mutant("floor not checked", RULES, "if falls and account.floor", "if False and account.floor"),
    Mutant("cap not checked", RULES, "if rises and account.cap", "if False and account.cap"),
    Mutant(
        "floor off by one", RULES,
        "account.available - amount < account.floor", "account.available - amount < account.floor - 1",
    ),
    Mutant(
        "floor on the wrong side of debit accounts", RULES,
        "falls in ((taker, taker.credit), (giver, not giver.credit))",
        "falls in ((taker, True), (giver, False))",
    ),
    Mutant(
        "pending not counted in available", MODEL,
        "return self.balance - (self.debits_pending if self.credit else self.credits_pending)",
        "return self.balance",
    ),
    Mutant(
        "pending not counted in potential", MODEL,
        "return self.balance + (self.credits_pending if self.credit else self.debits_pending)",
        "return self.balance",
    ),
    Mutant("overflow not checked", RULES, "        return Result.OVERFLOWS", "        pass"),
    Mutant(
        "overflow forgets what is pending", RULES,
        "taker.debits_posted + taker.debits_pending + amount", "taker.debits_posted + amount",
    ),
    Mutant("a closed account accepts", RULES, "if taker.closed or giver.closed:", "if False:"),
    Mutant(
        "ledgers may be mixed", RULES,
        "if not taker.ledger == giver.ledger == transfer.ledger:", "if False:",
    ),
    # Holds.
    Mutant(
        "a final post does not end its hold", STORE,
        "max(c.mode) FILTER (WHERE c.mode <> 'post' OR c.final) AS ended",
        "max(c.mode) FILTER (WHERE c.mode <> 'post') AS ended",
    ),
    Mutant(
        "a hold ends twice in one batch", RULES,
        "resolved_by=transfer.mode if ends else None", "resolved_by=None",
    ),
    Mutant("post at the moment of expiry", RULES, "at >= first.expires_at", "at > first.expires_at"),
    Mutant(
        "expiry by the Work's time alone", RULES,
        "        at = max(self._now, taker.moved_at, giver.moved_at)\n", "        at = self._now\n",
    ),
    Mutant("expiry before its time", RULES, "if due != (transfer.mode is Mode.EXPIRE):", "if due and transfer.mode is not Mode.EXPIRE:"),
    Mutant("void after expiry", RULES, "if due != (transfer.mode is Mode.EXPIRE):", "if due != (transfer.mode is Mode.EXPIRE) and transfer.mode is not Mode.VOID:"),
    Mutant("an end in a ledger of its own", RULES, "debit=first.debit, credit=first.credit, ledger=first.ledger", "debit=first.debit, credit=first.credit"),
    Mutant(
        "a final post keeps the rest", RULES,
        "return -hold.remaining if ends else -transfer.amount", "return -transfer.amount",
    ),
    Mutant(
        "a posted hold can be voided", RULES,
        "if hold.resolved_by is not None:",
        "if hold.resolved_by is not None and transfer.mode is not Mode.VOID:",
    ),
    Mutant(
        "posts together exceed their hold", RULES,
        "if transfer.amount > hold.remaining:", "if transfer.amount > first.amount:",
    ),
    Mutant("the expiry job is a moment late", STORE, "t.expires_at <= $1", "t.expires_at < $1"),
    # What is written.
    Mutant("version not counted up", RULES, "account.version += 1", "account.version += 0"),
    Mutant("no entry on the credit side", RULES, "for account in (taker, giver):", "for account in (taker,):"),
    Mutant(
        "time runs backwards", RULES,
        "return _Move(taker, giver, None, max(self._now, taker.moved_at, giver.moved_at))",
        "return _Move(taker, giver, None, self._now)",
    ),
    Mutant("totals not those of the last entry", STORE, "credits_posted = l.credits_posted, moved", "moved"),
    # What is read of the past.
    Mutant(
        "a past moment without its own entries", HISTORY,
        "AND entry.recorded_at <= $2", "AND entry.recorded_at < $2",
    ),
    Mutant(
        "effective times of posts forgotten", HISTORY,
        "t.mode IN ('single', 'post')", "t.mode IN ('single')",
    ),
    # Ids and their answers.
    Mutant("an id is known whatever it says", RULES, "if not same(transfer, first):", "if False:"),
    Mutant(
        "a refusal is not kept", RULES,
        "if bind and result not in UNBOUND and", "if False and result not in UNBOUND and",
    ),
    Mutant(
        "a mistake takes the id", RULES,
        "if bind and result not in UNBOUND and", "if bind and",
    ),
    Mutant(
        "a broken chain keeps its start", RULES,
        "if failed is None and not open_ended:", "if not open_ended:",
    ),
    Mutant(
        "an open chain is taken", RULES,
        "if failed is None and not open_ended:", "if failed is None:",
    ),
    Mutant(
        "a batch is written under new ids", SERVICE,
        "    known = await _read(work, transfers)\n",
        "    transfers = [replace(one, id=work.ids.new()) for one in transfers]\n"
        "    known = await _read(work, transfers)\n",
    ),
    # Commits and events.
    Mutant("events not flushed", WORK, "                if work.emitted:\n", "                if False:\n"),
    Mutant(
        "what is rolled back is committed", WORK,
        "transaction.rollback()", "transaction.commit()",
    ),
    Mutant(
        "a queue answers with another's outcome", BATCH,
        "            _settle(future, outcome)\n", "            _settle(future, outcomes[0])\n",
    ),
)  # fmt: skip
