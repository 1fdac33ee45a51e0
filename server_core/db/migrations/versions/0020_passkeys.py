"""Passkeys: credentials, the handles that authenticators know parties by, and challenges under way."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ROLE = "hundi_app"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "passkey",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("aaguid", sa.Text(), nullable=False),
        sa.Column("attestation", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("sign_count >= 0", name="passkey_sign_count"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("passkey_credential", "passkey", ["credential"], unique=True)
    op.create_index("passkey_party", "passkey", ["party"])
    op.create_table(
        "passkey_handle",
        sa.Column("party", sa.UUID(), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("party"),
    )
    op.create_index("passkey_handle_value", "passkey_handle", ["handle"], unique=True)
    op.create_table(
        "passkey_challenge",
        sa.Column("value_hash", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("holder", sa.LargeBinary(), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("value_hash"),
    )
    op.create_index("passkey_challenge_expires", "passkey_challenge", ["expires_at"])
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON passkey, passkey_handle TO {ROLE}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON passkey_challenge TO {ROLE}")
