"""What the application's role may do, append-only history, and the first rows."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLE = "hundi_app"

# Rows that are never changed: the role may only add them, and a trigger stops everybody else.
APPEND_ONLY = (
    "transfer", "entry", "event", "limit_profile", "party", "voucher_seen", "voucher_settled",
    "voucher_claim", "voucher_evidence", "voucher_witness", "closed_request", "revocation",
    "journal_row",
)

# Rows whose state changes but that are never taken away.
CHANGING = (
    "intent", "attempt", "session", "session_link", "event_head", "device", "terminal", "pairing",
    "allowance", "voucher_void", "voucher_unclaimed", "journal", "journal_claim",
)

# Rows that are forgotten when their time is over.
PASSING = ("idempotency", "used_nonce")

ACCOUNT_CHANGES = (
    "floor, cap, closed, version,"
    " debits_pending, debits_posted, credits_pending, credits_posted"
)

PROFILES = (
    ("payments", "per_payment", 10_000_000, "minor", "NPCI: UPI default limit, INR 1,00,000"),
    ("offline", "cap_each", 50_000, "minor", "RBI offline framework: Jan 2022, raised Aug 2023 and Dec 2024: INR 500 a payment"),
    ("offline", "cap_total", 200_000, "minor", "RBI offline framework: Jan 2022, raised Aug 2023 and Dec 2024: INR 2,000 an instrument"),
    ("offline", "max_count", 100, "vouchers", "OV1: vouchers under one allowance"),
    ("offline", "holds_per_payer", 400_000, "minor", "OV1: set aside at once: two devices in full"),
    ("offline", "spend_window_s", 86_400, "s", "OV1: spend within 24 hours"),
    ("offline", "settle_window_s", 345_600, "s", "OV1: settle within 4 days"),
    ("offline", "margin_s", 3_600, "s", "OV1: an hour after settle_until before an allowance closes"),
    ("offline", "void_each", 50_000, "minor", "OV1: what a terminal may give back; more waits for an operator"),
    ("offline", "exposure_soft", 500_000, "minor", "OV1: unsettled at a terminal: go online if you can"),
    ("offline", "exposure_hard", 1_000_000, "minor", "OV1: the floor limit: unsettled at a terminal at most"),
    ("offline", "exposure_allowance", 200_000, "minor", "OV1: unsettled of one allowance at one terminal"),
    ("offline", "unclaimed_keep_s", 15_552_000, "s", "OV1: 180 days for the merchant, then to the payer"),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    for table in (*APPEND_ONLY, *CHANGING, *PASSING, "account"):
        op.execute(f"GRANT SELECT, INSERT ON {table} TO {ROLE}")
    for table in (*CHANGING, *PASSING):
        op.execute(f"GRANT UPDATE ON {table} TO {ROLE}")
    for table in PASSING:
        op.execute(f"GRANT DELETE ON {table} TO {ROLE}")
    op.execute(f"GRANT UPDATE ({ACCOUNT_CHANGES}) ON account TO {ROLE}")
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';"
        " END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION append_only()"
        )
    # Rows that every batch rewrites keep room on their page, so that no index is touched (HOT).
    for table in ("account", "event_head", "intent", "idempotency"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
    op.execute("INSERT INTO event_head (id, seq) VALUES (0, 0)")
    for profile, name, value, unit, source in PROFILES:
        op.execute(
            "INSERT INTO limit_profile (profile, name, value, unit, effective_from, source)"
            f" VALUES ('{profile}', '{name}', {value}, '{unit}', 0, '{source}')"
        )
