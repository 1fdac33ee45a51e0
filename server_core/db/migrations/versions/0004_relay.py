"""Consumers of the event log."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    pass
