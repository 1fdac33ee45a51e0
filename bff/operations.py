"""A GraphQL operation as both transports run it: read, judged, executed, its errors told."""

from collections.abc import AsyncIterator, Iterable
from inspect import isawaitable
from typing import Any, Final

import msgspec
import strawberry
import structlog
from graphql import ExecutionResult, GraphQLError, OperationType, execute, subscribe

from bff.guard import Guard, Prepared, Refused
from graph.context import Context
from graph.refusals import TOLD
from graph.schema import SCHEMA, compiled
from server_core.actor import Actor
from server_core.app import Core
from server_core.errors import DomainError, Kind, invalid
from server_core.ids import public
from server_core.telemetry import metrics

MAX_BODY: Final = 64 * 1024
_log = structlog.get_logger("hundi.graphql")


class Asked(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One operation as it was sent. `extensions` may be there (the specification says so)."""

    query: str | None = None
    document_hash: str | None = None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


_ASKED: Final = msgspec.json.Decoder(Asked)


def malformed(message: str) -> DomainError:
    return invalid("graphql.request", message)


def read(body: bytes) -> Asked:
    """The operation in a request's body; raises graphql.request."""
    try:
        return _ASKED.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed(f"expected one JSON object with query or documentHash: {error}") from None


class Operations:
    """The schema with its guard and its parts of the Core; made once a server."""

    __slots__ = ("_executor", "_schema", "core", "dev", "guard")

    def __init__(self, core: Core, *, dev: bool, schema: strawberry.Schema = SCHEMA) -> None:
        self.core, self.dev = core, dev
        self._schema = compiled(schema)
        self._executor: Any = schema.execution_context_class
        self.guard = Guard(self._schema, dev=dev)

    def prepare(self, asked: Asked) -> Prepared:
        """The document behind the request, if it may run; raises Refused or a DomainError."""
        if (asked.query is None) == (asked.document_hash is None):
            raise malformed("give either query or documentHash")
        if asked.query is not None:
            prepared = self.guard.by_text(asked.query)
        else:
            prepared = self.guard.by_hash(asked.document_hash or "")
        if asked.operation_name is not None and asked.operation_name != prepared.name:
            raise invalid("graphql.operation_unknown", "no such operation", field="operationName")
        return prepared

    async def execute(self, asked: Asked, actor: Actor) -> ExecutionResult:
        """Run a query or a mutation; raises Refused or a DomainError when nothing ran."""
        prepared = self.prepare(asked)
        if prepared.kind is OperationType.SUBSCRIPTION:
            raise invalid("graphql.transport", "subscriptions go over graphql-transport-ws")
        began_ms, refused = self.core.clock.monotonic_ms(), list[DomainError]()
        telling = TOLD.set(refused)
        try:
            result = await self._executed(prepared, asked, actor)
        finally:
            TOLD.reset(telling)
        took_s = (self.core.clock.monotonic_ms() - began_ms) / 1000
        measured(prepared, outcome(result, refused), took_s)
        return result

    async def _executed(self, prepared: Prepared, asked: Asked, actor: Actor) -> ExecutionResult:
        # Not Strawberry's own `execute`: it would parse and validate again, and cannot be told
        # to keep suggestions out of what it says of variables.
        result = execute(
            self._schema,
            prepared.document,
            variable_values=asked.variables,
            context_value=self._context(actor, batched=True),
            executor_class=self._executor,
            hide_suggestions=not self.dev,
            max_coercion_errors=5,
        )
        return await result if isawaitable(result) else result

    async def subscribe(self, asked: Asked, actor: Actor) -> AsyncIterator[ExecutionResult]:
        """Start a subscription; raises Refused or a DomainError when there is none to start."""
        prepared = self.prepare(asked)
        if prepared.kind is not OperationType.SUBSCRIPTION:
            raise invalid("graphql.transport", "a socket carries subscriptions only")
        result = subscribe(
            self._schema,
            prepared.document,
            variable_values=asked.variables,
            context_value=self._context(actor, batched=False),
            executor_class=self._executor,
            hide_suggestions=not self.dev,
            max_coercion_errors=5,
        )
        started = await result if isawaitable(result) else result
        if isinstance(started, ExecutionResult):
            measured(prepared, outcome(started, []))
            raise Refused(started.errors or [])
        measured(prepared, "ok")
        return started

    def _context(self, actor: Actor, *, batched: bool) -> Context:
        core = self.core
        return Context(
            db=core.db,
            bus=core.bus,
            rails=core.rails,
            confirmations=core.confirmations,
            actor=actor,
            batched=batched,
        )

    def told(self, errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
        """Errors as they are answered: refusals and mistakes with their code, bugs opaque."""
        return [self._one(error) for error in errors]

    def _one(self, error: GraphQLError) -> dict[str, Any]:
        said: dict[str, Any] = dict(error.formatted)
        cause = _cause(error)
        if isinstance(cause, DomainError):
            said["message"] = cause.message
            said["extensions"] = extensions(cause)
        elif cause is not None:
            said |= self.bug(cause)
        elif "code" not in (error.extensions or {}):
            said["extensions"] = {"code": "graphql.invalid"}
        return said

    def bug(self, error: BaseException) -> dict[str, Any]:
        """An error of ours: logged whole with an id, opaque outside."""
        trace = self.core.new_id()
        _log.error("bug", trace=str(trace), exc_info=error)
        return {
            "message": "something went wrong on our side",
            "extensions": {"code": "internal", "trace": public("trc", trace)},
        }


def _cause(error: GraphQLError) -> BaseException | None:
    """What a resolver raised; None of an error that GraphQL found by itself."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def outcome(result: ExecutionResult, refused: Iterable[DomainError]) -> str:
    """`error` is ours: a bug, or a part of us that was away. `user_error` is the caller's or the bank's."""
    causes = [*refused, *(_cause(error) for error in result.errors or ())]
    if not causes:
        return "ok"
    theirs = all(
        cause is None or (isinstance(cause, DomainError) and cause.kind is not Kind.UNAVAILABLE)
        for cause in causes
    )
    return "user_error" if theirs else "error"


def measured(prepared: Prepared, came_to: str, took_s: float | None = None) -> None:
    """Count an operation by its root field: the caller's own name for it would be a series each."""
    kind, field = prepared.kind.value, prepared.field
    metrics.counter(metrics.OPERATIONS, kind, field, came_to).inc()
    if took_s is not None:
        metrics.timer(metrics.OPERATION_SECONDS, kind, field).observe(took_s)


def extensions(refused: DomainError) -> dict[str, Any]:
    field = {"field": refused.field} if refused.field else {}
    return {"code": refused.code} | field


def refusal(refused: DomainError) -> dict[str, Any]:
    """A refusal as an error of the whole request."""
    return {"message": refused.message, "extensions": extensions(refused)}
