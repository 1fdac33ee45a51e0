"""The style as a test: each rule says why it exists."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.tidy.sql_names import schemas_named

ROOT = Path(__file__).parents[2]
ROOTS = ("bff", "graph", "server_core", "edge_agent", "devices", "offline", "web")
SOURCES = sorted(path for root in ROOTS for path in (ROOT / root).rglob("*.py"))
CODE = [path for path in SOURCES if "migrations" not in path.parts]
TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_seven_roots_are_the_packages() -> None:
    """A folder that no contract knows would escape every contract."""
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert found == set(ROOTS) == set(packages)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_file_is_one_subject(path: Path) -> None:
    """A reader holds about three hundred lines, and a function of one screen."""
    text = path.read_text()
    assert text.count("\n") <= 420, "split it by subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 80, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", CODE, ids=name)
def test_names_say_what_is_inside(path: Path) -> None:
    """A drawer called `utils` collects what nobody placed."""
    words = set(re.split(r"[/_.]", name(path).lower()))
    assert not words & {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


@pytest.mark.parametrize("path", CODE, ids=name)
def test_nothing_is_left_for_later(path: Path) -> None:
    """What is unfinished stands in an issue, not in the source."""
    assert not re.search(r"\b(TODO|FIXME|HACK|NotImplementedError)\b", path.read_text())


@pytest.mark.parametrize("path", CODE, ids=name)
def test_waits_are_bounded_by_timeout_alone(path: Path) -> None:
    """`wait_for` of Python 3.11 may lose a cancellation: what awaits it then never stops."""
    assert "wait_for(" not in path.read_text(), "use asyncio.timeout"


def test_no_sql_names_a_schema() -> None:
    """A cell is a schema: SQL that names one would leave its cell. Migrations too run in each."""
    for path in SOURCES:
        # These two make a cell's schema and put it on the search path; no other may.
        makers = {ROOT / "server_core" / "db" / one for one in ("migrate.py", "work.py")}
        declares = path.is_relative_to(ROOT / "server_core")
        named = schemas_named(path.read_text(), declares=declares)
        if path in makers:
            named = [one for one in named if not re.search(r"search_path|(CREATE|ON) SCHEMA$", one)]
        assert named == [], name(path)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM cell0.account", "select * from cell0.account", "SELECT 1 FROM\n  public.foo",
        'SELECT 1 FROM "public"."foo"', 'SELECT 1 FROM "cell7".foo', "SELECT 1 FROM a, cell0.b",
        "SELECT 1 FROM a JOIN cell0.b USING (id)", "SELECT public.now_ms()", "SELECT other.f(1)",
        "SELECT 1 FROM other.foo", "SELECT 1 FROM ONLY other.foo", "SELECT 1 FROM a x, other.b y",
        "SELECT (SELECT max(seq) FROM (SELECT seq FROM other.event) s)",
        "WITH x AS (INSERT INTO public.foo VALUES (1)) SELECT 1", "INSERT INTO other.foo VALUES (1)",
        "UPDATE other.foo SET a = 1", "DELETE FROM other.foo", "TRUNCATE other.foo",
        "TRUNCATE TABLE public.foo", "LOCK TABLE public.foo", "COPY public.foo FROM STDIN",
        "CREATE TABLE other.foo (a int)", "CREATE TABLE IF NOT EXISTS other.foo (a int)",
        "CREATE INDEX i ON other.foo (a)", "CREATE UNIQUE INDEX CONCURRENTLY i ON other.foo (a)",
        "CREATE TRIGGER t BEFORE UPDATE ON other.foo EXECUTE FUNCTION f()",
        "CREATE TRIGGER t BEFORE UPDATE ON foo EXECUTE FUNCTION other.f()",
        "CREATE FUNCTION public.f() RETURNS trigger", "ALTER TABLE other.foo ADD b int",
        "ALTER TABLE foo ADD FOREIGN KEY (a) REFERENCES other.bar (a)", "DROP TABLE IF EXISTS other.foo",
        "GRANT SELECT ON public.foo TO x", "GRANT SELECT ON other.foo TO x",
        "GRANT SELECT, INSERT ON TABLE other.foo TO x", "REVOKE UPDATE ON other.foo FROM x",
        "SELECT '1'::other.kind FROM foo", "SELECT 1 FROM information_schema.tables",
        "SET search_path = cell0; SELECT 1", "SET LOCAL search_path TO public; SELECT 1 FROM a",
        "SELECT set_config('search_path', $1, true)", "SELECT nextval('public.s')",
        "SELECT 'public.foo'::regclass", "SELECT 1 FROM cell0 . account",
        "MERGE INTO other.x USING a ON true", "DELETE FROM a USING other.b", "TRUNCATE a, other.b",
        "DROP TABLE a, other.b", "VACUUM other.b", "COMMENT ON TABLE other.foo IS 'x'",
        "GRANT USAGE ON SCHEMA other TO x", "ALTER TABLE a SET SCHEMA other",
        "SELECT other.a.x FROM a", "update other.foo set a = 1", "select a from other.foo",
        "CREATE VIEW other.v AS SELECT 1", "CREATE SEQUENCE other.s", "DROP SCHEMA other CASCADE",
    ],
)  # fmt: skip
def test_sql_that_names_a_schema_is_found_out(sql: str) -> None:
    assert schemas_named(f"SQL = {sql!r}")
    assert schemas_named(f"async def f(work):\n    await work.execute({sql!r}, 1)")
    half = len(sql) // 2
    assert schemas_named(f"SQL = ({sql[:half]!r}\n  {sql[half:]!r})"), "split over two lines"


@pytest.mark.parametrize(
    "source",
    [
        'f"SELECT 1 FROM {schema}.account"', 'f"SELECT 1 FROM cell{n}.account"',
        'f"INSERT INTO {db.cell}.event VALUES (1)"', '"SELECT 1 FROM {}.account".format(cell)',
        'f"SELECT {columns} FROM public.account"', 'f"SELECT 1 FROM \\"{schema}\\".account"',
        '__table_args__ = {"schema": "cell0"}', 'op.create_table("foo", schema="public")',
        'op.add_column("foo", column, schema=name)', 'sa.Table("foo", metadata, schema="other")',
    ],
)  # fmt: skip
def test_a_schema_that_is_put_in_is_found_out(source: str) -> None:
    assert schemas_named(source)


@pytest.mark.parametrize(
    "source",
    [
        'c.set_type_codec("jsonb", schema="pg_catalog")', '"SELECT 1 FROM pg_catalog.pg_class"',
        '"SELECT m.a, n.b FROM entry m, account n WHERE m.id = n.id ORDER BY m.a, n.b"',
        '"SELECT 1 FROM a WHERE a.x IS DISTINCT FROM a.y"', '"SELECT current_schema() FROM a"',
        '"UPDATE a SET x = u.x FROM unnest($1::bytea[]) AS u(x) WHERE a.id = u.id"',
        '"taken from the public, or from cell0 of the map"',
        'def f():\n    """Not public.x."""',
    ],
)  # fmt: skip
def test_sql_of_its_own_cell_is_let_be(source: str) -> None:
    assert schemas_named(source) == []


def test_only_work_opens_and_commits() -> None:
    """Application code never commits: one place decides what a transaction is."""
    for path in (p for p in CODE if p.parts[-2] != "db" and "server_core" in p.parts):
        if "sandbox" in path.parts:
            continue
        assert not re.search(r"\.(commit|rollback|transaction)\(", path.read_text()), name(path)


def test_the_lock_file_pins_by_hash_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert all("==" in line for line in lock.splitlines() if line[:1].isalnum())
    assert lock.count("--hash=sha256:") > lock.count("==")


def test_files_speak_of_hundi_alone() -> None:
    """No registry host, no path of the machine that a file was written on."""
    for tracked in TRACKED:
        path = ROOT / tracked
        if path == Path(__file__) or path.suffix in {".json", ".lock", ".png"} or not path.exists():
            continue
        text = path.read_text(errors="ignore")
        for word in (
            "pypi" + ".org",
            "/root" + "/",
            "npmjs" + ".org",
            "/work" + "/",
            "../" + "shared",
        ):
            assert word not in text, f"{tracked} names {word}"


def codes_in_source() -> set[str]:
    found = set()
    helpers = {"invalid", "denied", "not_found", "conflict", "limited", "unavailable"}
    for path in CODE:
        if path.is_relative_to(ROOT / "devices"):
            continue
        agent = path.is_relative_to(ROOT / "edge_agent")
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Name | ast.Attribute
            ):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            places = {"DomainError": 1, "problem": 1} | dict.fromkeys(helpers, 0)
            if agent:  # its own errors, and what a command says of one that it caught
                places = dict.fromkeys(("AgentError", "failed", "__init__"), 0)
            if called in places and len(node.args) > places[called]:
                code = node.args[places[called]]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    found.add(code.value)
    return found


def test_every_error_code_is_documented_and_every_documented_one_exists() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+\.[a-z_0-9]+|internal)` \|", page, re.MULTILINE))
    source = {code for code in codes_in_source() if "." in code or code == "internal"}
    extra = {
        code
        for path in (ROOT / "bff").rglob("*.py")
        for code in re.findall(r'"((?:http|graphql)\.[a-z_]+)"', path.read_text())
    }
    assert (source | extra) - documented == set(), "add them to docs/errors.md"
    assert documented - source - extra == set(), "docs/errors.md names what does not exist"
