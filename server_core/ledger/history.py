"""SQL of what was: past totals, statement lines, the journal row by row."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from server_core.db.work import Reader, Row
from server_core.ledger.store import SUMS, TOTALS, TRANSFER


async def totals_at(reader: Reader, account: UUID, at_ms: int) -> dict[str, int]:
    """The totals after the last entry recorded at or before `at_ms`; zeros before the first.

    From the last milestone by time, at most 63 entries on: recorded time never runs backwards in
    an account.
    """
    row = await reader.row(
        "SELECT entry.version, debits_pending, debits_posted, credits_pending, credits_posted,"
        " recorded_at AS moved_at FROM entry, (SELECT coalesce((SELECT m.version FROM entry m"
        "   WHERE m.account = $1 AND m.version % 64 = 0 AND m.recorded_at <= $2"
        "   ORDER BY m.recorded_at DESC, m.version DESC LIMIT 1), 0) AS version) milestone"
        " WHERE entry.account = $1 AND entry.version BETWEEN milestone.version"
        "  AND milestone.version + 63 AND entry.recorded_at <= $2"
        " ORDER BY entry.version DESC LIMIT 1",
        account,
        at_ms,
    )
    return dict(row) if row is not None else dict.fromkeys(TOTALS, 0)


async def shifted(reader: Reader, account: UUID, at_ms: int) -> tuple[int, int]:
    """What effective times move over `at_ms`: posted debits and credits to add to the recorded."""
    row = await reader.row(
        "SELECT coalesce(sum(amount) FILTER (WHERE debit = $1), 0)::bigint AS debits,"
        " coalesce(sum(amount) FILTER (WHERE credit = $1), 0)::bigint AS credits FROM ("
        "  SELECT t.debit, t.credit, CASE WHEN t.effective_at <= $2 THEN t.amount"
        "   ELSE -t.amount END AS amount FROM transfer t"
        "  WHERE (t.debit = $1 OR t.credit = $1) AND t.effective_at IS NOT NULL"
        "  AND (t.effective_at <= $2) <> (t.recorded_at <= $2)"
        "  AND t.result = 'created' AND t.mode IN ('single', 'post')) moved",
        account,
        at_ms,
    )
    return (row["debits"], row["credits"]) if row is not None else (0, 0)


async def lines(reader: Reader, account: UUID, *, before: int | None, limit: int) -> list[Row]:
    """Statement lines, newest first: each entry with its transfer and the totals before it."""
    return await reader.rows(
        "SELECT e.version, e.transfer, e.debits_posted, e.credits_posted, e.debits_pending,"
        " e.credits_pending, e.recorded_at, t.mode, t.code, t.reference, t.amount,"
        " t.debit, t.credit, coalesce(p.debits_posted, 0) AS previous_debits,"
        " coalesce(p.credits_posted, 0) AS previous_credits"
        " FROM entry e JOIN transfer t ON t.id = e.transfer"
        " LEFT JOIN entry p ON p.account = e.account AND p.version = e.version - 1"
        " WHERE e.account = $1 AND e.version < coalesce($2, 9223372036854775807)"
        " AND (e.debits_posted, e.credits_posted)"
        "  <> (coalesce(p.debits_posted, 0), coalesce(p.credits_posted, 0))"
        " ORDER BY e.version DESC LIMIT $3",
        account,
        before,
        limit,
    )


async def journal_rows(reader: Reader, ids: Sequence[UUID]) -> list[Row]:
    """Transfers with both their entries, in the order of `ids`; one that is gone is all NULLs."""
    return await reader.rows(_JOURNAL, list(ids))


_JOURNAL: Final = f"""
SELECT u.id, {", ".join(f"t.{name}" for name in TRANSFER.replace(",", "").split()[1:])},
  t.recorded_at,
  {
    ", ".join(
        f"{letter}.{name} AS {side}_{name}"
        for letter, side in (("d", "debit"), ("c", "credit"))
        for name in TOTALS[:-1]
    )
}
FROM unnest($1::uuid[]) WITH ORDINALITY AS u(id, place)
LEFT JOIN transfer t ON t.id = u.id
LEFT JOIN entry d ON d.account = t.debit AND d.version = t.debit_version
LEFT JOIN entry c ON c.account = t.credit AND c.version = t.credit_version
ORDER BY u.place
"""


_SIDES: Final = f"""
SELECT s.account, s.version, s.id, s.mode, s.amount, s.pending_id, s.final, s.is_debit,
  {", ".join(f"e.{name}" for name in SUMS)}
FROM (
  SELECT debit AS account, debit_version AS version, id, mode, amount, pending_id, final,
    true AS is_debit FROM transfer WHERE result = 'created'
  UNION ALL
  SELECT credit, credit_version, id, mode, amount, pending_id, final, false
    FROM transfer WHERE result = 'created'
) s LEFT JOIN entry e ON e.account = s.account AND e.version = s.version
ORDER BY s.account, s.version
"""


def sides(reader: Reader) -> AsyncIterator[Row]:
    """Both sides of every created transfer beside their entries, by account and version."""
    return reader.stream(_SIDES)


async def account_totals(reader: Reader) -> list[Row]:
    return await reader.rows(f"SELECT id, version, {', '.join(SUMS)} FROM account")


async def transfer_count(reader: Reader) -> int:
    return int(await reader.value("SELECT count(*) FROM transfer"))
