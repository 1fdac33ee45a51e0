"""Attempts name their rail and why; payers' addresses are kept as hints only; stray debits."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ROLE = "hundi_app"
OPEN = sa.text("state IN ('sent', 'requires_action', 'unknown', 'reversing')")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("intent", sa.Column("action", sa.Text(), nullable=True))
    _attempts()
    op.add_column("refund", sa.Column("rail", sa.Text(), nullable=True))
    op.add_column("refund", sa.Column("debit", sa.Text(), nullable=True))
    op.execute("UPDATE refund SET rail = method WHERE method = 'upi'")
    op.create_table(
        "stray",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("attempt", sa.UUID(), nullable=False),
        sa.Column("intent", sa.UUID(), nullable=False),
        sa.Column("rail", sa.Text(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("rail_reference", sa.Text(), nullable=True),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("refusals", sa.BigInteger(), nullable=False),
        sa.Column("next_check_at", sa.BigInteger(), nullable=True),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount > 0", name="stray_amount"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("stray_intent", "stray", ["intent"])
    op.create_index(
        "stray_check",
        "stray",
        ["next_check_at"],
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON stray TO {ROLE}")


def _attempts() -> None:
    for name in ("rail", "route", "hint", "debit"):
        op.add_column("attempt", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("final", sa.Boolean(), nullable=True))
    op.add_column("attempt", sa.Column("verb", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("body", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE attempt a SET final = true, rail = CASE method WHEN 'upi' THEN 'upi' END,"
        " hint = left(payer_vpa, least(2, position('@' IN payer_vpa) - 2)) || '***@'"
        " || split_part(payer_vpa, '@', 2), body = '', verb = 'payment.confirm'"
    )
    op.execute(
        "UPDATE attempt a SET body = k.body, verb = k.verb FROM idempotency k"
        " WHERE k.scope = a.scope AND k.key = a.key"
    )
    op.alter_column("attempt", "final", nullable=False)
    op.alter_column("attempt", "verb", nullable=False)
    op.alter_column("attempt", "body", nullable=False)
    op.drop_column("attempt", "payer_vpa")
    op.drop_index("attempt_open", "attempt")
    op.drop_index("attempt_key", "attempt")
    op.create_index("attempt_open", "attempt", ["intent"], unique=True, postgresql_where=OPEN)
