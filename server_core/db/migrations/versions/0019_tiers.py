"""What an allowance may be where the device's key is kept less well than by a hardware counter.

The profile `offline` stays the regulator's; `offline.<tier>` narrows it.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

LIMITS = (
    ("offline.software", 100_000, "Hundi: a key in a file or a browser may be copied: INR 1,000"),
    ("offline.tee", 150_000, "Hundi: a key in a chip, its counters in a file: INR 1,500"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for profile, value, source in LIMITS:
        op.execute(
            "INSERT INTO limit_profile (profile, name, value, unit, effective_from, source)"
            f" VALUES ('{profile}', 'cap_total', {value}, 'minor', 0, '{source}')"
        )
    op.create_check_constraint(
        "device_tier_known", "device", "tier IN ('hardware_counter', 'tee', 'software')"
    )
