"""A payer of OV1, from docs/protocol/ov1.md alone: Ed25519, one allowance, one SQLite file; no network.

    ov1_payer.py init HOME                                  makes a key, prints its public half
    ov1_payer.py take HOME ROOT_KEY BUNDLE ALLOWANCE        keeps what the issuer gave (hex)
    ov1_payer.py pay HOME REQUEST                           prints the voucher for a scanned request

Needs base45, cbor2, cryptography and pynacl. It pays without asking: a real one shows name and amount first.
"""

import hashlib
import re
import secrets
import sqlite3
import sys
import time
import unicodedata
from pathlib import Path

import base45
import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

MOST = 2**53 - 1
TABLES = """
CREATE TABLE IF NOT EXISTS held (one INTEGER PRIMARY KEY CHECK (one = 1), bundle BLOB, kid BLOB, a BLOB, sig BLOB);
CREATE TABLE IF NOT EXISTS voucher (a BLOB, counter INTEGER, cum INTEGER, terminal BLOB, nonce BLOB, request BLOB,
    v BLOB NOT NULL, h BLOB NOT NULL, sig BLOB, PRIMARY KEY (a, counter), UNIQUE (terminal, nonce));
"""


class Refused(Exception):
    """A verdict of section 2.1 or 3.1."""


def check(holds, verdict):
    if not holds:
        raise Refused(verdict)


# Section 2: bytes. An item is a size in bytes, a range of integers, a pattern of texts, or a list of one form.

UINT, AMOUNT, KEY, TEXT = (
    range(MOST + 1),
    range(1, MOST + 1),
    {32, 33},
    re.compile(r".+", re.DOTALL),
)
CCY = re.compile(r"[A-Z]{3}")
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ALLOWANCE = [16, KEY, CCY, AMOUNT, AMOUNT, range(1, 65536), UINT, UINT, UINT, range(2)]
CERTIFICATE = [4, 8, KEY, TEXT, range(10_000), UINT]
REQUEST = [AMOUNT, CCY, 8, UINT]
ENTRY = [2, range(2), KEY, re.compile("A?B?C?L?Y?"), UINT, UINT]
RISK = [AMOUNT] * 3 + [UINT] + [AMOUNT] * 6
BUNDLE = [AMOUNT, 2, [ENTRY], [[CCY, AMOUNT, AMOUNT, AMOUNT, RISK]]]
ANY = range(1, 8193)  # a byte string that is read by itself


def plain(item, depth=0):
    if type(item) is list:
        return depth < 6 and all(plain(one, depth + 1) for one in item)
    return type(item) in {bytes, str} or (type(item) is int and 0 <= item <= MOST)


def fits(item, form):
    if isinstance(form, list):
        each = form * len(item) if len(form) == 1 and isinstance(item, list) else form
        return isinstance(item, list) and len(item) == len(each) and all(map(fits, item, each))
    if isinstance(item, bytes):
        return form is ANY or len(item) in (form if isinstance(form, set) else {form})
    if isinstance(item, str):
        return isinstance(form, re.Pattern) and bool(form.fullmatch(item))
    return isinstance(item, int) and isinstance(form, range) and form is not ANY and item in form


def read(data, form, most=1200):
    """The items after the version, read strictly: the first failure of 2.1 is the verdict."""
    check(0 < len(data) <= most and data[0] >> 5 == 4, "OV_MALFORMED")
    try:
        items = cbor2.loads(data)
    except Exception as error:
        raise Refused("OV_MALFORMED") from error
    check(type(items) is list and items and plain(items), "OV_MALFORMED")
    check(cbor2.dumps(items, canonical=True) == data, "OV_NON_CANONICAL")
    check(items[0] == 1, "OV_UNSUPPORTED_VERSION")
    if form is ALLOWANCE and len(items) == 11:
        check(type(items[10]) is not int or items[10] < 2, "OV_UNSUPPORTED_VERSION")
    check(fits(items[1:], form), "OV_MALFORMED")
    return items[1:]


def read_certificate(data):
    found = read(data, CERTIFICATE)
    name = found[3]
    sound = len(name.encode()) <= 32 and name == unicodedata.normalize("NFC", name)
    check(sound and not UNSEEN.search(name) and point(found[2]), "OV_MALFORMED")
    return found


def read_allowance(data):
    found = read(data, ALLOWANCE)
    _, key, _, total, each, _, begins, spend, settle, flags = found
    check(each <= total and begins <= spend <= settle and point(key), "OV_MALFORMED")
    check(flags == (len(key) == 33), "OV_MALFORMED")
    return found


def point(key):
    return len(key) == 32 or key[0] in {2, 3}


# Section 2.2: what signatures are over.


def message(kind, *parts):
    return cbor2.dumps(["OV1", kind, *parts], canonical=True)


def sha256(data):
    return hashlib.sha256(data).digest()


def verifies(key, signed, sig):
    try:
        if len(key) == 32:
            VerifyKey(key).verify(signed, sig)
        else:
            r, s = int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big")
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
            public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (BadSignatureError, InvalidSignature, ValueError):
        return False
    return True


def entry_of(bundle, kid, usage, now):
    """The issuer's key under a kid, which must be of that usage and in its dates."""
    entry = next((one for one in bundle[2] if one[0] == kid and usage in one[3]), None)
    check(entry is not None, "OV_ISSUER_KEY_UNKNOWN")
    check(entry[4] <= now <= entry[5], "OV_ISSUER_KEY_EXPIRED")
    return entry[2]


# Section 3: the device.


