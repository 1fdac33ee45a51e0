"""What operators watch: since when a terminal has not synced, and paid intents that rails deny."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("terminal", sa.Column("synced_at", sa.BigInteger(), nullable=True))
    # Of syncs before this, what they brought is all that is known.
    op.execute(
        "UPDATE terminal t SET synced_at = greatest(t.enrolled_at, (SELECT max(s.seen_at)"
        " FROM voucher_seen s WHERE s.terminal = t.id))"
    )
    op.alter_column("terminal", "synced_at", nullable=False)
    op.create_index(
        "terminal_synced", "terminal", ["synced_at"], postgresql_where=sa.text("state = 'active'")
    )
    op.create_index(
        "intent_conflicted", "intent", ["id"], postgresql_where=sa.text("state = 'conflicted'")
    )
