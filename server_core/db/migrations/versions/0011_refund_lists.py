"""Refunds are read page by page: of a party, and of a payment."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # Ids of refunds are derived: the order of time stands in created_at alone.
    op.drop_index("refund_intent", table_name="refund")
    op.create_index("refund_intent", "refund", ["intent", "created_at", "id"])
    op.create_index("refund_payee", "refund", ["payee", "created_at", "id"])
    op.create_index(
        "refund_payer",
        "refund",
        ["payer", "created_at", "id"],
        postgresql_where=sa.text("payer IS NOT NULL"),
    )
