"""Stored cursors over the event log; the ledger's order, its past and its sealed tree."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROLE = "hundi_app"
JOURNAL = "81dd6b77-5afc-8cb6-8008-a25a58ea8442"
"""What `ids.derived("journal")` gives: the aggregate of `ledger.posted`."""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "event_cursor",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON event_cursor TO {ROLE}")
    op.add_column(
        "account", sa.Column("moved_at", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.execute(
        "UPDATE account a SET moved_at = e.at FROM (SELECT account, max(recorded_at) AS at"
        " FROM entry GROUP BY account) e WHERE e.account = a.id"
    )
    op.execute(f"GRANT UPDATE (moved_at) ON account TO {ROLE}")
    for side in ("debit", "credit"):
        op.add_column("transfer", sa.Column(f"{side}_version", sa.BigInteger(), nullable=True))
        op.create_index(
            f"transfer_effective_{side}",
            "transfer",
            [side, "effective_at"],
            postgresql_where=sa.text("effective_at IS NOT NULL"),
        )
    # What was written before now names its entries too; nothing else of it changes.
    op.execute("ALTER TABLE transfer DISABLE TRIGGER transfer_append_only")
    op.execute(
        "UPDATE transfer t SET debit_version = d.version, credit_version = c.version"
        " FROM entry d, entry c WHERE d.transfer = t.id AND d.account = t.debit"
        " AND c.transfer = t.id AND c.account = t.credit"
    )
    op.execute("ALTER TABLE transfer ENABLE TRIGGER transfer_append_only")
    op.create_index(
        "entry_milestone",
        "entry",
        ["account", "recorded_at", "version"],
        postgresql_where=sa.text("version % 64 = 0"),
    )
    op.create_table(
        "tree_tile",
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("to_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("level", "place", name="tree_tile_pkey"),
    )
    op.create_index("tree_tile_time", "tree_tile", ["to_ms"], postgresql_where=sa.text("level = 0"))
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON tree_tile TO {ROLE}")
    op.create_table(
        "tree_head",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="tree_head_pkey"),
    )
    op.execute(f"GRANT SELECT, INSERT ON tree_head TO {ROLE}")
    op.execute(
        "CREATE TRIGGER tree_head_append_only BEFORE UPDATE OR DELETE ON tree_head"
        " FOR EACH ROW EXECUTE FUNCTION append_only()"
    )
    _write_journal()


def _write_journal() -> None:
    """Tell in the log, 500 a time, the transfers that were posted before the log told of them."""
    op.execute(
        f"""
        WITH numbered AS (
          SELECT id, recorded_at, (row_number() OVER (ORDER BY recorded_at, id) - 1) / 500 AS page
          FROM transfer
        ), pages AS (
          SELECT page, max(recorded_at) AS at, jsonb_agg(id ORDER BY recorded_at, id) AS ids
          FROM numbered GROUP BY page
        ), head AS (
          UPDATE event_head SET seq = seq + (SELECT count(*) FROM pages) WHERE id = 0
          RETURNING seq - (SELECT count(*) FROM pages) AS seq
        )
        INSERT INTO event (seq, id, aggregate_type, aggregate_id, sequence, type, version, payload,
          actor, recorded_at)
        SELECT head.seq + page + 1, gen_random_uuid(), 'journal', '{JOURNAL}', page + 1,
          'ledger.posted', 1, jsonb_build_object('transfers', ids),
          '{{"role": "system", "party": null, "device": null}}', at
        FROM pages, head
        """
    )
