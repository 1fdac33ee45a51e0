"""Webhook endpoints that take long to answer, so that they do not hold up those that do not."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column(
        "webhook_endpoint",
        sa.Column("slow", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )
