"""Every table of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "account",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("floor", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("cap", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "version",
            sa.BigInteger(),
            server_default=sa.text("0"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "debits_pending",
            sa.BigInteger(),
            server_default=sa.text("0"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "debits_posted",
            sa.BigInteger(),
            server_default=sa.text("0"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "credits_pending",
            sa.BigInteger(),
            server_default=sa.text("0"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "credits_posted",
            sa.BigInteger(),
            server_default=sa.text("0"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("debits_pending >= 0 AND credits_pending >= 0", name="account_pending"),
        sa.CheckConstraint("debits_posted >= 0 AND credits_posted >= 0", name="account_posted"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("account_owner", "account", ["owner", "code"], unique=False)
    op.create_table(
        "allowance",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("device", sa.UUID(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kid", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("sig", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hold", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("spend_until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("settle_until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("claimed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("unclaimed", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("returned", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "settled >= 0 AND claimed >= 0 AND unclaimed >= 0 AND returned >= 0 AND settled + claimed + unclaimed + returned <= hold",
            name="allowance_hold",
        ),
        sa.PrimaryKeyConstraint("aid"),
    )
    op.create_index(
        "allowance_due",
        "allowance",
        ["settle_until"],
        unique=False,
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_index("allowance_head", "allowance", ["head"], unique=True)
    op.create_index(
        "allowance_open",
        "allowance",
        ["device"],
        unique=True,
        postgresql_where=sa.text("state = 'issued'"),
    )
    op.create_index("allowance_party", "allowance", ["party"], unique=False)
    op.create_index(
        "allowance_spent",
        "allowance",
        ["spend_until"],
        unique=False,
        postgresql_where=sa.text("state = 'issued'"),
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("intent", sa.UUID(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payer_vpa", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("rail_reference", sa.Text(), nullable=True),
        sa.Column("asked", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_check_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "attempt_check",
        "attempt",
        ["next_check_at"],
        unique=False,
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_index(
        "attempt_key",
        "attempt",
        ["scope", "key"],
        unique=False,
        postgresql_where=sa.text("state IN ('sent', 'unknown')"),
    )
    op.create_index("attempt_number", "attempt", ["intent", "number"], unique=True)
    op.create_index(
        "attempt_open",
        "attempt",
        ["intent"],
        unique=True,
        postgresql_where=sa.text("state IN ('sent', 'unknown')"),
    )
    op.create_table(
        "closed_request",
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("terminal", "nonce", name="closed_request_pkey"),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("device_key", "device", ["key"], unique=True)
    op.create_index("device_party", "device", ["party"], unique=False)
    op.create_table(
        "entry",
        sa.Column("account", sa.UUID(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("transfer", sa.UUID(), nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("account", "version", name="entry_pkey"),
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("aggregate_type", sa.Text(), nullable=False),
        sa.Column("aggregate_id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("actor", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("correlation", sa.UUID(), nullable=True),
        sa.Column("causation", sa.UUID(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("event_aggregate", "event", ["aggregate_id", "sequence"], unique=True)
    op.create_table(
        "event_head",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lease_until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="idempotency_pkey"),
    )
    op.create_index("idempotency_expiry", "idempotency", ["expires_at"], unique=False)
    op.create_table(
        "intent",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payer", sa.UUID(), nullable=True),
        sa.Column("payee", sa.UUID(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("amount > 0", name="intent_amount"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "intent_expiry",
        "intent",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('requires_confirmation', 'requires_payment_method')"),
    )
    op.create_index("intent_payee", "intent", ["payee", "id"], unique=False)
    op.create_index(
        "intent_payer",
        "intent",
        ["payer", "id"],
        unique=False,
        postgresql_where=sa.text("payer IS NOT NULL"),
    )
    op.create_table(
        "journal",
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.LargeBinary(), nullable=True),
        sa.Column("acked_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("acked_head", sa.LargeBinary(), nullable=False),
        sa.Column("applied", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("told", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("terminal"),
    )
    op.create_table(
        "journal_claim",
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.LargeBinary(), nullable=False),
        sa.Column("applied", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_head", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_head", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("terminal", "epoch", "applied", name="journal_claim_pkey"),
    )
    op.create_table(
        "journal_row",
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("terminal", "epoch", "seq", name="journal_row_pkey"),
    )
    op.create_table(
        "limit_profile",
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("profile", "name", "effective_from", name="limit_profile_pkey"),
    )
    op.create_table(
        "pairing",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("merchant", sa.UUID(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("code_hash"),
    )
    op.create_table(
        "party",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mcc", sa.Text(), nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("party_name", "party", ["name"], unique=False)
    op.create_index(
        "party_payee",
        "party",
        ["payee"],
        unique=True,
        postgresql_where=sa.text("payee IS NOT NULL"),
    )
    op.create_table(
        "revocation",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_index("revocation_aid", "revocation", ["aid"], unique=True)
    op.create_table(
        "session",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("device", sa.UUID(), nullable=True),
        sa.Column("assurance", sa.SmallInteger(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("session_party", "session", ["party"], unique=False)
    op.create_index("session_token", "session", ["token_hash"], unique=True)
    op.create_table(
        "session_link",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("assurance", sa.SmallInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("code_hash"),
    )
    op.create_table(
        "terminal",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("kid", sa.LargeBinary(), nullable=False),
        sa.Column("cert", sa.LargeBinary(), nullable=False),
        sa.Column("sig_cert", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("terminal_key", "terminal", ["key"], unique=True)
    op.create_index("terminal_party", "terminal", ["party"], unique=False)
    op.create_table(
        "transfer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("debit", sa.UUID(), nullable=True),
        sa.Column("credit", sa.UUID(), nullable=True),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("pending_id", sa.UUID(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("amount >= 0", name="transfer_amount"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "transfer_expiry",
        "transfer",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        "transfer_pending",
        "transfer",
        ["pending_id"],
        unique=False,
        postgresql_where=sa.text("pending_id IS NOT NULL"),
    )
    op.create_table(
        "used_nonce",
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
    )
    op.create_index("used_nonce_expiry", "used_nonce", ["expires_at"], unique=False)
    op.create_table(
        "voucher_claim",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("aid", "h", name="voucher_claim_pkey"),
    )
    op.create_table(
        "voucher_evidence",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("other", sa.LargeBinary(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("aid", "h", "other", name="voucher_evidence_pkey"),
    )
    op.create_table(
        "voucher_seen",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cum", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("wire", sa.LargeBinary(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("claimable", sa.Boolean(), nullable=False),
        sa.CheckConstraint("octet_length(h) = 32 AND amount > 0", name="voucher_seen_sizes"),
        sa.PrimaryKeyConstraint("aid", "h", name="voucher_seen_pkey"),
    )
    op.create_index("voucher_seen_h", "voucher_seen", ["h"], unique=True)
    op.create_index("voucher_seen_place", "voucher_seen", ["aid", "place"], unique=True)
    op.create_index(
        "voucher_seen_terminal", "voucher_seen", ["terminal", "seen_at"], unique=False
    )
    op.create_table(
        "voucher_settled",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("settled_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.CheckConstraint("amount > 0", name="voucher_settled_amount"),
        sa.PrimaryKeyConstraint("aid", "counter", name="voucher_settled_pkey"),
    )
    op.create_index(
        "voucher_settled_challenge", "voucher_settled", ["terminal", "nonce"], unique=True
    )
    op.create_index("voucher_settled_h", "voucher_settled", ["h"], unique=True)
    op.create_table(
        "voucher_unclaimed",
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("paid_to", sa.Text(), nullable=True),
        sa.CheckConstraint("amount > 0", name="voucher_unclaimed_amount"),
        sa.PrimaryKeyConstraint("h"),
    )
    op.create_index(
        "voucher_unclaimed_due",
        "voucher_unclaimed",
        ["until"],
        unique=False,
        postgresql_where=sa.text("paid_to IS NULL"),
    )
    op.create_index("voucher_unclaimed_terminal", "voucher_unclaimed", ["terminal"], unique=False)
    op.create_table(
        "voucher_void",
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("wire", sa.LargeBinary(), nullable=False),
        sa.Column("tries", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("applied_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("h", "terminal", name="voucher_void_pkey"),
    )
    op.create_index("voucher_void_aid", "voucher_void", ["aid"], unique=False)
    op.create_index(
        "voucher_void_waiting",
        "voucher_void",
        ["h"],
        unique=False,
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "voucher_witness",
        sa.Column("aid", sa.LargeBinary(), nullable=False),
        sa.Column("h", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cum", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("payee", sa.LargeBinary(), nullable=False),
        sa.Column("terminal", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("wire", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("aid", "h", name="voucher_witness_pkey"),
    )
