"""What a terminal may risk without a link, beside the sums that are there: it travels in the signed bundle."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

LIMITS = (
    ("sync_soft_s", 172_800, "s", "OV1: two days without a sync: go online if you can"),
    ("sync_hard_s", 259_200, "s", "OV1: three days without a sync: no request is shown"),
    ("online_in", 50, "requests", "OV1: one request in so many asks for a sync at random"),
    ("clock_behind_s", 300, "s", "OV1: how far a clock may be behind the last beacon"),
    ("clock_ahead_s", 129_600, "s", "OV1: how far ahead of it"),
    ("request_ttl_s", 180, "s", "OV1: how long a request may be answered"),
)


def upgrade() -> None:
    for name, value, unit, source in LIMITS:
        op.execute(
            "INSERT INTO limit_profile (profile, name, value, unit, effective_from, source)"
            f" VALUES ('offline', '{name}', {value}, '{unit}', 0, '{source}')"
        )
