"""The tables of a payer's device and of a shop's terminal, as forward migrations (user_version counts them).

Never edit a migration that was released: append one. Every table is STRICT, ids are blobs of their
exact length, and what must never happen twice is a key.
"""

from typing import Final

PAYER: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE self (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            party BLOB NOT NULL CHECK (length(party) = 16),
            name TEXT NOT NULL,
            device TEXT NOT NULL,
            root_kid BLOB NOT NULL CHECK (length(root_kid) = 2),
            root_key BLOB NOT NULL,
            server TEXT NOT NULL,
            enrolled_at_s INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE trust (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            version INTEGER NOT NULL,
            wire BLOB NOT NULL
        ) STRICT""",
        # counter and cum are those of the last RESERVED payload, signed or not.
        """CREATE TABLE allowance (
            aid BLOB PRIMARY KEY CHECK (length(aid) = 16),
            scope BLOB NOT NULL UNIQUE CHECK (length(scope) = 32),
            wire BLOB NOT NULL,
            counter INTEGER NOT NULL DEFAULT 0 CHECK (counter >= 0),
            cum INTEGER NOT NULL DEFAULT 0 CHECK (cum >= 0),
            last_h BLOB NOT NULL DEFAULT (zeroblob(32)) CHECK (length(last_h) = 32),
            state TEXT NOT NULL CHECK (state IN (
                'active', 'blocked', 'ended', 'surrendering', 'surrendered'
            )),
            taken_at_s INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE UNIQUE INDEX allowance_one_usable ON allowance ((1))
            WHERE state IN ('active', 'blocked', 'surrendering')""",
        """CREATE TABLE voucher (
            aid BLOB NOT NULL REFERENCES allowance,
            counter INTEGER NOT NULL CHECK (counter BETWEEN 1 AND 65535),
            h BLOB NOT NULL UNIQUE CHECK (length(h) = 32),
            terminal BLOB NOT NULL CHECK (length(terminal) = 4),
            nonce BLOB NOT NULL CHECK (length(nonce) = 8),
            request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
            amount INTEGER NOT NULL CHECK (amount > 0),
            payee_name TEXT NOT NULL,
            body BLOB NOT NULL,
            sig BLOB CHECK (length(sig) = 64),
            state TEXT NOT NULL CHECK (state IN ('reserved', 'signed')),
            reserved_at_s INTEGER NOT NULL,
            proof TEXT,
            witnessed INTEGER NOT NULL DEFAULT 0 CHECK (witnessed IN (0, 1)),
            PRIMARY KEY (aid, counter),
            UNIQUE (terminal, nonce),
            CHECK ((state = 'signed') = (sig IS NOT NULL))
        ) STRICT, WITHOUT ROWID""",
        # The idempotency key of the allowance now being asked for: the same until it was answered.
        """CREATE TABLE asking (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            idempotency_key TEXT NOT NULL,
            body TEXT NOT NULL
        ) STRICT""",
    ),
)

TERMINAL: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE self (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            terminal BLOB NOT NULL CHECK (length(terminal) = 4),
            payee BLOB NOT NULL CHECK (length(payee) = 8),
            kid BLOB NOT NULL CHECK (length(kid) = 2),
            cert BLOB NOT NULL,
            sig_cert BLOB NOT NULL CHECK (length(sig_cert) = 64),
            root_kid BLOB NOT NULL CHECK (length(root_kid) = 2),
            root_key BLOB NOT NULL,
            server TEXT NOT NULL,
            enrolled_at_s INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE trust (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            version INTEGER NOT NULL,
            wire BLOB NOT NULL
        ) STRICT""",
        # What it may risk stands in the signed bundle, by currency.
        """CREATE TABLE shop (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            ccy TEXT NOT NULL
        ) STRICT""",
        # The one row that every commit moves: journal head, clock floor, sync marks.
        """CREATE TABLE sync_state (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            epoch BLOB NOT NULL,
            head_seq INTEGER NOT NULL CHECK (head_seq >= 0),
            head BLOB NOT NULL CHECK (length(head) = 32),
            acked_seq INTEGER NOT NULL CHECK (acked_seq BETWEEN 0 AND head_seq),
            applied INTEGER NOT NULL DEFAULT 0,
            must_sync INTEGER NOT NULL DEFAULT 0 CHECK (must_sync IN (0, 1)),
            quarantined INTEGER NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1)),
            last_sync_s INTEGER,
            screen_nonce BLOB,
            floor_ms INTEGER,
            floor_boot TEXT,
            floor_monotonic_ms INTEGER
        ) STRICT""",
        """CREATE TABLE open_request (
            nonce BLOB PRIMARY KEY CHECK (length(nonce) = 8),
            amount INTEGER NOT NULL CHECK (amount > 0),
            ccy TEXT NOT NULL,
            text TEXT NOT NULL,
            asked_at_s INTEGER NOT NULL,
            boot TEXT NOT NULL,
            deadline_ms INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('open', 'paid', 'closed')),
            reason TEXT,
            CHECK ((state = 'closed') = (reason IS NOT NULL))
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX open_request_open ON open_request (state) WHERE state = 'open'",
        """CREATE TABLE redeemed (
            aid BLOB NOT NULL CHECK (length(aid) = 16),
            counter INTEGER NOT NULL CHECK (counter BETWEEN 1 AND 65535),
            h BLOB NOT NULL UNIQUE CHECK (length(h) = 32),
            nonce BLOB NOT NULL UNIQUE REFERENCES open_request,
            amount INTEGER NOT NULL CHECK (amount > 0),
            ccy TEXT NOT NULL,
            cum INTEGER NOT NULL,
            prev BLOB NOT NULL,
            wire BLOB NOT NULL,
            receipt TEXT NOT NULL,
            epoch BLOB NOT NULL,
            seq INTEGER NOT NULL,
            accepted_at_s INTEGER NOT NULL,
            returned INTEGER NOT NULL DEFAULT 0 CHECK (returned IN (0, 1)),
            result TEXT,
            PRIMARY KEY (aid, counter),
            UNIQUE (epoch, seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE INDEX redeemed_unsettled ON redeemed (aid, amount)
            WHERE result IS NULL AND returned = 0""",
        """CREATE TABLE voided (
            h BLOB PRIMARY KEY CHECK (length(h) = 32),
            aid BLOB NOT NULL,
            counter INTEGER NOT NULL,
            amount INTEGER NOT NULL,
            ccy TEXT NOT NULL,
            cum INTEGER NOT NULL,
            prev BLOB NOT NULL,
            nonce BLOB NOT NULL,
            reason TEXT NOT NULL,
            wire BLOB NOT NULL,
            text TEXT NOT NULL,
            epoch BLOB NOT NULL,
            seq INTEGER NOT NULL,
            voided_at_s INTEGER NOT NULL,
            result TEXT,
            UNIQUE (epoch, seq)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX voided_aid ON voided (aid)",
        """CREATE TABLE evidence (
            offered_h BLOB NOT NULL CHECK (length(offered_h) = 32),
            stored_h BLOB NOT NULL CHECK (length(stored_h) = 32),
            verdict TEXT NOT NULL,
            aid BLOB NOT NULL,
            counter INTEGER NOT NULL,
            amount INTEGER NOT NULL,
            cum INTEGER NOT NULL,
            prev BLOB NOT NULL,
            wire BLOB NOT NULL,
            found_at_s INTEGER NOT NULL,
            PRIMARY KEY (offered_h, stored_h)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX evidence_aid ON evidence (aid)",
        """CREATE TABLE journal (
            epoch BLOB NOT NULL,
            seq INTEGER NOT NULL CHECK (seq >= 1),
            row BLOB NOT NULL,
            chain BLOB NOT NULL CHECK (length(chain) = 32),
            written_at_s INTEGER NOT NULL,
            result TEXT,
            PRIMARY KEY (epoch, seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE revoked (
            aid BLOB PRIMARY KEY CHECK (length(aid) = 16),
            epoch INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # What of the journal left for the archive: a segment a row, chained to the one before it.
        """CREATE TABLE archive (
            number INTEGER PRIMARY KEY CHECK (number >= 1),
            epoch BLOB NOT NULL,
            first_seq INTEGER NOT NULL CHECK (first_seq >= 1),
            last_seq INTEGER NOT NULL CHECK (last_seq >= first_seq),
            chain BLOB NOT NULL CHECK (length(chain) = 32),
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            archived_at_s INTEGER NOT NULL,
            UNIQUE (epoch, last_seq)
        ) STRICT""",
    ),
    (
        # Payments by phone: the keys of days, this terminal's code, and a challenge for each request.
        """CREATE TABLE ussd_key (
            day INTEGER PRIMARY KEY,
            key BLOB NOT NULL CHECK (length(key) = 32)
        ) STRICT""",
        """CREATE TABLE ussd_code (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            code TEXT NOT NULL CHECK (length(code) = 7)
        ) STRICT""",
        """CREATE TABLE ussd_challenge (
            day INTEGER NOT NULL,
            challenge TEXT NOT NULL CHECK (length(challenge) = 6),
            nonce BLOB NOT NULL UNIQUE CHECK (length(nonce) = 8),
            amount INTEGER NOT NULL CHECK (amount > 0),
            tries INTEGER NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 3),
            paid INTEGER NOT NULL DEFAULT 0 CHECK (paid IN (0, 1)),
            PRIMARY KEY (day, challenge)
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # The last sales and today's takings, for a screen that asks every few seconds.
        "CREATE INDEX redeemed_at ON redeemed (accepted_at_s, seq)",
    ),
)
