"""What an agent believes: a pinned root, and bundles that only this root can replace."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from edge_agent.errors import AgentError, VerdictError
from edge_agent.server import Server
from edge_agent.terminal import Terminal
from offline.trust import check_bundle, decode_bundle
from offline.verdicts import Verdict
from offline.wire import SignedBundle

_PAIRING: Final = re.compile(r"HUNDI-PAIR:([A-Za-z0-9_-]{4,128}):([0-9A-Fa-f]{16,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The pairing string that the server printed: a one-time code and the root key's fingerprint."""

    code: str
    fingerprint: str


def read_pairing(text: str) -> Pairing:
    form = _PAIRING.fullmatch(text.strip())
    if form is None:
        raise AgentError(
            "edge.pairing_malformed", "a pairing string looks like HUNDI-PAIR:<code>:<fingerprint>"
        )
    return Pairing(code=form[1], fingerprint=form[2].lower())


def check_fingerprint(root_key: bytes, fingerprint: str) -> None:
    """Refuse a root key that is not the one whose fingerprint was printed."""
    if not hashlib.sha256(root_key).hexdigest().startswith(fingerprint.lower()):
        raise AgentError(
            "edge.root_key_foreign", "the server's root key is not the one in the pairing string"
        )


def read_bundle(
    data: bytes, root_key: bytes, *, root_kid: bytes | None, floor: int
) -> SignedBundle:
    """Read a bundle and check it against the pinned root; the first one also names the root's kid."""
    signed = decode_bundle(data)
    if isinstance(signed, Verdict):
        raise VerdictError(signed, "the trust bundle cannot be read")
    kid = root_kid if root_kid is not None else signed.root_kid
    verdict = check_bundle(signed, kid, root_key, floor)
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the trust bundle is not the pinned root's")
    return signed


async def refresh_bundle(terminal: Terminal, server: Server) -> None:
    """Fetch the bundle and take it over if the pinned root signed it and it is not older."""
    me = terminal.me
    signed = read_bundle(
        await server.bundle(), me.root_key, root_kid=me.root_kid, floor=terminal.bundle.version
    )
    if signed.bundle.version > terminal.bundle.version:
        terminal.trust(signed)
