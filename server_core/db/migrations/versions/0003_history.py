"""Stored cursors over the event log; the ledger's order, its past and its sealed tree."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


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
