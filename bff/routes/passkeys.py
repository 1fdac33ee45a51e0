"""Passkeys over HTTP: made, listed, renamed and ended by their owner; a way in, and a proof again.

Options go to `navigator.credentials` through `PublicKeyCredential.parse…FromJSON`; answers are what `toJSON` gives.
"""

import json
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from bff.auth import actor_of, check_origin, core_of
from bff.routes.sessions import signed_in
from devices.passkeys import ANSWER_MAX
from server_core.actor import Role
from server_core.db.work import Work
from server_core.errors import invalid
from server_core.ids import parse, public
from server_core.passkeys import service as passkeys
from server_core.passkeys.model import Owned
from server_core.passkeys.service import Asked

Http = Request[Any, Any, Any]
_NO_STORE = {"Cache-Control": "no-store"}


class Options(msgspec.Struct):
    """WebAuthn options; `ticket` goes back with a sign-in's answer."""

    options: dict[str, Any]
    ticket: str


class Register(msgspec.Struct, forbid_unknown_fields=True):
    answer: dict[str, Any]
    label: str


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    answer: dict[str, Any]
    ticket: str
    role: str


class Prove(msgspec.Struct, forbid_unknown_fields=True):
    answer: dict[str, Any]


class Rename(msgspec.Struct, forbid_unknown_fields=True):
    label: str


class Passkey(msgspec.Struct):
    """One of its owner's; `synced`: it may be on several devices of the person."""

    id: str
    label: str
    synced: bool
    made_at: int
    used_at: int | None


class Passkeys(msgspec.Struct):
    passkeys: list[Passkey]


@post("/session/passkey/options", status_code=200)
async def sign_in_options(request: Http) -> Response[Options]:
    """Ask whoever is at this screen for a passkey."""
    check_origin(request)
    core = core_of(request)
    async with core.db.work() as work:
        return _asked(await passkeys.begin_sign_in(work, core.entropy, core.site))


@post("/session/passkey", status_code=204)
async def sign_in(request: Http, data: JSONBody[SignIn]) -> Response[None]:
    """A session cookie for the passkey's owner; passkeys.… for any answer that does not hold."""
    check_origin(request)
    core = core_of(request)
    try:
        role = Role(data.role)
    except ValueError as e:
        raise invalid("sessions.role", "role is payer, merchant, guardian or delegate", field="role") from e  # fmt: skip
    token = await passkeys.finish_sign_in(
        core.db, core.entropy, core.site, answer=_text(data.answer), ticket=data.ticket, role=role
    )
    return signed_in(core, token)


@post("/session/proof/options", status_code=200)
async def proof_options(request: Http) -> Response[Options]:
    """Ask the session's person again."""
    core, actor = core_of(request), await actor_of(request)
    async with core.db.work() as work:
        return _asked(await passkeys.begin_step_up(work, core.entropy, core.site, actor))


@post("/session/proof", status_code=204)
async def prove(request: Http, data: JSONBody[Prove]) -> Response[None]:
    """The session counts as proved from now on: for what asks for a fresh proof."""
    core, actor = core_of(request), await actor_of(request)
    await passkeys.finish_step_up(core.db, core.site, actor, _text(data.answer))
    return Response(None, status_code=204, headers=_NO_STORE)


@post("/passkeys/options", status_code=200)
async def options(request: Http) -> Response[Options]:
    """Ask for a new passkey of the session's party."""
    core, actor = core_of(request), await actor_of(request)
    async with core.db.work() as work:
        return _asked(await passkeys.begin_registration(work, core.entropy, core.site, actor))


@post("/passkeys", status_code=201)
async def register(request: Http, data: JSONBody[Register]) -> Response[Passkey]:
    core, actor = core_of(request), await actor_of(request)
    made = await passkeys.finish_registration(
        core.db, core.site, actor, _text(data.answer), data.label
    )
    return Response(_shown(made), status_code=201, headers=_NO_STORE)


@get("/passkeys")
async def mine(request: Http) -> Response[Passkeys]:
    core, actor = core_of(request), await actor_of(request)
    async with core.db.reader() as reader:
        found = await passkeys.mine(reader, actor)
    return Response(Passkeys(passkeys=[_shown(one) for one in found]), headers=_NO_STORE)


@patch("/passkeys/{passkey:str}")
async def rename(
    request: Http, passkey: FromPath[str], data: JSONBody[Rename]
) -> Response[Passkey]:
    core, actor = core_of(request), await actor_of(request)
    identity = parse("pky", passkey, field="passkey")

    async def do(work: Work) -> Owned:
        return await passkeys.rename(work, actor, identity, data.label)

    return Response(_shown(await core.db.transact(do)), headers=_NO_STORE)


@delete("/passkeys/{passkey:str}", status_code=204)
async def end(request: Http, passkey: FromPath[str]) -> None:
    """End it for good; a repeat is fine, the last one stays."""
    core, actor = core_of(request), await actor_of(request)
    identity = parse("pky", passkey, field="passkey")

    async def do(work: Work) -> Owned:
        return await passkeys.end(work, actor, identity)

    await core.db.transact(do)


def routes() -> list[HTTPRouteHandler]:
    return [sign_in_options, sign_in, proof_options, prove, options, register, mine, rename, end]


def _asked(asked: Asked) -> Response[Options]:
    return Response(Options(options=asked.options, ticket=asked.ticket), headers=_NO_STORE)


def _text(answer: dict[str, Any]) -> str:
    text = json.dumps(answer)
    if len(text) > ANSWER_MAX:
        raise invalid("passkeys.malformed", f"an answer is at most {ANSWER_MAX} characters", field="answer")  # fmt: skip
    return text


def _shown(one: Owned) -> Passkey:
    return Passkey(
        id=public("pky", one.id), label=one.label, synced=one.passkey.synced,
        made_at=one.made_at, used_at=one.used_at,
    )  # fmt: skip
