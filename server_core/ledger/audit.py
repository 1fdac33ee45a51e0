"""The ledger's laws, each a query that names the first row that breaks it; one snapshot, no locks."""

from typing import Final

from server_core.db.work import Reader
from server_core.ledger.model import Finding

_DELTAS: Final = """
  SELECT e.account, e.version, e.transfer, t.id AS known, t.mode, t.result, t.amount, t.debit,
    t.credit, t.final, t.pending_id, e.recorded_at,
    e.debits_pending - lag(e.debits_pending, 1, 0::bigint) OVER w AS dp,
    e.debits_posted - lag(e.debits_posted, 1, 0::bigint) OVER w AS dx,
    e.credits_pending - lag(e.credits_pending, 1, 0::bigint) OVER w AS cp,
    e.credits_posted - lag(e.credits_posted, 1, 0::bigint) OVER w AS cx,
    e.version - lag(e.version, 1, 0::bigint) OVER w AS step
  FROM entry e LEFT JOIN transfer t ON t.id = e.transfer
  WINDOW w AS (PARTITION BY e.account ORDER BY e.version)
"""

_REST: Final = """
  SELECT p.id, p.debit, p.credit, p.amount, p.expires_at,
    coalesce(sum(c.amount) FILTER (WHERE c.mode = 'post'), 0)::bigint AS posted,
    count(*) FILTER (WHERE c.mode IN ('void', 'expire') OR c.mode = 'post' AND c.final) AS ends,
    max(c.recorded_at) FILTER (WHERE c.mode = 'post') AS last_post
  FROM transfer p LEFT JOIN transfer c ON c.pending_id = p.id AND c.result = 'created'
  WHERE p.mode = 'pending' AND p.result = 'created' GROUP BY p.id
"""

LAWS: Final[tuple[tuple[str, str], ...]] = (
    (
        "debits equal credits in every ledger, posted and pending",
        "SELECT 'ledger ' || ledger FROM account GROUP BY ledger"
        " HAVING sum(debits_posted) <> sum(credits_posted)"
        " OR sum(debits_pending) <> sum(credits_pending) ORDER BY ledger LIMIT 1",
    ),
    (
        "an account's totals are those of its last entry",
        "SELECT 'account ' || a.id FROM account a LEFT JOIN entry e"
        " ON e.account = a.id AND e.version = a.version"
        " WHERE (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted)"
        " IS DISTINCT FROM (coalesce(e.debits_pending, 0), coalesce(e.debits_posted, 0),"
        " coalesce(e.credits_pending, 0), coalesce(e.credits_posted, 0))"
        " OR (a.version > 0 AND e.account IS NULL)"
        " OR a.version <> (SELECT count(*) FROM entry n WHERE n.account = a.id)"
        " ORDER BY a.id LIMIT 1",
    ),
    (
        "an account's versions are dense from 1",
        f"SELECT 'entry ' || account || ' version ' || version FROM ({_DELTAS}) d"
        " WHERE step <> 1 ORDER BY account, version LIMIT 1",
    ),
    (
        "an entry moves what its transfer says, on the side that it says",
        f"SELECT 'entry ' || account || ' version ' || version FROM ({_DELTAS}) d WHERE"
        " known IS NULL OR result <> 'created' OR account NOT IN (debit, credit)"
        " OR (account = debit AND (cp <> 0 OR cx <> 0))"
        " OR (account = credit AND (dp <> 0 OR dx <> 0))"
        " OR (mode = 'single' AND (dp + cp <> 0 OR dx + cx <> amount))"
        " OR (mode = 'pending' AND (dp + cp <> amount OR dx + cx <> 0))"
        " OR (mode = 'post' AND (dx + cx <> amount OR dp + cp > -amount))"
        " OR (mode IN ('void', 'expire') AND (dx + cx <> 0 OR dp + cp >= 0))"
        " ORDER BY account, version LIMIT 1",
    ),
    (
        "a created transfer names its two entries, and a refused one has none",
        "SELECT 'transfer ' || t.id FROM transfer t"
        " LEFT JOIN entry d ON d.account = t.debit AND d.version = t.debit_version"
        " LEFT JOIN entry c ON c.account = t.credit AND c.version = t.credit_version"
        " WHERE CASE t.result WHEN 'created' THEN d.transfer IS DISTINCT FROM t.id"
        "  OR c.transfer IS DISTINCT FROM t.id OR (d.recorded_at, c.recorded_at)"
        "  IS DISTINCT FROM (t.recorded_at, t.recorded_at)"
        " ELSE t.debit_version IS NOT NULL OR t.credit_version IS NOT NULL END"
        " ORDER BY t.id LIMIT 1",
    ),
    (
        "no entry is but those two of its transfer",
        "SELECT 'entry ' || e.account || ' version ' || e.version FROM entry e"
        " LEFT JOIN transfer t ON t.id = e.transfer WHERE t.result IS DISTINCT FROM 'created'"
        " OR (e.account, e.version) NOT IN ((t.debit, t.debit_version),"
        "  (t.credit, t.credit_version)) ORDER BY e.account, e.version LIMIT 1",
    ),
    (
        "a transfer and both its accounts are of one ledger",
        "SELECT 'transfer ' || t.id FROM transfer t LEFT JOIN account d ON d.id = t.debit"
        " LEFT JOIN account c ON c.id = t.credit WHERE t.result = 'created'"
        " AND (d.ledger IS DISTINCT FROM t.ledger OR c.ledger IS DISTINCT FROM t.ledger)"
        " ORDER BY t.id LIMIT 1",
    ),
    (
        "what ends a hold moves between the hold's own accounts",
        "SELECT 'transfer ' || t.id FROM transfer t LEFT JOIN transfer p ON p.id = t.pending_id"
        " AND p.mode = 'pending' AND p.result = 'created'"
        " WHERE t.result = 'created' AND t.mode IN ('post', 'void', 'expire')"
        " AND (t.debit, t.credit) IS DISTINCT FROM (p.debit, p.credit)"
        " ORDER BY t.id LIMIT 1",
    ),
    (
        "a hold ends at most once and posts at most its amount",
        f"SELECT 'transfer ' || id FROM ({_REST}) r"
        " WHERE ends > 1 OR posted > amount ORDER BY id LIMIT 1",
    ),
    (
        "nothing is posted at or after a hold's expiry",
        f"SELECT 'transfer ' || id FROM ({_REST}) r"
        " WHERE last_post >= expires_at ORDER BY id LIMIT 1",
    ),
    (
        "what an account has pending is what its open holds still keep",
        f"WITH rest AS (SELECT debit, credit, amount - posted AS n FROM ({_REST}) r WHERE ends = 0),"
        " owed AS (SELECT account, sum(d) AS d, sum(c) AS c FROM ("
        "  SELECT debit AS account, n AS d, 0 AS c FROM rest"
        "  UNION ALL SELECT credit, 0, n FROM rest) s GROUP BY account)"
        " SELECT 'account ' || a.id FROM account a LEFT JOIN owed o ON o.account = a.id"
        " WHERE a.debits_pending <> coalesce(o.d, 0) OR a.credits_pending <> coalesce(o.c, 0)"
        " ORDER BY a.id LIMIT 1",
    ),
)

