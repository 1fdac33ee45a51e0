"""Webhooks over REST: a merchant's endpoints, what was sent to them, replay and pull."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import UNSET

from bff.auth import actor_of, core_of
from bff.rest.bodies import malformed, read
from bff.rest.idempotency import REPLAYED, once
from bff.rest.openapi import responses, takes
from bff.rest.webhook_shapes import (
    CreateEndpoint,
    PublicKey,
    PublicKeys,
    Replay,
    Rotate,
    UpdateEndpoint,
    WebhookAttempt,
    WebhookAttempts,
    WebhookEndpoint,
    WebhookEndpoints,
    WebhookMessage,
    WebhookMessages,
    WebhookReplay,
)
from server_core.actor import Actor
from server_core.db.work import Work
from server_core.ids import parse, public
from server_core.webhooks import catalogue, reading, service
from server_core.webhooks.model import MAX_PAGE, Draft, Endpoint, Made
from server_core.webhooks.reading import Replayed
from server_core.webhooks.rules import check_role, owner_of

Asked = Request[Any, Any, Any]
_NO_STORE: Final = {"Cache-Control": "no-store"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@post(
    "/webhooks/endpoints",
    operation_class=takes(CreateEndpoint),
    responses=responses(201, WebhookEndpoint),
)
async def create(request: Asked) -> Response[WebhookEndpoint]:
    """Make an endpoint; the answer holds its secret, this once."""

    async def do(actor: Actor, key: str) -> Response[Any]:
        core, asked = core_of(request), await read(request, CreateEndpoint)
        owner_of(actor, None)  # nobody else has names looked up by us
        await core.courier.check(asked.url)
        draft = Draft(url=asked.url, events=asked.events, description=asked.description)

        async def make(work: Work) -> Made:
            return await service.create(
                work, core.fields, core.entropy, actor, draft,
                key=key, allow_private=core.settings.allow_private_webhooks,
            )  # fmt: skip

        return _made(await core.db.transact(make), 201)

    return await once(request, do)


@post(
    "/webhooks/endpoints/{endpoint:str}/rotate",
    status_code=200,
    operation_class=takes(Rotate),
    responses=responses(200, WebhookEndpoint),
)
async def rotate(request: Asked, endpoint: FromPath[str]) -> Response[WebhookEndpoint]:
    """A new secret, told this once; the old one signs beside it for 24 hours."""

    async def do(actor: Actor, key: str) -> Response[Any]:
        core, identity = core_of(request), parse("ep", endpoint)
        await read(request, Rotate)

        async def make(work: Work) -> Made:
            return await service.rotate(work, core.fields, core.entropy, actor, identity, key=key)

        return _made(await core.db.transact(make), 200)

    return await once(request, do)


@get("/webhooks/endpoints", responses=responses(200, WebhookEndpoints, keyed=False))
async def index(request: Asked) -> Response[WebhookEndpoints]:
    """The merchant's own endpoints, oldest first; at most 50."""
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await service.mine(reader, actor)
    said = WebhookEndpoints(endpoints=[WebhookEndpoint.of(one) for one in found])
    return Response(said, headers=_NO_STORE)


@get("/webhooks/endpoints/{endpoint:str}", responses=responses(200, WebhookEndpoint, keyed=False))
async def show(request: Asked, endpoint: FromPath[str]) -> Response[WebhookEndpoint]:
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await service.get(reader, actor, parse("ep", endpoint))
    return _said(found)


@patch("/webhooks/endpoints/{endpoint:str}", responses=responses(200, WebhookEndpoint, keyed=False))
async def update(request: Asked, endpoint: FromPath[str]) -> Response[WebhookEndpoint]:
    """Change URL, events or description; what is queued already goes to the new URL."""
    core, actor = core_of(request), await actor_of(request)
    asked = await read(request, UpdateEndpoint)
    check_role(actor)
    if asked.url is not UNSET:
        await core.courier.check(asked.url)
    identity = parse("ep", endpoint)

    async def do(work: Work) -> Endpoint:
        return await service.update(
            work,
            actor,
            identity,
            url=None if asked.url is UNSET else asked.url,
            filters=None if asked.events is UNSET else asked.events,
            description=None if asked.description is UNSET else asked.description,
            allow_private=core.settings.allow_private_webhooks,
        )

    return _said(await core.db.transact(do))


@post(
    "/webhooks/endpoints/{endpoint:str}/disable",
    status_code=200,
    responses=responses(200, WebhookEndpoint, keyed=False),
)
async def disable(request: Asked, endpoint: FromPath[str]) -> Response[WebhookEndpoint]:
    """Send nothing more; what waits and what comes is missed until a replay."""
    actor, identity = await actor_of(request), parse("ep", endpoint)
    db = core_of(request).db
    return _said(await db.transact(lambda work: service.disable(work, actor, identity)))


