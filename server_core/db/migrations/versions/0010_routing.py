"""Payees' wishes for rails, and the most that each method carries."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "rail_preference",
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("rails", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("party"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON rail_preference TO {ROLE}")
    op.execute(
        "INSERT INTO limit_profile (profile, name, value, unit, effective_from, source) VALUES"
        " ('rails', 'upi', 10000000, 'minor INR', 0,"
        "  'NPCI: 1,00,000 rupees a UPI payment, where no category of merchant has more'),"
        " ('rails', 'upi_link', 10000000, 'minor INR', 0, 'as upi')"
    )