class Payer:
    def __init__(self, home, now=None):
        self.key = SigningKey((Path(home) / "key").read_bytes())
        self.db = sqlite3.connect(Path(home) / "payer.db", isolation_level=None)
        self.db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + TABLES)
        self.now = int(time.time()) if now is None else now

    def take(self, root_key, bundle_wire, allowance_wire):
        """Keep an allowance, once root, issuer and device are who they must be."""
        root_kid, b, sig = read(bundle_wire, [2, ANY, 64], 8300)
        check(verifies(root_key, message("T", root_kid, b), sig), "OV_SIGNATURE")
        bundle = read(b, BUNDLE, 8192)
        kid, a, sig_a = read(allowance_wire, [2, ANY, 64])
        check(read_allowance(a)[1] == bytes(self.key.verify_key), "OV_OTHER_SUBJECT")
        issuer = entry_of(bundle, kid, "A", self.now)
        check(verifies(issuer, message("A", kid, a), sig_a), "OV_ALLOWANCE_SIGNATURE")
        self.db.execute("INSERT OR REPLACE INTO held VALUES (1, ?, ?, ?, ?)", (b, kid, a, sig_a))

    def pay(self, text):
        """The voucher's text for a request's: checked (3.1), reserved, signed and kept (3.2)."""
        check(text.startswith("OV1R:") and len(text) <= 1200, "OV_MALFORMED")
        try:
            wire = base45.b45decode(text[5:])
        except ValueError as error:
            raise Refused("OV_MALFORMED") from error
        check(base45.b45encode(wire).decode() == text[5:], "OV_MALFORMED")
        kid, c, sig_c, body, sig = read(wire, [2, ANY, 64, ANY, 64])
        terminal, payee, terminal_key, _, _, not_after = read_certificate(c)
        amount, ccy, nonce, _ = read(body, REQUEST)
        held = self.db.execute("SELECT bundle, kid, a, sig FROM held").fetchone()
        check(held, "there is no allowance here: take one")
        b, a_kid, a, sig_a = held
        issuer = entry_of(read(b, BUNDLE, 8192), kid, "C", self.now)
        check(verifies(issuer, message("C", kid, c), sig_c), "OV_CERTIFICATE_SIGNATURE")
        check(self.now <= not_after, "OV_CERTIFICATE_EXPIRED")
        check(verifies(terminal_key, message("R", sha256(c), body), sig), "OV_REQUEST_SIGNATURE")
        known = "SELECT request, a, counter FROM voucher WHERE terminal = ? AND nonce = ?"
        answered = self.db.execute(known, (terminal, nonce)).fetchone()
        if answered:
            check(answered[0] == sha256(body), "OV_REQUEST_REUSED")
            return self.shown(a_kid, sig_a, *answered[1:])
        for waits in self.db.execute(
            "SELECT counter FROM voucher WHERE a = ? AND sig IS NULL", (a,)
        ).fetchall():
            self.shown(a_kid, sig_a, a, *waits)  # counters are signed in their order
        self.db.execute("BEGIN IMMEDIATE")
        with self.db:  # commits what it reserves, or nothing
            last = "SELECT counter, cum, h FROM voucher WHERE a = ? ORDER BY counter DESC LIMIT 1"
            counter, cum, h = self.db.execute(last, (a,)).fetchone() or (0, 0, bytes(8))
            counter, cum = counter + 1, cum + amount
            _, _, own_ccy, total, each, most, begins, spend, _, _ = read_allowance(a)
            check(ccy == own_ccy, "OV_CURRENCY_MISMATCH")
            check(begins <= self.now, "OV_NOT_YET_VALID")
            check(self.now <= spend, "OV_ALLOWANCE_EXPIRED")
            check(amount <= each, "OV_OVER_VOUCHER_LIMIT")
            check(counter <= most, "OV_COUNTER_RANGE")
            check(cum <= total, "OV_OVER_ALLOWANCE_CAP")
            items = [1, counter, amount, cum, payee, terminal, nonce, self.now, h[:8]]
            v = cbor2.dumps(items, canonical=True)
            row = (
                a,
                counter,
                cum,
                terminal,
                nonce,
                sha256(body),
                v,
                sha256(message("V", sha256(a), v)),
            )
            self.db.execute("INSERT INTO voucher VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)
        return self.shown(a_kid, sig_a, a, counter)

    def shown(self, kid, sig_a, a, counter):
        """Sign what is reserved, the same payload however often, keep it, and give its text."""
        where = "WHERE a = ? AND counter = ?"
        v, sig = self.db.execute(f"SELECT v, sig FROM voucher {where}", (a, counter)).fetchone()
        if sig is None:
            sig = self.key.sign(message("V", sha256(a), v)).signature
            self.db.execute(f"UPDATE voucher SET sig = ? {where}", (sig, a, counter))
        wire = cbor2.dumps([1, kid, a, sig_a, v, sig], canonical=True)
        return "OV1V:" + base45.b45encode(wire).decode()


def main(words):
    match words:
        case ["init", home]:
            Path(home).mkdir(mode=0o700)
            (Path(home) / "key").touch(mode=0o600)
            (Path(home) / "key").write_bytes(secrets.token_bytes(32))
            print(bytes(Payer(home).key.verify_key).hex())
        case ["take", home, root_key, bundle, allowance]:
            Payer(home).take(*map(bytes.fromhex, (root_key, bundle, allowance)))
        case ["pay", home, request]:
            print(Payer(home).pay(request))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Refused as refusal:
        raise SystemExit(f"NOT PAID: {refusal}") from None
