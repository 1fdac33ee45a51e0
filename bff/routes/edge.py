"""The agents' door: enrolment, allowances, witness, voids and the terminals' sync."""

import base64
import binascii
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from bff.auth import actor_of, core_of
from offline.sync import MAX_REQUEST
from server_core.db.work import Work
from server_core.errors import invalid
from server_core.ids import parse, public
from server_core.linking import service as linking
from server_core.linking.store import Device
from server_core.money import parse_minor
from server_core.parties import service as parties
from server_core.terminals import service as terminals
from server_core.terminals.model import Terminal
from server_core.vouchers import service as vouchers

_CBOR = "application/cbor"
Asked = Request[Any, Any, Any]


class AgentBody(msgspec.Struct, forbid_unknown_fields=True):
    """JSON of an agent: unknown members are mistakes, not extensions."""


class EnrolTerminal(AgentBody):
    code: str
    key: str
    server_nonce: str
    proof: str


class EnrolDevice(AgentBody):
    key: str
    tier: str
    label: str
    server_nonce: str
    proof: str


class TakeAllowance(AgentBody):
    device: str
    currency: str
    cap_total: str
    cap_each: str
    idempotency_key: str


class Surrender(AgentBody):
    aid: str
    counter: int
    cum: int
    h: str
    sig: str


class Witness(AgentBody):
    vouchers: list[str]


class HandIn(AgentBody):
    void: str


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, field: str) -> bytes:
    """Bytes behind base64url without padding; raises edge.base64 for anything else."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        data = b""
    if not data or b64(data) != text:
        raise invalid("edge.base64", f"{field} must be base64url without padding", field=field)
    return data


Body = TypeVar("Body", bound=AgentBody)


async def read(request: Asked, shape: type[Body]) -> Body:
    """The JSON body, strictly: the framework's own reading takes "1" for 1. Raises http.malformed."""
    return msgspec.json.decode(await request.body(), type=shape)


@post("/edge/nonce", status_code=200)
async def nonce(request: Asked) -> dict[str, Any]:
    core = core_of(request)
    made = core.trust.new_nonce(core.clock.now_ms(), core.entropy)
    return {"nonce": b64(made), "expires_in_s": 300}


@post("/edge/terminals/enrol", status_code=200)
async def enrol_terminal(request: Asked) -> dict[str, str]:
    """Answer a pairing code with the terminal's certificate and whom it trusts."""
    core = core_of(request)
    data = await read(request, EnrolTerminal)
    key, proof = unb64(data.key, "key"), unb64(data.proof, "proof")
    server_nonce = unb64(data.server_nonce, "server_nonce")

    async def do(work: Work) -> Terminal:
        return await terminals.enrol(
            work,
            core.entropy,
            core.trust,
            code=data.code,
            key=key,
            nonce=server_nonce,
            proof=proof,
        )

    terminal = await core.db.transact(do)
    return {
        "terminal": b64(terminal.id),
        "payee": b64(terminal.payee),
        "kid": b64(terminal.kid),
        "cert": b64(terminal.cert),
        "sig_cert": b64(terminal.sig_cert),
        "root_key": b64(core.trust.root_key),
        "bundle": b64(core.trust.bundle.to_bytes()),
    }


@get("/edge/me")
async def me(request: Asked) -> dict[str, Any]:
    """Who the session is, so that the device can prove its key for that party."""
    core, actor = core_of(request), await actor_of(request)
    if actor.party is None:
        raise invalid("edge.party", "this session acts for nobody")
    async with core.db.reader() as reader:
        party = await parties.get(reader, actor.party)
        devices = await linking.mine(reader, actor)
    live = [one for one in devices if one.revoked_at is None]
    return {
        "party": b64(party.id.bytes),
        "name": party.name,
        "device": public("dev", live[-1].id) if live else None,
        "devices": [
            {"device": public("dev", one.id), "label": one.label, "tier": one.tier} for one in live
        ],
    }


