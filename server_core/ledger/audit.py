"""The ledger's laws: a pass over each kind of row names the first that breaks one. No locks."""

from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from server_core.db.work import Reader
from server_core.ledger.model import NORMAL_SIDE, Code, Finding, account_id


class Pass(Struct, frozen=True, kw_only=True):
    """Rows that are read once, how one is named, and the laws of which each is asked.

    A law is its sentence and the condition under which a row breaks it.
    """

    rows: str
    named: str
    laws: tuple[tuple[str, str], ...]
    watched: tuple[tuple[str, str], ...] = ()

    def query(self) -> str:
        """One column a law: the first name among the rows that break it, or NULL."""
        columns = (
            f"min({self.named}) FILTER (WHERE {broken})"
            for _, broken in (*self.laws, *self.watched)
        )
        return f"SELECT {', '.join(columns)} FROM ({self.rows}) r"


_ENTRIES: Final = Pass(
    rows="""
      SELECT e.account, e.version, e.transfer, t.id AS known, t.mode, t.result, t.amount, t.debit,
        t.credit, t.debit_version, t.credit_version,
        e.debits_pending - lag(e.debits_pending, 1, 0::bigint) OVER w AS dp,
        e.debits_posted - lag(e.debits_posted, 1, 0::bigint) OVER w AS dx,
        e.credits_pending - lag(e.credits_pending, 1, 0::bigint) OVER w AS cp,
        e.credits_posted - lag(e.credits_posted, 1, 0::bigint) OVER w AS cx,
        e.version - lag(e.version, 1, 0::bigint) OVER w AS step,
        e.recorded_at - lag(e.recorded_at, 1, 0::bigint) OVER w AS waited
      FROM entry e LEFT JOIN transfer t ON t.id = e.transfer
      WINDOW w AS (PARTITION BY e.account ORDER BY e.version)
    """,
    named="'entry ' || account || ' version ' || version",
    laws=(
        ("an account's versions are dense from 1", "step <> 1"),
        (
            "an entry is one of its transfer's two, and moves what that says on the side it says",
            "known IS NULL OR result <> 'created'"
            " OR ((account, version) IN ((debit, debit_version), (credit, credit_version)))"
            "  IS NOT TRUE"
            " OR (account = debit AND (cp <> 0 OR cx <> 0))"
            " OR (account = credit AND (dp <> 0 OR dx <> 0))"
            " OR (mode = 'single' AND (dp + cp <> 0 OR dx + cx <> amount))"
            " OR (mode = 'pending' AND (dp + cp <> amount OR dx + cx <> 0))"
            " OR (mode = 'post' AND (dx + cx <> amount OR dp + cp > -amount))"
            " OR (mode IN ('void', 'expire') AND (dx + cx <> 0 OR dp + cp >= 0))",
        ),
    ),
    watched=(
        (
            "time does not run backwards in an account (before there were seals it could, a little)",
            "waited < 0",
        ),
    ),
)

_TRANSFERS: Final = Pass(
    rows="""
      SELECT t.*, d.transfer AS d_transfer, d.recorded_at AS d_at, c.transfer AS c_transfer,
        c.recorded_at AS c_at, da.ledger AS d_ledger, ca.ledger AS c_ledger,
        p.debit AS p_debit, p.credit AS p_credit
      FROM transfer t
      LEFT JOIN entry d ON d.account = t.debit AND d.version = t.debit_version
      LEFT JOIN entry c ON c.account = t.credit AND c.version = t.credit_version
      LEFT JOIN account da ON da.id = t.debit
      LEFT JOIN account ca ON ca.id = t.credit
      LEFT JOIN transfer p ON p.id = t.pending_id AND p.mode = 'pending' AND p.result = 'created'
    """,
    named="'transfer ' || id",
    laws=(
        (
            "a created transfer names its two entries, and a refused one has none",
            "CASE result WHEN 'created' THEN (d_transfer, c_transfer, d_at, c_at)"
            "  IS DISTINCT FROM (id, id, recorded_at, recorded_at)"
            " ELSE debit_version IS NOT NULL OR credit_version IS NOT NULL END",
        ),
        (
            "a transfer and both its accounts are of one ledger",
            "result = 'created' AND (d_ledger, c_ledger) IS DISTINCT FROM (ledger, ledger)",
        ),
        (
            "what ends a hold moves between the hold's own accounts",
            "result = 'created' AND mode IN ('post', 'void', 'expire')"
            " AND (debit, credit) IS DISTINCT FROM (p_debit, p_credit)",
        ),
    ),
)

