"""USSD: the aggregator's callbacks, page by page, and the keys that terminals check answers with."""

import hmac
from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from bff.auth import core_of
from bff.routes.edge import AgentBody, b64, read, unb64
from server_core.app import Core
from server_core.errors import denied, invalid
from server_core.ussd import service as ussd
from server_core.ussd.model import AskKeys

_MAX_BODY: Final = 4_096
_MEMBERS: Final = {"sessionId", "serviceCode", "phoneNumber", "networkCode", "text"}
Asked = Request[Any, Any, Any]


class AskUssdKeys(AgentBody):
    terminal: str
    server_nonce: str
    sig: str


@post("/ussd", status_code=200, include_in_schema=False)
async def session(request: Asked) -> Response[str]:
    """One page of a session: a form of `sessionId`, `phoneNumber` and all the `text` so far.

    The answer is text: `CON …` asks for more, `END …` is the last word. Known by `Authorization:
    Bearer` with the key of HUNDI_USSD_KEY in hex. Raises ussd.key, ussd.form.
    """
    core = core_of(request)
    _check_key(core, request.headers.get("authorization", ""))
    said = await _form(request)
    page = await ussd.page(
        core.db,
        core.confirmations,
        core.rails,
        core.fields,
        number=said["phoneNumber"],
        text=said.get("text", ""),
    )
    return Response(
        f"{'END' if page.ends else 'CON'} {page.text}",
        media_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )


def _check_key(core: Core, header: str) -> None:
    key = core.settings.ussd_key
    sent = header.removeprefix("Bearer ").encode()
    if key is None or not hmac.compare_digest(key.hex().encode(), sent):
        raise denied("ussd.key", "not the aggregator: send the key of HUNDI_USSD_KEY")


async def _form(request: Asked) -> dict[str, str]:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MAX_BODY:
            raise invalid("ussd.form", "the form is too long")
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise invalid("ussd.form", "the body is no form") from error
    said = {name: value for name, value in pairs if name in _MEMBERS}
    if len(said) != len([name for name, _ in pairs if name in _MEMBERS]):
        raise invalid("ussd.form", "a member stands twice")
    if not said.get("phoneNumber") or not said.get("sessionId"):
        raise invalid("ussd.form", "sessionId and phoneNumber are needed", field="phoneNumber")
    return said


@post("/edge/ussd/keys", status_code=200)
async def keys(request: Asked) -> dict[str, Any]:
    """A terminal's code for payers, and the keys of its days: signed by the terminal (S)."""
    core, data = core_of(request), await read(request, AskUssdKeys)
    asked = AskKeys(
        terminal=unb64(data.terminal, "terminal"),
        server_nonce=unb64(data.server_nonce, "server_nonce"),
        sig=unb64(data.sig, "sig"),
    )
    found = await core.db.transact(
        lambda work: ussd.keys_for(work, core.trust, core.fields, core.entropy, asked)
    )
    return {
        "code": found.code,
        "keys": [{"day": day, "key": b64(key)} for day, key in sorted(found.keys.items())],
    }


def routes() -> list[HTTPRouteHandler]:
    return [session, keys]
