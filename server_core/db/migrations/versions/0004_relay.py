"""Consumers of the event log: which events each has done with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "event_inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event"),
    )
    op.create_index("event_inbox_seen", "event_inbox", ["seen_at"])
    op.execute(f"GRANT SELECT, INSERT, DELETE ON event_inbox TO {ROLE}")
