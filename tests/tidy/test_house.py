"""The style as a test: each rule says why it exists."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = ("bff", "graph", "server_core", "edge_agent", "devices", "offline")
SOURCES = sorted(path for root in ROOTS for path in (ROOT / root).rglob("*.py"))
CODE = [path for path in SOURCES if "migrations" not in path.parts]
TRACKED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_six_roots_are_the_packages() -> None:
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


def test_no_sql_names_a_schema() -> None:
    """A cell is a schema: SQL that names one would leave its cell."""
    for path in CODE:
        text = path.read_text()
        if path.name in {"migrate.py", "work.py"}:
            continue
        assert not re.search(r"\b(FROM|INTO|UPDATE|JOIN|TABLE)\s+(public|cell\d+)\.", text), name(
            path
        )


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
        if path.is_relative_to(ROOT / "edge_agent") or path.is_relative_to(ROOT / "devices"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Name | ast.Attribute
            ):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            places = {"DomainError": 1, "problem": 1} | dict.fromkeys(helpers, 0)
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
