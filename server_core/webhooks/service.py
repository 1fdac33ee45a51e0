"""Endpoints: made, read, changed, disabled, rotated, deleted; and what was sent to them."""

from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from devices.entropy import Entropy
from devices.keystore.fields import FieldKeys, place
from server_core.actor import SYSTEM, Actor, Role
from server_core.db.work import Emitted, Reader, Work
from server_core.errors import conflict, denied, limited
from server_core.events import store as events
from server_core.idempotency import rules as keys
from server_core.idempotency import service as idempotency
from server_core.idempotency.model import Claim, Mismatch, Replay
from server_core.ids import public
from server_core.parties import service as parties
from server_core.webhooks import catalogue, messages, rules, signing, store
from server_core.webhooks.destinations import check_url
from server_core.webhooks.model import (
    MAX_ENDPOINTS,
    OLD_SECRETS,
    Draft,
    Endpoint,
    EndpointState,
    Made,
    Reason,
    Secret,
    SigningKey,
)

_KEYS_LOCK: Final = "webhooks.keys"


async def create(
    work: Work,
    fields: FieldKeys,
    entropy: Entropy,
    actor: Actor,
    draft: Draft,
    *,
    key: str,
    owner: UUID | None = None,
    allow_private: bool = False,
) -> Made:
    """A new endpoint with its secret, which is told now and to a repeat of the same key only.

    Raises webhooks.role, webhooks.url, webhooks.event_type, webhooks.description,
    webhooks.too_many, parties.unknown and the idempotency errors.
    """
    party = rules.owner_of(actor, owner)
    check_url(draft.url, allow_private=allow_private)
    filters = catalogue.check_filters(draft.events)
    description = rules.check_description(draft.description)
    claim = _claim("webhook.create", actor, key, draft.body() | {"owner": str(party)})
    if (said := await _replayed(work, claim)) is not None:
        endpoint = rules.check_owner(actor, await store.get(work, UUID(said["endpoint"])))
        return await _told(work, fields, endpoint, said["number"])
    await parties.get(work, party)
    # One at a time for an owner, so that two at once do not both find room for the last.
    await work.lock(f"webhooks:{party}")
    if len(await store.of_owner(work, party)) >= MAX_ENDPOINTS:
        raise limited(
            "webhooks.too_many", f"at most {MAX_ENDPOINTS} endpoints", limit=MAX_ENDPOINTS
        )
    endpoint = Endpoint(
        id=work.ids.new(),
        owner=party,
        url=draft.url,
        description=description,
        filters=filters,
        state=EndpointState.ENABLED,
        reason=None,
        from_seq=await events.head(work),
        failing_since=None,
        rest_until=0,
        created_at=work.now_ms,
        changed_at=work.now_ms,
    )
    await store.insert(work, endpoint)
    raw = await _new_secret(work, fields, entropy, endpoint.id, 1)
    await idempotency.answer(work, [(claim, {"endpoint": str(endpoint.id), "number": 1})])
    return Made(endpoint=endpoint, secret=signing.secret_text(raw))


async def get(reader: Reader, actor: Actor, endpoint: UUID) -> Endpoint:
    """The actor's own endpoint; raises webhooks.unknown, webhooks.role."""
    return rules.check_owner(actor, await store.get(reader, endpoint))


async def mine(reader: Reader, actor: Actor, owner: UUID | None = None) -> list[Endpoint]:
    """All endpoints of one owner, oldest first."""
    return await store.of_owner(reader, rules.owner_of(actor, owner))


async def every(reader: Reader, actor: Actor, limit: int = 1_000) -> list[Endpoint]:
    """All endpoints. Operators only."""
    if actor.role is not Role.OPERATOR:
        raise denied("webhooks.role", "only an operator sees every endpoint")
    return await store.every(reader, limit)


async def update(
    work: Work,
    actor: Actor,
    endpoint: UUID,
    *,
    url: str | None = None,
    filters: list[str] | None = None,
    description: str | None = None,
    allow_private: bool = False,
) -> Endpoint:
    """Change what is given. What is queued already goes to the new URL."""
    found = await _locked(work, actor, endpoint)
    if url is not None:
        check_url(url, allow_private=allow_private)
        # What another place did is not held against this one.
        new = url != found.url
        found = replace(found, url=url)
        found = replace(found, failing_since=None, rest_until=0) if new else found
    if filters is not None:
        found = replace(found, filters=catalogue.check_filters(filters))
    if description is not None:
        found = replace(found, description=rules.check_description(description))
    return await _saved(work, found)


async def enable(work: Work, actor: Actor, endpoint: UUID) -> Endpoint:
    """Send again from now on; what was missed is sent by a replay."""
    found = await _locked(work, actor, endpoint)
    if found.state is EndpointState.ENABLED:
        return found
    return await _saved(
        work,
        replace(found, state=EndpointState.ENABLED, reason=None, failing_since=None, rest_until=0),
    )


async def disable(work: Work, actor: Actor, endpoint: UUID) -> Endpoint:
    """Send nothing from now on; what waits is missed, and so is what comes, until a replay."""
    found = await _locked(work, actor, endpoint)
    return await stop(work, found, Reason.OWNER, actor)


async def delete(work: Work, actor: Actor, endpoint: UUID) -> None:
    """Disable for ever: it hears nothing more, its secrets are gone, its history stays."""
    found = await _locked(work, actor, endpoint)
    await _saved(work, replace(found, state=EndpointState.DELETED, reason=Reason.OWNER))
    await messages.miss(work, found.id)
    await store.forget_secrets(work, found.id, 2**62)


