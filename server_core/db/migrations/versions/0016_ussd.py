"""Feature phones: numbers that pay by USSD, terminals' codes, and the challenges that were taken."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ROLE = "hundi_app"

LIMITS = (
    ("each", 500_000, "minor", "NPCI *99#: INR 5,000 a payment"),
    ("pin_tries", 3, "tries", "Hundi: wrong PINs in a row before the line is locked"),
    ("pin_lock_s", 86_400, "s", "Hundi: for how long; an operator unlocks it sooner"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "ussd_line",
        sa.Column("number", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("pin", sa.Text(), nullable=True),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ussd_line_party", "ussd_line", ["party"])
    op.create_table(
        "ussd_code",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ussd_code_terminal", "ussd_code", ["terminal"], unique=True)
    op.create_table(
        "ussd_payment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name="ussd_payment_amount"),
        sa.PrimaryKeyConstraint("terminal", "day", "challenge", name="ussd_payment_pkey"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ussd_line TO {ROLE}")
    op.execute(f"GRANT SELECT, INSERT ON ussd_code TO {ROLE}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ussd_payment TO {ROLE}")
    for name, value, unit, source in LIMITS:
        op.execute(
            "INSERT INTO limit_profile (profile, name, value, unit, effective_from, source)"
            f" VALUES ('ussd', '{name}', {value}, '{unit}', 0, '{source}')"
        )
