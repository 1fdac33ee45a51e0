"""What operators decide of offline money: voids that wait for them, and claims of late vouchers."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column(
        "voucher_void",
        sa.Column("approved", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("voucher_witness_terminal", "voucher_witness", ["terminal"])
    op.create_table(
        "voucher_late",
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount > 0", name="voucher_late_amount"),
        sa.PrimaryKeyConstraint("h"),
    )
    op.create_index(
        "voucher_late_waiting",
        "voucher_late",
        ["asked_at"],
        postgresql_where=sa.text("decision IS NULL"),
    )
    op.create_index(
        "voucher_late_challenge",
        "voucher_late",
        ["terminal", "nonce"],
        unique=True,
        postgresql_where=sa.text("decision IN ('payer', 'house')"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON voucher_late TO {ROLE}")
