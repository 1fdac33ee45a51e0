"""The issuer's keys on a PKCS#11 token: made there, never out of it, opened again after it was away."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreError, KeyStoreLocked
from devices.keystore.tokens import (
    TokenKey,
    generate_pair,
    logged_in,
    logged_in_again,
    told,
)
from offline.model import Algorithm
from server_core.errors import DomainError, unavailable
from server_core.trust.holders import SeedSigner, Signer
from server_core.trust.model import HeldKey, IssuerToken

_log: Final = structlog.get_logger("hundi.trust")
_PATIENCE_S: Final = 10
"""How long a signature may take: it is asked for in a transaction, which keeps others waiting."""


class TokenHolder:
    """Keys are pairs on one token, each under a label of its own; what the ring had stays readable."""

    __slots__ = ("_entropy", "_token")

    def __init__(self, token: IssuerToken, entropy: Entropy) -> None:
        self._token = token
        self._entropy = entropy

    def make(self, name: str) -> HeldKey:
        """Make a pair. Its label is of chance: one that a cut-off command left behind signs nothing."""
        label = f"hundi-{name}-{self._entropy.bytes(8).hex()}"
        with told():
            login = logged_in(self._token.module, self._token.label, self._token.pin)
            generate_pair(login, label, Algorithm.ED25519)
            return HeldKey(label=label, public=TokenKey(login, label).public_key)

    def opened(self, key: HeldKey) -> Signer:
        return TokenSigner(self._token, key) if key.label else SeedSigner(key.seed)


class TokenSigner:
    """One key of the token. Tasks take turns in a thread of its own, so that no other one waits."""

    __slots__ = ("_held", "_key", "_locked", "_thread", "_token")

    def __init__(self, token: IssuerToken, held: HeldKey) -> None:
        self._token = token
        self._held = held
        self._locked = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hundi-issuer")
        with told():
            self._key = self._found(again=False)

    def sign(self, message: bytes) -> bytes:
        try:
            return self._thread.submit(self._sign, message).result(_PATIENCE_S)
        except TimeoutError as error:
            raise _away(error) from error

    async def sign_soon(self, message: bytes) -> bytes:
        turn = asyncio.get_running_loop().run_in_executor(self._thread, self._sign, message)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await turn
        except TimeoutError as error:
            raise _away(error) from error

    def _sign(self, message: bytes) -> bytes:
        try:
            return self._key.sign(message)
        except KeyStoreError as error:
            if self._locked:
                raise _away(error) from error
        try:
            with told():
                self._key = self._found(again=True)
            return self._key.sign(message)
        except KeyStoreError as error:
            # A PIN that was changed is not tried again: the token would lock.
            self._locked = isinstance(error, KeyStoreLocked)
            raise _away(error) from error

    def _found(self, *, again: bool) -> TokenKey:
        """The pair, if it is the ring's and the token keeps it. While `told`."""
        place = (self._token.module, self._token.label, self._token.pin)
        key = TokenKey(logged_in_again(*place) if again else logged_in(*place), self._held.label)
        if key.public_key != self._held.public:
            raise KeyStoreDamaged(f"the token's key {self._held.label} is not the ring's")
        return key


def _away(error: Exception) -> DomainError:
    _log.error("trust.token_away", error=str(error) or f"no answer in {_PATIENCE_S} s")
    return unavailable(
        "trust.token_away", "the token with the issuer's key does not answer: repeat in a while"
    )
