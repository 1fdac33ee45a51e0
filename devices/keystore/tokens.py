"""A PKCS#11 token as stores share it: its module, one login a process, keys that it keeps to itself.

Source: PKCS #11 v3.1 (OASIS), sections 6.3 (EC, Ed25519 by the OID of RFC 8410) and 6.9 (HMAC).
"""

import hmac
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from devices.keystore.port import KeyStoreDamaged, KeyStoreError, KeyStoreLocked
from offline.model import SIGNATURE_SIZE, Algorithm
from offline.signing import sha256, verify_signature

KEPT: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
SIGNING: Final = pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY
_CURVES: Final = {Algorithm.ED25519: "1.3.101.112", Algorithm.P256: "1.2.840.10045.3.1.7"}
_TYPES: Final = {Algorithm.ED25519: KeyType.EC_EDWARDS, Algorithm.P256: KeyType.EC}
_GENERATION: Final = {
    Algorithm.ED25519: Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    Algorithm.P256: Mechanism.EC_KEY_PAIR_GEN,
}
_MECHANISM: Final = {Algorithm.ED25519: Mechanism.EDDSA, Algorithm.P256: Mechanism.ECDSA}

_PIN_WRONG: Final = (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid)
_PIN_REFUSED: Final = (*_PIN_WRONG, pkcs11.PinLocked)


@contextmanager
def told() -> Iterator[None]:
    """Say a token's refusal in the words of the port; the PIN stands in none of them."""
    try:
        yield
    except _PIN_WRONG as e:
        raise KeyStoreLocked(
            "the PIN does not open the token; it locks after a few wrong ones"
        ) from e
    except pkcs11.PinLocked as e:
        raise KeyStoreLocked("the token's PIN is locked: its security officer must reset it") from e
    except (pkcs11.NoSuchToken, pkcs11.NoSuchKey) as e:
        raise KeyStoreDamaged(
            "no such token, or it holds no key of ours: check module and label"
        ) from e
    except (pkcs11.PKCS11Error, RuntimeError) as e:
        raise KeyStoreError(f"the token failed: {type(e).__name__}") from e


@dataclass(frozen=True, slots=True)
class Login:
    """A process is logged in to a token once, for all its stores; a session serves one call at a time."""

    session: Any
    pin: str
    turn: threading.Lock = field(default_factory=threading.Lock)


LOGINS: Final[dict[tuple[Path, str], Login]] = {}


def logged_in(module: Path, token: str, pin: str) -> Login:
    """Open the token, or give the login that this process has. While `told`."""
    known = LOGINS.get((module, token))
    if known is None:
        _check_module(module)
        session = pkcs11.lib(str(module)).get_token(token_label=token).open(user_pin=pin, rw=True)
        known = LOGINS[module, token] = Login(session, pin)
    elif not hmac.compare_digest(known.pin.encode(), pin.encode()):
        raise KeyStoreLocked("the PIN is not the one that opened the token")
    return known


def logged_in_again(module: Path, token: str, pin: str) -> Login:
    """Open the token anew: it was away, or its session is over. While `told`.

    A refused PIN is not tried twice: tokens lock after a few wrong ones.
    """
    known = LOGINS.pop((module, token), None)
    if known is not None:
        with known.turn, suppress(pkcs11.PKCS11Error):
            known.session.close()
    try:
        return logged_in(module, token, pin)
    except _PIN_REFUSED:
        raise
    except pkcs11.PKCS11Error:
        with suppress(pkcs11.PKCS11Error):  # it may have been ended beneath us
            pkcs11.lib(str(module)).finalize()
        return logged_in(module, token, pin)


def _check_module(module: Path) -> None:
    """Refuse a module that others could have written: its name may come with a restored backup."""
    try:
        found = module.stat()
    except OSError as e:
        raise KeyStoreError(f"the PKCS#11 module {module} cannot be read") from e
    if not module.is_absolute() or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise KeyStoreError(
            f"the PKCS#11 module {module} must be an absolute path to a file of root's or the "
            "program's user, which nobody else may write"
        )


def holds(login: Login, label: str) -> bool:
    """Say whether any object of this label is on the token. While `told`."""
    return next(iter(login.session.get_objects({Attribute.LABEL: label})), None) is not None


def check_kept(key: Any) -> None:
    """Refuse a key that the token would give away. While `told`."""
    for attribute, wanted in KEPT.items():
        if key[attribute] is not wanted:
            raise KeyStoreError(f"the token's key is not kept: {attribute.name} must be {wanted}")


def generate_pair(login: Login, label: str, algorithm: Algorithm) -> None:
    """Make a signing key pair that never leaves the token. While `told`."""
    login.session.create_domain_parameters(
        _TYPES[algorithm],
        {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])},
        local=True,
    ).generate_keypair(
        mechanism=_GENERATION[algorithm],
        label=label,
        store=True,
        capabilities=SIGNING,
        private_template=KEPT,
    )


class TokenKey:
    """One signing key pair of a token, by its label. Threads take turns."""

    __slots__ = ("_key", "_login", "algorithm", "public_key")

    def __init__(self, login: Login, label: str) -> None:
        """Find the pair and ask the token whether it keeps it. While `told`."""
        self._login = login
        self._key = login.session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)
        check_kept(self._key)
        self.algorithm = next(a for a, kind in _TYPES.items() if kind == self._key.key_type)
        public = login.session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=label)
        self.public_key = _compressed(self.algorithm, public[Attribute.EC_POINT])

    def sign(self, payload: bytes) -> bytes:
        """Sign, and check it: what a token that errs has signed must not leave. Raises KeyStoreError."""
        data = payload if self.algorithm is Algorithm.ED25519 else sha256(payload)
        with self._login.turn, told():
            signature = bytes(self._key.sign(data, mechanism=_MECHANISM[self.algorithm]))
        if len(signature) != SIGNATURE_SIZE or not verify_signature(
            self.algorithm, self.public_key, payload, signature
        ):
            raise KeyStoreError("the token's signature does not hold")
        return signature


def _compressed(algorithm: Algorithm, point: bytes) -> bytes:
    """Give OV1's public key of a DER-wrapped EC_POINT: 32 bytes as they are, or x with y's parity."""
    raw = point[2:]
    if algorithm is Algorithm.ED25519 and point[:2] == b"\x04\x20" and len(raw) == 32:
        return raw
    if algorithm is Algorithm.P256 and point[:3] == b"\x04\x41\x04" and len(raw) == 65:
        return bytes([2 + (raw[64] & 1)]) + raw[1:33]
    raise KeyStoreDamaged("the token's public key is of no form that OV1 knows")
