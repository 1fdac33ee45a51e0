"""Which GraphQL text may run: trusted documents as they are, anything else after one linear pass.

A document is judged once: parsed under a token limit, then measured (depth, aliases, cost) with
every fragment walked a single time, and only what is small enough is validated. What passed is
kept, by text; so are the trusted documents, by the SHA-256 of their text.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_list_type,
    parse,
    specified_rules,
    validate,
)
from graphql.pyutils import inspect
from graphql.type import GraphQLInterfaceType, get_nullable_type

from server_core.errors import invalid

DOCUMENTS: Final = Path(__file__).with_name("documents")
KEPT: Final = 256
PAGE: Final = 100
"""A page size that stands in a variable is not known when the text is judged: it counts as this."""
LIST: Final = 10
"""A list without a page size (attempts, balances) counts as this many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ad-hoc text may ask for."""

    tokens: int = 200
    depth: int = 10
    aliases: int = 5
    cost: int = 3000


STRICT: Final = Limits()
DEV: Final = Limits(tokens=2000, depth=30, aliases=50, cost=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document that may run: one operation, parsed and validated.

    `field` is the root field that it asks for, as the schema names it; `several` of more than one.
    """

    document: DocumentNode
    kind: OperationType
    name: str | None
    field: str


class Refused(Exception):  # noqa: N818 - it is an answer
    """The document may not run; `errors` say why."""

    def __init__(self, errors: Iterable[GraphQLError]) -> None:
        super().__init__("refused")
        self.errors = list(errors)