WATCHED: Final[tuple[tuple[str, str], ...]] = (
    (
        "time does not run backwards in an account (before release 0.2 it could, by milliseconds)",
        "SELECT 'entry ' || account || ' version ' || version FROM (SELECT account, version,"
        " recorded_at - lag(recorded_at, 1, 0::bigint) OVER (PARTITION BY account"
        "  ORDER BY version) AS step FROM entry) e WHERE step < 0"
        " ORDER BY account, version LIMIT 1",
    ),
    (
        "no account stands below its floor (a floor may have been raised since)",
        "SELECT 'account ' || id FROM account WHERE floor IS NOT NULL AND floor > CASE side"
        " WHEN 'credit' THEN credits_posted - debits_posted - debits_pending"
        " ELSE debits_posted - credits_posted - credits_pending END ORDER BY id LIMIT 1",
    ),
    (
        "suspense is empty in a healthy system",
        "SELECT 'account ' || id || ' stands at ' || (credits_posted - debits_posted) || ' '"
        " || ledger FROM account WHERE code = 'suspense' AND credits_posted <> debits_posted"
        " ORDER BY id LIMIT 1",
    ),
)


async def findings(reader: Reader) -> list[Finding]:
    """Every broken law with its first bad row; empty when the books are right.

    Hand in `Database.snapshot`'s Reader, so that all laws look at the same instant.
    """
    found = []
    for fatal, laws in ((True, LAWS), (False, WATCHED)):
        for law, query in laws:
            row = await reader.value(query)
            if row is not None:
                found.append(Finding(law=law, row=row, fatal=fatal))
    return found


async def counts(reader: Reader) -> dict[str, int]:
    row = await reader.row(
        "SELECT (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM transfer WHERE result = 'created') AS transfers,"
        " (SELECT count(*) FROM transfer WHERE result <> 'created') AS refused,"
        " (SELECT count(*) FROM entry) AS entries"
    )
    return dict(row or {})
