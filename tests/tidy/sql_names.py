"""Where a source names a database schema in its SQL: strings are read as Python joins them."""

import ast
import re
from collections.abc import Iterator

EXEMPT = "pg_catalog"
"""PostgreSQL's own: it is the same in every cell. Its type codecs must be named with it."""

_HOLE = "__hole__"  # what an f-string puts in
_NAME = rf'(?:"[^"]+"|[A-Za-z_]\w*|\w*{_HOLE}\w*)'
# Schemas that are there: whatever stands before them, in any case and quoted or not.
_KNOWN = re.compile(
    rf'(?<![\w."])"?(?:public|information_schema|pg_temp\w*|cell(?:\d+|{_HOLE}))"?\s*\.\s*(?=["\w*])',
    re.IGNORECASE,
)
# Any other: a dotted name where only a relation, a type or a function of the database can stand.
_PLACE = re.compile(
    r"\b(?<!DISTINCT )(?:FROM|JOIN|USING|INTO|UPDATE|TABLE|VIEW|INDEX|SEQUENCE|TYPE|TRUNCATE|ONLY|LOCK|COPY|VACUUM|ANALYZE"
    r"|REFERENCES|FUNCTION|PROCEDURE|CALL|EXISTS|USAGE ON|CONCURRENTLY|PRIVILEGES ON"
    r"|(?:SELECT|INSERT|UPDATE|DELETE|TRIGGER) ON|(?:INDEX|TRIGGER) [^;(]{1,80}? (?:ON|BEFORE .{1,60}? ON"
    rf"|AFTER .{{1,60}}? ON))\s+({_NAME})\s*\.\s*(?={_NAME})"
)
_LISTED = re.compile(
    rf"\b(?:FROM|USING|TABLE|TRUNCATE|EXISTS|LOCK)\s+(?:(?:ONLY\s+)?[\w\"]+(?:\s+(?:AS\s+)?\w+)?\s*,\s*)+({_NAME})\s*\.\s*{_NAME}"
)
_CALLED = re.compile(rf"(?<![\w.\"])({_NAME})\s*\.\s*[A-Za-z_]\w*\(")
_CAST = re.compile(rf"::\s*({_NAME})\s*\.\s*{_NAME}")
_THREE = re.compile(rf"(?<![\w.\"])({_NAME})\.{_NAME}\.{_NAME}")
_WHOLE = re.compile(r"\b(?:CREATE|DROP|ALTER|ON|IN)\s+SCHEMA\b", re.IGNORECASE)
_PATH = re.compile(
    r"\bSET\s+(?:LOCAL\s+|SESSION\s+)?(?:search_path|SCHEMA)\b|'search_path'", re.IGNORECASE
)
_SQL = re.compile(
    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|LOCK|COPY"
    r"|CALL|WITH|FROM|JOIN|REFERENCES|MERGE|VACUUM|ANALYZE|COMMENT)\b"
)


_LOWER = re.compile(
    r"\s*(?:select\b.*\bfrom|insert into|update\b.*\bset|delete from|with\b.*\bas \(|create table"
    r"|truncate|drop table|alter table)\s",
    re.DOTALL,
)


def schemas_named(source: str, *, declares: bool = True) -> list[str]:
    """Give each place of a module's text where SQL names a schema.

    `declares`: the module may declare tables, so that an argument `schema` is one too.
    """
    tree = ast.parse(source)
    found = []
    for line, text in _strings(tree):
        found += [f"line {line}: {hit}" for hit in _in_text(text)]
    for node in ast.walk(tree) if declares else ():
        for value in _declared(node):
            if not (isinstance(value, ast.Constant) and value.value in {None, EXEMPT}):
                found.append(f"line {value.lineno}: schema = {ast.unparse(value)}")
    return found


def _in_text(text: str) -> Iterator[str]:
    for hit in _KNOWN.finditer(text):
        yield text[hit.start() : hit.end() + 20]
    if _LOWER.match(text):
        text = text.upper().replace(_HOLE.upper(), _HOLE)
    if not _SQL.search(text):
        return
    for pattern in (_PATH, _WHOLE):
        yield from (hit[0] for hit in pattern.finditer(text))
    for pattern in (_PLACE, _LISTED, _CAST, _THREE):
        for hit in pattern.finditer(text):
            if hit[1].strip('"').lower() != EXEMPT:
                yield hit[0]
    aliases = {"new", "old"}
    for hit in _CALLED.finditer(text):
        if hit[1].strip('"').lower() not in aliases | {EXEMPT}:
            yield hit[0]


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string as the program has it: adjacent ones joined, f-strings with their holes."""
    apart = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    apart |= {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in node.values
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else _HOLE
                    for part in node.values
                ),
            )
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart
        ):
            yield node.lineno, node.value.replace("{}", _HOLE)


def _declared(node: ast.AST) -> Iterator[ast.expr]:
    """`schema=…` of a call and `{"schema": …}`: how SQLAlchemy, Alembic and asyncpg are told one."""
    if isinstance(node, ast.Call):
        yield from (word.value for word in node.keywords if word.arg in {"schema", "source_schema"})
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "schema":
                yield value
