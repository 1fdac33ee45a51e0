"""The key that made an intent names it for ever, also when the key's answer is forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("intent", sa.Column("origin", sa.UUID(), nullable=True))
    op.create_index(
        "intent_origin",
        "intent",
        ["origin"],
        unique=True,
        postgresql_where=sa.text("origin IS NOT NULL"),
    )