class Guard:
    """Judges documents against one schema; made once a server."""

    __slots__ = ("_dev", "_kept", "_limits", "_rules", "_schema", "trusted")

    def __init__(self, schema: GraphQLSchema, *, dev: bool, documents: Path = DOCUMENTS) -> None:
        self._schema, self._dev = schema, dev
        self._limits = DEV if dev else STRICT
        self._rules = (
            list(specified_rules) if dev else [*specified_rules, NoSchemaIntrospectionCustomRule]
        )
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self.trusted: Mapping[str, Prepared] = self._load(documents)

    def by_hash(self, digest: str) -> Prepared:
        """The trusted document of that SHA-256; raises graphql.document_unknown."""
        found = self.trusted.get(digest)
        if found is None:
            raise invalid(
                "graphql.document_unknown",
                "no trusted document has this hash",
                field="documentHash",
            )
        return found

    def by_text(self, text: str) -> Prepared:
        """The document, if it may run; raises Refused."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        prepared = self.trusted.get(hash_of(text)) or self._judge(text)
        self._kept[text] = prepared
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return prepared

    def _judge(self, text: str) -> Prepared:
        try:
            document = parse(text, max_lexical_tokens=self._limits.tokens)
        except GraphQLError as error:
            too_long = f"more than {self._limits.tokens} tokens" in error.message
            raise Refused(
                [coded(error, "graphql.too_long" if too_long else "graphql.syntax")]
            ) from None
        operation = only_operation(document)
        Measure(self._schema, document, self._limits).check(operation)
        return self._validated(document, operation)

    def _validated(self, document: DocumentNode, operation: OperationDefinitionNode) -> Prepared:
        errors = validate(
            self._schema, document, self._rules, max_errors=5, hide_suggestions=not self._dev
        )
        if errors:
            raise Refused(coded(error, "graphql.invalid") for error in errors)
        name = operation.name.value if operation.name else None
        roots = root_fields(document, operation)
        return Prepared(
            document=document,
            kind=operation.operation,
            name=name,
            field=roots.pop() if len(roots) == 1 else "several",
        )

    def _load(self, folder: Path) -> dict[str, Prepared]:
        """Raises Refused at start when a trusted document does not fit the schema."""
        loaded = {}
        for path in sorted(folder.glob("*.graphql")):
            text = path.read_text(encoding="utf-8")
            document = parse(text)
            loaded[hash_of(text)] = self._validated(document, only_operation(document))
        return loaded


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def coded(error: GraphQLError, code: str) -> GraphQLError:
    """`error` with its code, as every error carries one."""
    return GraphQLError(
        error.message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        extensions={"code": code},
    )


def _refuse(code: str, message: str) -> NoReturn:
    raise Refused([GraphQLError(message, extensions={"code": code})])


def only_operation(document: DocumentNode) -> OperationDefinitionNode:
    found = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if len(found) != 1:
        _refuse("graphql.one_operation", "a document holds one operation")
    return found[0]


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """The names of a valid operation's root fields, without aliases; each fragment walked once."""
    fragments = {
        one.name.value: one
        for one in document.definitions
        if isinstance(one, FragmentDefinitionNode)
    }
    names, waiting = set[str](), [operation.selection_set]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                names.add(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                fragment = fragments.pop(node.name.value, None)
                if fragment is not None:
                    waiting.append(fragment.selection_set)
    return names


@dataclass(frozen=True, slots=True)
class Size:
    """What a selection comes to: its deepest field, its aliases, and the fields it may answer."""

    depth: int = 0
    aliases: int = 0
    cost: int = 0


class Measure:
    """One walk over a document; a fragment is walked once, however often it is spread."""

    __slots__ = ("_fragments", "_known", "_limits", "_schema", "_under_way")

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, limits: Limits) -> None:
        self._schema, self._limits = schema, limits
        self._fragments = {
            one.name.value: one
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }
        self._known: dict[str, Size] = {}
        self._under_way: set[str] = set()

    def check(self, operation: OperationDefinitionNode) -> None:
        """Raises Refused with graphql.too_deep, .too_many_aliases, .too_costly, .one_mutation."""
        root = self._schema.get_root_type(operation.operation)
        size = self._selection(operation.selection_set, root)
        for asked, limit, code, what in (
            (size.depth, self._limits.depth, "graphql.too_deep", "levels"),
            (size.aliases, self._limits.aliases, "graphql.too_many_aliases", "aliases"),
            (size.cost, self._limits.cost, "graphql.too_costly", "fields to answer"),
        ):
            if asked > limit:
                _refuse(code, f"a document may ask for at most {limit} {what}")
        if (
            operation.operation is OperationType.MUTATION
            and self._roots(operation.selection_set) != 1
        ):
            _refuse("graphql.one_mutation", "one mutation a request")

    def _roots(self, selections: SelectionSetNode) -> int:
        count = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                count += 1
            elif isinstance(node, InlineFragmentNode):
                count += self._roots(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                count += 2  # a mutation's root has one field: there is nothing to share
        return count

    def _selection(
        self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None
    ) -> Size:
        depth = aliases = cost = 0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                size = self._field(node, parent)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = self._schema.get_type(condition.name.value) if condition else parent
                size = self._selection(node.selection_set, inner)
            elif isinstance(node, FragmentSpreadNode):
                size = self._fragment(node.name.value)
            else:
                raise TypeError(f"unknown selection {inspect(node)}")
            depth = max(depth, size.depth)
            aliases += size.aliases
            cost += size.cost
        return Size(depth, aliases, cost)

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Size:
        field = None
        if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
            field = parent.fields.get(node.name.value)
        inner = self._selection(node.selection_set, get_named_type(field.type) if field else None)
        times = 1
        if field is not None:
            if "first" in field.args:
                times = self._page(node, field.args["first"].default_value)
            elif is_list_type(get_nullable_type(field.type)) and node.name.value != "edges":
                times = LIST
        return Size(
            inner.depth + 1, inner.aliases + (node.alias is not None), 1 + times * inner.cost
        )

    @staticmethod
    def _page(node: FieldNode, default: object) -> int:
        for argument in node.arguments or ():
            if argument.name.value == "first":
                value = argument.value
                if isinstance(value, IntValueNode) and len(value.value) <= 3:
                    return min(max(1, int(value.value)), PAGE)
                return PAGE
        return default if isinstance(default, int) else PAGE

    def _fragment(self, name: str) -> Size:
        known = self._known.get(name)
        if known is not None:
            return known
        fragment = self._fragments.get(name)
        if fragment is None:
            return Size()  # validation says that it is not there
        if name in self._under_way:
            _refuse("graphql.invalid", f"fragment {name} spreads itself")
        self._under_way.add(name)
        condition = self._schema.get_type(fragment.type_condition.name.value)
        self._known[name] = size = self._selection(fragment.selection_set, condition)
        self._under_way.discard(name)
        return size