@post(
    "/webhooks/endpoints/{endpoint:str}/enable",
    status_code=200,
    responses=responses(200, WebhookEndpoint, keyed=False),
)
async def enable(request: Asked, endpoint: FromPath[str]) -> Response[WebhookEndpoint]:
    """Send again from now on; replay what was missed."""
    actor, identity = await actor_of(request), parse("ep", endpoint)
    db = core_of(request).db
    return _said(await db.transact(lambda work: service.enable(work, actor, identity)))


@delete("/webhooks/endpoints/{endpoint:str}", status_code=204)
async def remove(request: Asked, endpoint: FromPath[str]) -> None:
    """Disable for ever."""
    actor, identity = await actor_of(request), parse("ep", endpoint)
    await core_of(request).db.transact(lambda work: service.delete(work, actor, identity))


@post(
    "/webhooks/endpoints/{endpoint:str}/replay",
    status_code=200,
    responses=responses(200, WebhookReplay, keyed=False),
)
async def replay(request: Asked, endpoint: FromPath[str]) -> Response[WebhookReplay]:
    """Send again: one message, a stretch of time, or all that was never taken."""
    actor, identity = await actor_of(request), parse("ep", endpoint)
    asked = await read(request, Replay)
    db = core_of(request).db
    made = await db.transact(lambda work: _replay(work, actor, identity, asked))
    following = public("msg", made.last) if made.more and made.last else None
    return Response(WebhookReplay(replayed=made.count, next=following), headers=_NO_STORE)


async def _replay(work: Work, actor: Actor, endpoint: UUID, asked: Replay) -> Replayed:
    stretch = asked.since is not None or asked.until is not None or asked.missing
    if (asked.message is None) is not stretch:
        raise malformed("name one message, or a stretch of time, or what is missing")
    if asked.message is not None:
        return await reading.replay_one(work, actor, endpoint, parse("msg", asked.message))
    return await reading.replay(
        work,
        actor,
        endpoint,
        since=_ms(asked.since, 0),
        until=_ms(asked.until, reading.FOREVER),
        missing=asked.missing,
        after=parse("msg", asked.after) if asked.after else None,
    )


@get(
    "/webhooks/endpoints/{endpoint:str}/messages",
    responses=responses(200, WebhookMessages, keyed=False),
)
async def messages(
    request: Asked,
    endpoint: FromPath[str],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = MAX_PAGE,
    in_state: Annotated[str | None, QueryParameter(name="state")] = None,
) -> Response[WebhookMessages]:
    """The pull API: the same bodies, oldest first, by a cursor, whatever became of them."""
    actor, identity = await actor_of(request), parse("ep", endpoint)
    async with core_of(request).db.reader() as reader:
        found = await reading.pull(
            reader,
            actor,
            identity,
            after=parse("msg", after, field="after") if after else None,
            limit=limit,
            state=in_state,
        )
    said = [WebhookMessage.of(one) for one in found]
    following = said[-1].id if said else after
    return Response(WebhookMessages(messages=said, next=following), headers=_NO_STORE)


@get(
    "/webhooks/endpoints/{endpoint:str}/messages/{message:str}/attempts",
    responses=responses(200, WebhookAttempts, keyed=False),
)
async def attempts(
    request: Asked, endpoint: FromPath[str], message: FromPath[str]
) -> Response[WebhookAttempts]:
    actor = await actor_of(request)
    async with core_of(request).db.reader() as reader:
        found = await reading.attempts(
            reader, actor, parse("ep", endpoint), parse("msg", message, field="message")
        )
    said = WebhookAttempts(attempts=[WebhookAttempt.of(one) for one in found])
    return Response(said, headers=_NO_STORE)


@get("/webhooks/event-types", sync_to_thread=False)
def event_types() -> dict[str, list[int]]:
    """Every type that an endpoint may ask for, with its payload versions."""
    return {name: sorted(kind.versions) for name, kind in catalogue.KINDS.items()}


@get("/.well-known/webhook-keys")
async def keys(request: Asked) -> Response[PublicKeys]:
    """The public keys of v1a signatures; for anybody."""
    core = core_of(request)
    async with core.db.work() as work:
        found = await service.signing_keys(work, core.fields, core.entropy)
    said = [PublicKey.of(one) for one in found]
    return Response(PublicKeys(keys=said), headers={"Cache-Control": "public, max-age=300"})


def _made(made: Made, status: int) -> Response[WebhookEndpoint]:
    said = WebhookEndpoint.of(made.endpoint, made.secret)
    headers = {REPLAYED: "true"} if made.replayed else {}
    if status == 201:
        headers["Location"] = f"/webhooks/endpoints/{said.id}"
    return Response(said, status_code=status, headers=headers)


def _said(endpoint: Endpoint) -> Response[WebhookEndpoint]:
    return Response(WebhookEndpoint.of(endpoint), headers=_NO_STORE)


def _ms(moment: datetime | None, otherwise: int) -> int:
    if moment is None:
        return otherwise
    if moment.tzinfo is None:
        raise malformed("times are ISO 8601 with an offset, or Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def routes() -> list[HTTPRouteHandler]:
    return [
        create, index, show, update, remove, disable, enable, rotate, replay, messages, attempts,
        event_types, keys,
    ]  # fmt: skip
