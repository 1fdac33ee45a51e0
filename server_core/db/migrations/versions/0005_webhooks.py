"""Webhook endpoints, messages and attempts."""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    pass