@get("/edge/tiers")
async def caps_of_tiers(request: Asked) -> dict[str, Any]:
    """What an allowance may be by the tier of its device. A device begins as `software`."""
    async with core_of(request).db.reader() as reader:
        found = await vouchers.by_tier(reader)
    return {
        "tiers": {
            str(tier): {"cap_total": str(caps["cap_total"]), "cap_each": str(caps["cap_each"])}
            for tier, caps in found.items()
        }
    }


@post("/edge/devices/enrol", status_code=200)
async def enrol_device(request: Asked) -> dict[str, str]:
    core, actor = core_of(request), await actor_of(request)
    data = await read(request, EnrolDevice)
    key, proof = unb64(data.key, "key"), unb64(data.proof, "proof")
    server_nonce = unb64(data.server_nonce, "server_nonce")

    async def do(work: Work) -> Device:
        return await linking.link(
            work,
            core.trust,
            actor,
            key=key,
            tier=data.tier,
            label=data.label,
            nonce=server_nonce,
            proof=proof,
        )

    device = await core.db.transact(do)
    return {
        "device": public("dev", device.id),
        "root_key": b64(core.trust.root_key),
        "bundle": b64(core.trust.bundle.to_bytes()),
    }


@post("/edge/allowances", status_code=200)
async def take_allowance(request: Asked) -> dict[str, str]:
    core, actor = core_of(request), await actor_of(request)
    data = await read(request, TakeAllowance)
    made = await vouchers.issue(
        core.db,
        core.trust,
        core.entropy,
        actor,
        key=data.idempotency_key,
        device=parse("dev", data.device, field="device"),
        currency=data.currency,
        cap_total=parse_minor(data.cap_total, field="cap_total"),
        cap_each=parse_minor(data.cap_each, field="cap_each"),
    )
    return {"kid": b64(made.kid), "allowance": b64(made.raw), "sig": b64(made.sig)}


@post("/edge/allowances/surrender", status_code=200)
async def surrender(request: Asked) -> dict[str, str]:
    core, actor = core_of(request), await actor_of(request)
    data = await read(request, Surrender)
    state = await vouchers.surrender(
        core.db,
        actor,
        aid=unb64(data.aid, "aid"),
        counter=data.counter,
        cum=data.cum,
        h=unb64(data.h, "h"),
        sig=unb64(data.sig, "sig"),
    )
    return {"state": state}


@post("/edge/vouchers/witness", status_code=200, request_max_body_size=MAX_REQUEST)
async def witness(request: Asked) -> dict[str, int]:
    core, actor = core_of(request), await actor_of(request)
    data = await read(request, Witness)
    return {"recorded": await vouchers.witness(core.db, core.trust, actor, data.vouchers)}


@post("/edge/voids", status_code=200)
async def hand_in(request: Asked) -> dict[str, str]:
    """Take a signed void from whoever holds it: its signatures are its authority."""
    core = core_of(request)
    data = await read(request, HandIn)
    return {"state": await vouchers.hand_in(core.db, core.trust, data.void)}


@get("/edge/bundle", media_type=_CBOR, sync_to_thread=False)
def bundle(request: Asked) -> Response[bytes]:
    return Response(core_of(request).trust.bundle.to_bytes(), media_type=_CBOR)


@post("/edge/sync", status_code=200, request_max_body_size=MAX_REQUEST)
async def sync(request: Asked) -> Response[bytes]:
    """Answer a terminal's signed batch; what became of each row stands in the signed answer."""
    if request.headers.get("content-type", "").partition(";")[0] != _CBOR:
        raise invalid("edge.content_type", f"send {_CBOR}")
    core = core_of(request)
    answer = await vouchers.sync(core.db, core.trust, core.entropy, await request.body())
    return Response(answer, media_type=_CBOR)


def routes() -> list[HTTPRouteHandler]:
    return [
        nonce, enrol_terminal, me, caps_of_tiers, enrol_device, take_allowance, surrender, witness, hand_in, bundle,
        sync,
    ]  # fmt: skip