_HOLDS: Final = Pass(
    rows="""
      SELECT p.id, p.debit, p.credit, p.amount, p.expires_at,
        coalesce(sum(c.amount) FILTER (WHERE c.mode = 'post'), 0)::bigint AS posted,
        count(*) FILTER (WHERE c.mode IN ('void', 'expire') OR c.mode = 'post' AND c.final)
          AS ends,
        max(c.recorded_at) FILTER (WHERE c.mode IN ('post', 'void')) AS last_end
      FROM transfer p LEFT JOIN transfer c ON c.pending_id = p.id AND c.result = 'created'
      WHERE p.mode = 'pending' AND p.result = 'created' GROUP BY p.id
    """,
    named="'transfer ' || id",
    laws=(
        ("a hold ends at most once and posts at most its amount", "ends > 1 OR posted > amount"),
        (
            "nothing is posted or voided at or after a hold's expiry",
            "last_end >= expires_at",
        ),
    ),
)

_ACCOUNTS: Final = Pass(
    rows=f"""
      WITH rest AS (SELECT debit, credit, amount - posted AS n FROM ({_HOLDS.rows}) h
        WHERE ends = 0),
      owed AS (SELECT account, sum(d) AS d, sum(c) AS c FROM (
        SELECT debit AS account, n AS d, 0 AS c FROM rest
        UNION ALL SELECT credit, 0, n FROM rest) s GROUP BY account)
      SELECT a.*, e.account AS has_entry, e.debits_pending AS e_dp, e.debits_posted AS e_dx,
        e.credits_pending AS e_cp, e.credits_posted AS e_cx, coalesce(o.d, 0) AS owed_d,
        coalesce(o.c, 0) AS owed_c,
        EXISTS (SELECT 1 FROM entry n WHERE n.account = a.id AND n.version > a.version) AS beyond
      FROM account a LEFT JOIN entry e ON e.account = a.id AND e.version = a.version
      LEFT JOIN owed o ON o.account = a.id
    """,
    named="'account ' || id",
    laws=(
        (
            "an account's totals are those of its last entry",
            "(debits_pending, debits_posted, credits_pending, credits_posted)"
            " IS DISTINCT FROM (coalesce(e_dp, 0), coalesce(e_dx, 0), coalesce(e_cp, 0),"
            "  coalesce(e_cx, 0)) OR (version > 0 AND has_entry IS NULL) OR beyond",
        ),
        (
            "what an account has pending is what its open holds still keep",
            "debits_pending <> owed_d OR credits_pending <> owed_c",
        ),
    ),
    watched=(
        (
            "no account stands below its floor (a floor may have been raised since)",
            "floor > CASE side WHEN 'credit' THEN credits_posted - debits_posted - debits_pending"
            " ELSE debits_posted - credits_posted - credits_pending END",
        ),
        (
            "suspense is empty in a healthy system",
            "code = 'suspense' AND credits_posted <> debits_posted",
        ),
    ),
)

_LEDGERS: Final = Pass(
    rows="""
      SELECT ledger, sum(debits_posted) AS dx, sum(credits_posted) AS cx,
        sum(debits_pending) AS dp, sum(credits_pending) AS cp FROM account GROUP BY ledger
    """,
    named="'ledger ' || ledger",
    laws=(("debits equal credits in every ledger, posted and pending", "dx <> cx OR dp <> cp"),),
)

PASSES: Final = (_LEDGERS, _ACCOUNTS, _ENTRIES, _TRANSFERS, _HOLDS)
LAWS: Final = tuple(law for one in PASSES for law, _ in one.laws)


async def findings(reader: Reader) -> list[Finding]:
    """Every broken law with its first bad row; empty when the books are right.

    Hand in `Database.snapshot`'s Reader, so that all laws look at the same instant.
    """
    found = []
    for one in PASSES:
        row = await reader.row(one.query())
        for (law, _), name in zip((*one.laws, *one.watched), row or (), strict=True):
            if name is not None:
                fatal = law in LAWS
                found.append(Finding(law=law, row=name, fatal=fatal))
    return found


async def misnamed(reader: Reader) -> AsyncIterator[Finding]:
    """The first account that is not what its id says: whose, of what kind, on which side, when moved.

    Its id is derived from its name, so that a row that was changed no longer answers to it.
    """
    rows = reader.stream(
        "SELECT a.id, a.code, a.owner, a.ledger, a.side, a.moved_at, (SELECT e.recorded_at"
        " FROM entry e WHERE e.account = a.id ORDER BY e.version DESC LIMIT 1) AS last"
        " FROM account a ORDER BY a.id"
    )
    async for row in rows:
        named = account_id(Code(row["code"]), row["owner"], row["ledger"])
        moved = row["last"] is None or row["last"] == row["moved_at"]
        if row["id"] != named or row["side"] != NORMAL_SIDE[Code(row["code"])] or not moved:
            yield Finding(law="an account is what its id says", row=f"account {row['id']}")
            return


async def counts(reader: Reader) -> dict[str, int]:
    row = await reader.row(
        "SELECT (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM transfer WHERE result = 'created') AS transfers,"
        " (SELECT count(*) FROM transfer WHERE result <> 'created') AS refused,"
        " (SELECT count(*) FROM entry) AS entries"
    )
    return dict(row or {})
