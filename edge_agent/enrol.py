"""Joining: a terminal by the pairing string its shop was given, a payer's device by a session token."""

import unicodedata
from dataclasses import dataclass

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.port import KeyStore
from edge_agent.errors import AgentError, VerdictError
from edge_agent.server import Server
from edge_agent.store.payer_store import PayerSelf, PayerStore
from edge_agent.store.terminal_rows import TerminalSelf
from edge_agent.store.terminal_store import TerminalStore
from edge_agent.trust import Pairing, check_fingerprint, read_bundle
from offline.codec import read_certificate
from offline.journal import EPOCH_SIZE
from offline.model import Certificate
from offline.signing import enrolment_message
from offline.trust import check_certificate
from offline.verdicts import Refused, Verdict


async def enrol_terminal(
    store: TerminalStore,
    keys: KeyStore,
    server: Server,
    pairing: Pairing,
    *,
    clock: Clock,
    entropy: Entropy,
    currency: str,
) -> Certificate:
    """Pair this terminal; nothing is stored unless root, bundle and certificate all hold."""
    if store.me() is not None:
        raise AgentError("edge.already_enrolled", "this home already holds an enrolled terminal")
    key, nonce = keys.public_key(), await server.nonce()
    proof = keys.sign_plain(enrolment_message("terminal", nonce, key, pairing.code.encode()))
    answer = await server.enrol_terminal(
        code=pairing.code, key=key, server_nonce=nonce, proof=proof
    )
    check_fingerprint(answer.root_key, pairing.fingerprint)
    signed = read_bundle(answer.bundle, answer.root_key, root_kid=None, floor=0)
    verdict = check_certificate(answer.kid, answer.cert, answer.sig_cert, signed.bundle)
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the certificate is not the issuer's")
    try:
        certificate = read_certificate(answer.cert)
    except Refused as e:
        raise VerdictError(e.verdict, "the certificate cannot be read") from e
    if (certificate.terminal, certificate.payee, certificate.terminal_key) != (
        answer.terminal,
        answer.payee,
        key,
    ):
        raise VerdictError(Verdict.OTHER_SUBJECT, "the certificate is for another terminal or key")
    me = TerminalSelf(
        terminal=answer.terminal,
        payee=answer.payee,
        kid=answer.kid,
        cert=answer.cert,
        sig_cert=answer.sig_cert,
        root_kid=signed.root_kid,
        root_key=answer.root_key,
        server=server.url,
        enrolled_at_s=clock.now_ms() // 1000,
    )
    epoch = entropy.bytes(EPOCH_SIZE)
    store.found(me, answer.bundle, signed.bundle.version, epoch, currency)
    return certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A payer's device that the server knows now."""

    name: str
    device: str


async def enrol_payer(
    store: PayerStore,
    keys: KeyStore,
    server: Server,
    *,
    label: str,
    fingerprint: str | None,
    clock: Clock,
) -> Enrolled:
    """Link this device to the session's payer.

    Without a fingerprint the root key is believed on the strength of this one connection, which is
    what a session token over TLS gives.
    """
    if store.me() is not None:
        raise AgentError("edge.already_enrolled", "this home already holds an enrolled device")
    name = unicodedata.normalize("NFC", label).strip()
    if not name or len(name) > 64 or not name.isprintable():
        raise AgentError("edge.label_invalid", "a label is 1 to 64 printable characters")
    who = await server.me()
    key, nonce = keys.public_key(), await server.nonce()
    proof = keys.sign_plain(enrolment_message("payer", nonce, key, who.party))
    answer = await server.enrol_device(
        key=key, tier=keys.tier, label=name, server_nonce=nonce, proof=proof
    )
    if fingerprint is not None:
        check_fingerprint(answer.root_key, fingerprint)
    signed = read_bundle(answer.bundle, answer.root_key, root_kid=None, floor=0)
    store.found(
        PayerSelf(
            party=who.party,
            name=who.name,
            device=answer.device,
            root_kid=signed.root_kid,
            root_key=answer.root_key,
            server=server.url,
            enrolled_at_s=clock.now_ms() // 1000,
        ),
        answer.bundle,
        signed.bundle.version,
    )
    return Enrolled(name=who.name, device=answer.device)
