"""A key that never leaves its token: PKCS#11, of a secure element, a TEE's module or an HSM.

The token makes the key pair and signs; the key is sensitive and cannot be extracted, which is asked
of the token each time it is opened. The counters lie in a file under a MAC key of the same token: a
copied folder signs nothing without the token, and a folder put back beside its token is a rollback
that only an anchor in hardware sees. Hence the middle tier without one, and the highest with one.
"""

import hmac
import json
from pathlib import Path
from typing import Any, Final, Self

from pkcs11 import KeyType, Mechanism, ObjectClass

from devices.entropy import Entropy, SystemEntropy
from devices.keystore.anchor import TpmAnchor
from devices.keystore.counters import Counters
from devices.keystore.port import (
    KeyStoreDamaged,
    KeyStoreError,
    Tier,
    check_plain_payload,
)
from devices.keystore.sealed import read_small, write_durably
from devices.keystore.tokens import (
    KEPT,
    SIGNING,
    Login,
    TokenKey,
    check_kept,
    generate_pair,
    holds,
    logged_in,
    told,
)
from offline.model import Algorithm

_LABEL: Final = "hundi-device"
_TAG: Final = 32
_TOKEN_FILE: Final = "token.json"  # noqa: S105 - a file's name


class Pkcs11KeyStore:
    """One key on one token, its counters and the token's name in `folder`. Threads take turns."""

    __slots__ = ("_anchor", "_counters", "_key", "_login", "_mac")

    def __init__(self, folder: Path, login: Login, tpm: dict[str, Any] | None) -> None:
        self._login = login
        self._key = TokenKey(login, _LABEL)
        self._mac = login.session.get_key(object_class=ObjectClass.SECRET_KEY, label=_LABEL)
        check_kept(self._mac)
        # Who has not this token cannot make the same index in another TPM.
        self._anchor = None if tpm is None else TpmAnchor(**tpm, auth=self._tag(b"anchor"))
        self._counters = Counters(
            folder, seal=self._tagged, unseal=self._untagged, anchor=self._anchor
        )

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        module: Path,
        token: str,
        pin: str,
        algorithm: Algorithm = Algorithm.ED25519,
        tpm: str | None = None,
        entropy: Entropy | None = None,
    ) -> Self:
        """Make the key pair and the MAC key on a token that holds none of ours.

        `module` is the PKCS#11 library, `token` the token's label, `tpm` the TPM that the counters
        are anchored in. Raises KeyStoreError, KeyStoreLocked on a wrong PIN, KeyStoreDamaged when
        there is no such token.
        """
        source = entropy if entropy is not None else SystemEntropy()
        named = TpmAnchor.named(tpm, source) if tpm is not None else None
        with told():
            login = logged_in(module, token, pin)
            if holds(login, _LABEL):
                raise KeyStoreError(
                    "this token already holds a key of Hundi: take another token or, if a first try "
                    "was cut off, delete the objects hundi-device by the token's own tool"
                )
            login.session.generate_key(
                KeyType.GENERIC_SECRET,
                key_length=256,
                mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
                label=_LABEL,
                store=True,
                capabilities=SIGNING,
                template=KEPT,
            )
            generate_pair(login, _LABEL, algorithm)
            store = cls(folder, login, named)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if store._anchor is not None:
            store._anchor.define(source)
        store._counters.begin()
        written = {"module": str(module), "token": token} | ({"tpm": named} if named else {})
        write_durably(folder / _TOKEN_FILE, json.dumps(written).encode())
        return store

    @classmethod
    def open(cls, folder: Path, pin: str) -> Self:
        """Open the key of the token that `folder` names; the counters must be there and be its own."""
        try:
            named = json.loads(read_small(folder / _TOKEN_FILE))
            module, token = Path(named["module"]), str(named["token"])
            tpm = TpmAnchor.read_name(named["tpm"]) if "tpm" in named else None
        except (ValueError, KeyError, TypeError) as e:
            raise KeyStoreDamaged(f"{_TOKEN_FILE} does not name a module and a token") from e
        with told():
            store = cls(folder, logged_in(module, token, pin), tpm)
        store._counters.read()
        return store

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / _TOKEN_FILE).exists()

    @property
    def algorithm(self) -> Algorithm:
        return self._key.algorithm

    @property
    def tier(self) -> Tier:
        return Tier.TEE if self._anchor is None else Tier.HARDWARE_COUNTER

    def public_key(self) -> bytes:
        return self._key.public_key

    def counter(self, scope: bytes) -> int:
        return self._counters.at(scope)

    def sign(self, counter: int, payload: bytes) -> bytes:
        self._counters.take(counter, payload)
        return self._key.sign(payload)

    def sign_plain(self, payload: bytes) -> bytes:
        check_plain_payload(payload)
        return self._key.sign(payload)

    def _tag(self, data: bytes) -> bytes:
        with self._login.turn, told():
            return bytes(self._mac.sign(data, mechanism=Mechanism.SHA256_HMAC))

    def _tagged(self, rows: bytes) -> bytes:
        return self._tag(b"counters" + rows) + rows

    def _untagged(self, data: bytes) -> bytes:
        rows = data[_TAG:]
        if not hmac.compare_digest(data[:_TAG], self._tag(b"counters" + rows)):
            raise ValueError("not tagged by this token")
        return rows