async def stop(work: Work, endpoint: Endpoint, reason: Reason, actor: Actor = SYSTEM) -> Endpoint:
    """Disable a locked endpoint and say so; one that is disabled already stays as it is."""
    if endpoint.state is not EndpointState.ENABLED:
        return endpoint
    work.emit(
        about(
            "endpoint.disabled",
            endpoint,
            actor,
            reason=reason,
            failing_since=catalogue.iso(endpoint.failing_since) if endpoint.failing_since else None,
        )
    )
    await messages.miss(work, endpoint.id)
    return await _saved(work, replace(endpoint, state=EndpointState.DISABLED, reason=reason))


async def rotate(
    work: Work, fields: FieldKeys, entropy: Entropy, actor: Actor, endpoint: UUID, *, key: str
) -> Made:
    """A new secret. The old one signs beside it for 24 hours, ten old ones at most."""
    found = await _locked(work, actor, endpoint)
    claim = _claim("webhook.rotate", actor, key, {"endpoint": str(endpoint)})
    if (said := await _replayed(work, claim)) is not None:
        return await _told(work, fields, found, said["number"])
    held = await store.secrets(work, [endpoint])
    number = max((one.number for one in held), default=0) + 1
    await store.retire_secret(work, endpoint, rules.ends_at(work.now_ms))
    await store.forget_secrets(work, endpoint, number - OLD_SECRETS)
    raw = await _new_secret(work, fields, entropy, endpoint, number)
    await idempotency.answer(work, [(claim, {"endpoint": str(endpoint), "number": number})])
    return Made(endpoint=found, secret=signing.secret_text(raw))


async def signing_keys(work: Work, fields: FieldKeys, entropy: Entropy) -> list[SigningKey]:
    """The house's keys that sign now, newest first; the first one is made when it is asked for."""
    found = await store.keys(work)
    if found:
        return found
    await work.lock(_KEYS_LOCK)
    return await store.keys(work) or [await _new_key(work, fields, entropy)]


async def rotate_key(work: Work, fields: FieldKeys, entropy: Entropy, actor: Actor) -> SigningKey:
    """A new ed25519 key for all endpoints; the old one signs beside it for 24 hours. Operators."""
    if actor.role is not Role.OPERATOR:
        raise denied("webhooks.role", "only an operator rotates the house's key")
    await work.lock(_KEYS_LOCK)
    if len(await store.keys(work)) > OLD_SECRETS:
        raise conflict("webhooks.keys_full", "too many keys sign already: wait until one is over")
    await store.retire_keys(work, rules.ends_at(work.now_ms))
    return await _new_key(work, fields, entropy)


def open_secret(fields: FieldKeys, one: Secret) -> bytes:
    return fields.open(one.sealed, context=_place(one.endpoint, one.number))


def open_key(fields: FieldKeys, one: SigningKey) -> bytes:
    return fields.open(one.sealed, context=place("webhook_key", "sealed", one.kid.encode()))


def about(name: str, endpoint: Endpoint, actor: Actor = SYSTEM, **facts: Any) -> Emitted:
    """An event about an endpoint, for its owner's other ones."""
    return Emitted(
        aggregate_type="endpoint",
        aggregate_id=endpoint.id,
        type=name,
        payload={"owner": str(endpoint.owner), "endpoint": public("ep", endpoint.id)} | facts,
        actor=actor,
    )


async def _locked(work: Work, actor: Actor, endpoint: UUID) -> Endpoint:
    rules.check_role(actor)
    return rules.check_owner(actor, await store.lock(work, endpoint))


async def _saved(work: Work, endpoint: Endpoint) -> Endpoint:
    changed = replace(endpoint, changed_at=work.now_ms)
    await store.save(work, changed)
    return changed


def _claim(verb: str, actor: Actor, key: str, body: dict[str, Any]) -> Claim:
    return Claim(
        scope=str(actor.party or actor.role),
        key=keys.check_key(key, field="Idempotency-Key"),
        verb=verb,
        body=keys.body_hash(body),
    )


async def _replayed(work: Work, claim: Claim) -> Any:
    """What was answered to this key before, None to a new one. No answer holds a secret."""
    [found] = await idempotency.claim(work, [claim])
    match found:
        case Replay(answer=answer):
            return answer
        case Mismatch():
            raise keys.mismatch()
    return None


async def _told(work: Work, fields: FieldKeys, endpoint: Endpoint, number: int) -> Made:
    for one in await store.secrets(work, [endpoint.id]):
        if one.number == number:
            text = signing.secret_text(open_secret(fields, one))
            return Made(endpoint=endpoint, secret=text, replayed=True)
    raise conflict("webhooks.secret_over", "that secret is over: rotate with a new key")


async def _new_secret(
    work: Work, fields: FieldKeys, entropy: Entropy, endpoint: UUID, number: int
) -> bytes:
    raw = signing.new_secret(entropy)
    sealed = fields.seal(raw, context=_place(endpoint, number))
    await store.insert_secret(
        work,
        Secret(
            endpoint=endpoint,
            number=number,
            sealed=sealed,
            created_at=work.now_ms,
            expires_at=None,
        ),
    )
    return raw


async def _new_key(work: Work, fields: FieldKeys, entropy: Entropy) -> SigningKey:
    kid, public_key, seed = signing.new_key(entropy)
    made = SigningKey(
        kid=kid,
        public=public_key,
        sealed=fields.seal(seed, context=place("webhook_key", "sealed", kid.encode())),
        created_at=work.now_ms,
        expires_at=None,
    )
    await store.insert_key(work, made)
    return made


def _place(endpoint: UUID, number: int) -> bytes:
    return place("webhook_secret", "sealed", endpoint.bytes + number.to_bytes(8))
