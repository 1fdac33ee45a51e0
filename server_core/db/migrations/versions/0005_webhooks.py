"""Webhook endpoints, messages and attempts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def big(name: str, *, null: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner", sa.UUID(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("filters", JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        big("from_seq"),
        big("failing_since", null=True),
        big("rest_until"),
        big("created_at"),
        big("changed_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_endpoint_owner", "webhook_endpoint", ["owner"])
    op.create_table(
        "webhook_secret",
        sa.Column("endpoint", sa.UUID(), nullable=False),
        big("number"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        big("created_at"),
        big("expires_at", null=True),
        sa.PrimaryKeyConstraint("endpoint", "number"),
    )
    op.create_table(
        "webhook_key",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        big("created_at"),
        big("expires_at", null=True),
        sa.PrimaryKeyConstraint("kid"),
    )
    op.create_table(
        "webhook_message",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("endpoint", sa.UUID(), nullable=False),
        sa.Column("event", sa.UUID(), nullable=False),
        big("seq"),
        sa.Column("aggregate", sa.UUID(), nullable=False),
        big("sequence"),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("lease", sa.UUID(), nullable=True),
        big("due_at"),
        big("ready_at"),
        big("created_at"),
        big("done_at", null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_message_seq", "webhook_message", ["endpoint", "seq"], unique=True)
    op.create_index("webhook_message_order", "webhook_message", ["endpoint", "aggregate", "seq"])
    for name, columns, state in (
        ("webhook_message_due", ["endpoint", "due_at", "seq"], "pending"),
        ("webhook_message_dead", ["endpoint", "seq"], "dead"),
    ):
        op.create_index(
            name, "webhook_message", columns, postgresql_where=sa.text(f"state = '{state}'")
        )
    op.create_table(
        "webhook_attempt",
        sa.Column("message", sa.UUID(), nullable=False),
        big("number"),
        big("started_at"),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        big("duration_ms"),
        sa.PrimaryKeyConstraint("message", "number"),
    )
    for table in ("webhook_endpoint", "webhook_message"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {ROLE}")
    for table in ("webhook_secret", "webhook_key"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {ROLE}")
    op.execute(f"GRANT SELECT, INSERT ON webhook_attempt TO {ROLE}")
    op.execute(
        "CREATE TRIGGER webhook_attempt_append_only BEFORE UPDATE OR DELETE ON webhook_attempt"
        " FOR EACH ROW EXECUTE FUNCTION append_only()"
    )
