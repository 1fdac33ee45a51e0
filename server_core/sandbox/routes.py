"""The sandbox's HTTP routes: one door a rail, each with the same shape, and the admin's."""

import json
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus

from litestar import MediaType, Request, Response, Router, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler, ExceptionHandlersMap

from server_core.rails.card_numbers import holds_card_number
from server_core.sandbox import requests
from server_core.sandbox.banks import PAGE
from server_core.sandbox.core import UpiCore
from server_core.sandbox.desk import DebitDesk, Desk
from server_core.sandbox.model import Answer, Refusal
from server_core.sandbox.page import HEADERS, page
from server_core.sandbox.refunds import RefundDesk
from server_core.sandbox.rules import help_for

AnyRequest = Request[Any, Any, Any]


def all_of(core: UpiCore) -> list[ControllerRouterHandler]:
    """Every route; what comes to the cards' and the banks' doors is first searched for numbers."""
    return [
        *_admin(core),
        *_door("/upi", "pay", "reverse", core.upi, core.upi_refunds),
        *_upi(core),
        Router(
            "/",
            before_request=_refuse_card_numbers,
            route_handlers=[
                *_door("/card", "authorize", "void", core.cards, core.card_refunds),
                _take("/card/capture", core.captures),
                _steer("/card/admin/capture", core.captures),
                *_door("/bank", "initiate", "reverse", core.banks, core.bank_refunds),
                *_bank_page(core),
            ],
        ),
    ]


def _door(
    door: str, paying: str, reversing: str, debits: DebitDesk, refunds: RefundDesk
) -> list[ControllerRouterHandler]:
    @post(f"{door}/{reversing}", status_code=200)
    async def reverse(request: AnyRequest) -> Response[bytes]:
        return _response(await debits.reverse(await _body(request)))

    @get(f"{door}/admin/help")
    async def explain() -> dict[str, str]:
        return help_for(debits.dialect)

    return [
        _take(f"{door}/{paying}", debits),
        _status(f"{door}/txn", debits),
        reverse,
        _take(f"{door}/refund", refunds),
        _status(f"{door}/refund", refunds),
        explain,
        _steer(f"{door}/admin/txn", debits),
        _steer(f"{door}/admin/refund", refunds),
    ]


def _take(path: str, desk: Desk) -> ControllerRouterHandler:
    @post(path, status_code=200)
    async def take(request: AnyRequest) -> Response[bytes]:
        return _response(await desk.take(await _body(request)), request)

    return take


def _status(path: str, desk: Desk) -> ControllerRouterHandler:
    @get(path + "/{key:str}")
    async def status(key: FromPath[str], request: AnyRequest) -> Response[bytes]:
        return _response(await desk.status(key), request)

    return status


def _steer(path: str, desk: Desk) -> ControllerRouterHandler:
    @post(path + "/{key:str}", status_code=200)
    async def steer(key: FromPath[str], request: AnyRequest) -> Response[bytes]:
        return _response(desk.steer(key, await _body(request)))

    return steer


def _upi(core: UpiCore) -> list[ControllerRouterHandler]:
    @get("/upi/ref/{reference:str}")
    async def referred(reference: FromPath[str]) -> Response[bytes]:
        return _response(await core.upi.referred(reference))

    @post("/upi/collect", status_code=200)
    async def collect() -> Response[bytes]:
        return _response(core.upi.collect())

    @post("/upi/admin/scan", status_code=200)
    async def scan(request: AnyRequest) -> Response[bytes]:
        return _response(await core.upi.scan(await _body(request)))

    return [referred, collect, scan]


def _bank_page(core: UpiCore) -> list[ControllerRouterHandler]:
    def shown(key: str, decision: str | None = None) -> Response[str]:
        if decision is None:
            entry = core.banks.find(requests.parse_id(key, "bank", "txn_id"))
        else:
            entry = core.banks.decide(key, approve=decision == "approve")
        if entry is None or entry.order is None:
            raise core.banks.refusal(404, "not_found", "no such payment", key)
        html = page(entry, core.banks.waiting)
        return Response(html, media_type=MediaType.HTML, headers=HEADERS)

    @get(PAGE + "{key:str}", sync_to_thread=False)
    def show(key: FromPath[str]) -> Response[str]:
        return shown(key)

    @post(PAGE + "{key:str}", status_code=200)
    async def decide(key: FromPath[str], request: AnyRequest) -> Response[str]:
        pressed = parse_qs((await request.body()).decode("latin-1")).get("decision", [])
        if pressed not in (["approve"], ["decline"]):
            raise Refusal(400, "bank.decision", "decision must be approve or decline")
        return shown(key, pressed[0])

    return [show, decide]


def _admin(core: UpiCore) -> list[ControllerRouterHandler]:
    @get("/health")
    async def health() -> dict[str, Any]:
        outage = core.line.behaviour.outage
        return {"status": "outage" if outage else "ok", "transactions": core.store.count}

    @get("/upi/admin/behaviour")
    async def behaviour() -> dict[str, Any]:
        return core.line.behaviour.facts()

    @post("/upi/admin/behaviour", status_code=200)
    async def behave(request: AnyRequest) -> dict[str, Any]:
        return core.behave(await _body(request)).facts()

    return [health, behaviour, behave]


async def _refuse_card_numbers(request: AnyRequest) -> None:
    """Searches path, query, headers and body, before anything reads them; says nothing back.

    Cookies are passed over: a browser brings those of every program on this machine.
    """
    raw = await request.body()
    headers = [value for name, value in request.headers.items() if name != "cookie"]
    texts = [
        request.scope["path"],
        unquote_plus(request.scope["query_string"].decode("latin-1")),
        *headers,
        raw.decode("utf-8", "replace"),
    ]
    try:  # escapes hide digits from a search of the bytes
        texts.append(json.dumps(json.loads(raw), ensure_ascii=False))
    except (ValueError, RecursionError):
        texts.append(unquote_plus(texts[-1]))
    if any(map(holds_card_number, texts)):
        raise Refusal(400, "card.number", "a card's number never comes here: send its token")


async def _body(request: AnyRequest) -> dict[str, Any]:
    return requests.parse_object(await request.body())


def _response(answer: Answer, request: AnyRequest | None = None) -> Response[bytes]:
    said = answer.said
    if said is not None and request is not None and "page" in said:
        root = str(request.base_url).rstrip("/")
        said = said | {"action_url": root + said["page"]}
    content = answer.raw if said is None else json.dumps(said).encode()
    return Response(content, status_code=answer.status, media_type=MediaType.JSON)


def _refused(_: AnyRequest, refusal: Refusal) -> Response[bytes]:
    return _response(Answer(status=refusal.status, said=refusal.body()))


def _http_refused(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What the framework refuses by itself: unknown paths, wrong methods, bodies too large."""
    said = {"error": "upi.http", "message": error.detail or "the request could not be read"}
    return _response(Answer(status=error.status_code, said=said))


EXCEPTIONS: Final[ExceptionHandlersMap] = {Refusal: _refused, HTTPException: _http_refused}
