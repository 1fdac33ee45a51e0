"""A payer's device online: take an allowance, give it back, and bear witness to what it signed."""

import json
from dataclasses import dataclass
from typing import Final

from edge_agent.errors import AgentError, VerdictError
from edge_agent.payer import Payer
from edge_agent.server import Issued, Server, ServerRefused
from edge_agent.store.payer_store import AllowanceRow
from edge_agent.trust import read_bundle
from offline.model import Allowance
from offline.signing import allowance_message, sha256, surrender_message
from offline.trust import check_issued
from offline.verdicts import Refused, Verdict
from offline.wire import SignedAllowance

_WITNESS_BATCH: Final = 100


async def refresh_bundle(payer: Payer, server: Server) -> None:
    """Fetch the bundle and take it over if the pinned root signed it and it is not older."""
    me = payer.me
    signed = read_bundle(
        await server.bundle(), me.root_key, root_kid=me.root_kid, floor=payer.bundle.version
    )
    if signed.bundle.version > payer.bundle.version:
        payer.trust(signed)


async def take_allowance(
    payer: Payer, server: Server, *, ccy: str, cap_total: int, cap_each: int
) -> Allowance:
    """Ask for an allowance; after a lost answer the same question is asked again under the same key."""
    held = payer.store.usable()
    if held is not None:
        if held.state == "active" and payer.now_s() > held.signed.allowance.spend_until:
            payer.store.set_allowance_state(held.signed.allowance.aid, "ended")
        else:
            raise AgentError(
                "edge.allowance_held", "this device holds an allowance: surrender it first"
            )
    await refresh_bundle(payer, server)
    asking = payer.store.asking()
    if asking is None:
        key = payer.entropy.bytes(16).hex()
        asked = {
            "device": payer.me.device,
            "currency": ccy,
            "cap_total": str(cap_total),
            "cap_each": str(cap_each),
        }
        payer.store.ask_for(key, json.dumps(asked))
        asking = (key, json.dumps(asked))
    try:
        issued = await server.issue_allowance(
            {**json.loads(asking[1]), "idempotency_key": asking[0]}
        )
    except ServerRefused:
        # Refused under this key: the next attempt is a new question.
        payer.store.stop_asking()
        raise
    signed = _check_issued(payer, issued, json.loads(asking[1]))
    payer.store.take_allowance(signed, sha256(signed.allowance_raw), payer.now_s())
    return signed.allowance


def _check_issued(payer: Payer, issued: Issued, asked: dict[str, str]) -> SignedAllowance:
    try:
        signed = SignedAllowance.of(issued.kid, issued.allowance, issued.sig)
    except Refused as e:
        raise VerdictError(e.verdict, "the allowance cannot be read") from e
    message = allowance_message(signed.kid, signed.allowance_raw)
    verdict = check_issued(payer.bundle, signed.kid, "A", message, signed.sig_a)
    if verdict is Verdict.SIGNATURE:
        verdict = Verdict.ALLOWANCE_SIGNATURE
    if verdict is not Verdict.ACCEPTED:
        raise VerdictError(verdict, "the allowance is not the issuer's")
    a = signed.allowance
    if (a.device_key, a.ccy) != (payer.keys.public_key(), asked["currency"]):
        raise VerdictError(Verdict.OTHER_SUBJECT, "the allowance is for another key or currency")
    if payer.store.allowance(a.aid) is not None:
        raise AgentError(
            "edge.allowance_known", "the server gave an allowance that was here before"
        )
    return signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrendered:
    """What the server said to a surrender."""

    state: str
    unspent: int
    ccy: str


async def surrender(payer: Payer, server: Server) -> Surrendered:
    """Give the allowance back. It stops being spendable before the server hears of it."""
    row = payer.store.usable()
    if row is None:
        raise AgentError("edge.no_allowance", "there is no allowance to give back")
    if row.state == "active" and not payer.rolled_back(row):
        payer.recover()
        row = payer.store.usable() or row
    a = row.signed.allowance
    payer.store.set_allowance_state(a.aid, "surrendering")
    sig = payer.keys.sign_plain(
        surrender_message(row.signed.allowance_raw, row.counter, row.cum, _last_h(row))
    )
    state = await server.surrender(
        aid=a.aid, counter=row.counter, cum=row.cum, h=_last_h(row), sig=sig
    )
    payer.store.set_allowance_state(a.aid, "surrendered")
    return Surrendered(state=state, unspent=a.cap_total - row.cum, ccy=a.ccy)


def _last_h(row: AllowanceRow) -> bytes:
    return row.last_h if row.counter else bytes(32)


async def witness(payer: Payer, server: Server) -> int:
    """Upload every voucher that was signed and not yet witnessed; give how many the server recorded."""
    payer.recover()
    recorded = 0
    while rows := payer.store.unwitnessed(_WITNESS_BATCH):
        texts = [signed.to_text() for row in rows if (signed := row.signed()) is not None]
        recorded += await server.witness(texts)
        payer.store.mark_witnessed([row.h for row in rows])
    return recorded
