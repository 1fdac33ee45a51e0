"""Intents whose money is set aside first and captured later; attempts of more than one operation."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("intent", sa.Column("capture_method", sa.Text(), nullable=True))
    for name in ("captured", "capturable", "refunded", "authorized", "capture_before"):
        op.add_column("intent", sa.Column(name, sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE intent SET capture_method = 'automatic', capturable = 0, refunded = 0,"
        " captured = CASE state WHEN 'succeeded' THEN amount ELSE 0 END"
    )
    for name in ("capture_method", "captured", "capturable", "refunded"):
        op.alter_column("intent", name, nullable=False)
    op.create_check_constraint(
        "intent_captured",
        "intent",
        "captured >= 0 AND capturable >= 0 AND captured + capturable <= amount",
    )
    op.create_check_constraint("intent_refunded", "intent", "refunded BETWEEN 0 AND captured")
    op.create_index(
        "intent_release",
        "intent",
        ["capture_before"],
        postgresql_where=sa.text("state = 'requires_capture'"),
    )
    op.add_column("attempt", sa.Column("operation", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("amount", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE attempt a SET operation = 'pay', amount = i.amount FROM intent i"
        " WHERE i.id = a.intent"
    )
    op.alter_column("attempt", "operation", nullable=False)
    op.alter_column("attempt", "amount", nullable=False)
