"""The documentation is held to the code: what it names exists, what it lists is whole."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bff.cli.main import main as hundi
from edge_agent.cli import main as hundi_edge
from offline.verdicts import Verdict, operator_sentence
from server_core.payments.attempts import LANDS
from server_core.payments.model import TRANSITIONS, Operation

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = sorted((ROOT / "docs" / "examples").glob("*.sh"))
PROGRAMS: dict[str, click.Command] = {"hundi": hundi, "hundi-edge": hundi_edge}
SUFFIXES = {".py", ".md", ".sh", ".graphql", ".toml", ".yml", ".lock"}
ROOTS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".venv", ".hundi", ".demo"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CALL = re.compile(r"\.venv/bin/(hundi(?:-edge)?) ([^|)\n]*)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(path: str) -> str:
    return (ROOT / path).read_text()


def spans(text: str) -> list[str]:
    """The code spans of a page, on one line each, without its fenced blocks."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def bash_of(text: str) -> list[str]:
    return [block for language, block in _FENCE.findall(text) if language == "bash"]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first heading is `heading`."""
    _, _, after = text.partition(f"\n| {heading} |")
    lines = after.splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows, f"no table begins with {heading}"
    return rows


def looks_like_a_path(span: str) -> bool:
    if not re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)*/?", span):
        return False
    if "/" in span:
        return Path(span).suffix in SUFFIXES or span.split("/", maxsplit=1)[0] in ROOTS
    return Path(span).suffix in SUFFIXES - {".py"}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_path_that_is_named_exists(path: Path) -> None:
    """A slice may be named without its storey, as `db/batch.py`."""
    for span in filter(looks_like_a_path, spans(path.read_text())):
        assert (ROOT / span).exists() or (ROOT / "server_core" / span).exists(), span


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_relative_link_resolves(path: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", path.read_text())):
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target


def commands_of(path: Path) -> Iterator[str]:
    """Each `hundi …` and `hundi-edge …` that a page or a script names, with its words."""
    text = path.read_text()
    if path.suffix == ".sh":
        for words in re.findall(r"\bedge ((?:terminal|payer) [^|)\n]*)", text):
            yield f"hundi-edge {words}"
    else:
        for span in spans(text):
            bare = span.removeprefix(".venv/bin/")
            if bare.split()[0] in PROGRAMS:
                yield bare
    blocks = [text] if path.suffix == ".sh" else bash_of(text)
    for program, words in _CALL.findall("\n".join(blocks)):
        if not words.startswith('"$@"'):
            yield f"{program} {words}"


def check_command(line: str) -> None:
    """The sub-command is one that click knows, and so is each of its options."""
    program, *words = line.split()
    command = PROGRAMS[program]
    while isinstance(command, click.Group) and words and not words[0].startswith("…"):
        found = command.commands.get(words[0])
        assert found is not None, f"{line}: there is no {words[0]}"
        command, words = found, words[1:]
    known = {"--help", "-h"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    for word in words:
        if re.fullmatch(r"--?[a-z][a-z-]*", word):
            assert word in known, f"{line}: there is no {word}"


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=name)
def test_every_command_that_is_named_exists(path: Path) -> None:
    for line in commands_of(path):
        check_command(line)


def test_the_pages_name_commands_at_all() -> None:
    """A pattern that finds nothing would hold nothing."""
    for path in (README, *SCRIPTS, ROOT / "docs" / "operating.md"):
        assert list(commands_of(path)), name(path)


@pytest.mark.parametrize("line", ["hundi pay", "hundi-edge payer fly", "hundi serve --colour"])
def test_a_command_that_is_not_there_is_found_out(line: str) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        check_command(line)


def test_make_has_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", " ".join(spans(page("README.md")))))
    named |= set(re.findall(r"^make ([a-z]+)", "\n".join(bash_of(page("README.md"))), re.MULTILINE))
    assert {"run", "test", "demo", "bench"} <= named <= targets


def test_every_shell_block_can_be_read_by_bash() -> None:
    assert len(SCRIPTS) == 3
    blocks = [block for path in PAGES for block in bash_of(path.read_text())]
    for text in (*blocks, *(path.read_text() for path in SCRIPTS)):
        done = subprocess.run(
            ["bash", "-n"], input=text, text=True, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), text


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_stops_at_the_first_thing_that_is_off(path: Path) -> None:
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in path.read_text()


def test_every_document_that_the_examples_send_is_trusted() -> None:
    sent = re.findall(r"\bask \$\w+ (\w+)", page("README.md"))
    sent += re.findall(r"\bgraphql \"\$\w+\" (\w+)", page("docs/examples/first-payment.sh"))
    assert len(set(sent)) >= 3
    for document in sent:
        assert (ROOT / "bff" / "documents" / f"{document}.graphql").exists(), document


def test_every_setting_stands_in_the_readme() -> None:
    sources = [ROOT / "server_core" / "settings.py", *(ROOT / "edge_agent").glob("*.py")]
    read = {
        word for path in sources for word in re.findall(r'"(HUNDI_[A-Z0-9_]+)"', path.read_text())
    }
    listed = {
        word for row in table(page("README.md"), "variable") for word in _SPAN.findall(row[0])
    }
    assert listed == read


def test_every_job_stands_in_operating() -> None:
    bound = re.findall(r'Job\(\s*name="([a-z.]+)"', page("server_core/app.py"))
    listed = [row[0].strip("`") for row in table(page("docs/operating.md"), "job")]
    assert listed == bound


def test_every_verdict_stands_with_its_sentence() -> None:
    text = page("docs/path-of-a-voucher.md")
    for verdict in Verdict:
        assert f"\n| `{verdict}` | {operator_sentence(verdict)} |\n" in text, verdict


def test_the_state_table_is_the_code_s() -> None:
    listed: dict[str, set[str]] = {}
    for froms, tos in table(page("docs/path-of-a-payment.md"), "from"):
        named = set(_SPAN.findall(tos))
        for state in _SPAN.findall(froms):
            listed[state] = listed["requires_confirmation"] if tos == "the same" else named
    assert listed == {str(one): {str(to) for to in tos} for one, tos in TRANSITIONS.items()}


def test_the_rail_s_answers_land_as_the_code_says() -> None:
    listed = {
        row[0].strip("`"): row[2].strip("`")
        for row in table(page("docs/path-of-a-payment.md"), "outcome")
    }
    assert listed == {str(outcome): state for outcome, state in LANDS[Operation.PAY].items()}


def test_every_event_of_a_payment_is_listed() -> None:
    sources = (ROOT / "server_core" / "payments").glob("*.py")
    emitted = {
        word for path in sources for word in re.findall(r'"(payment\.[a-z_]+)"', path.read_text())
    } - {
        "payment.create",
        "payment.confirm",
        "payment.pay",
        "payment.capture",
        "payment.cancel",
    }  # verbs of keys
    rows = table(page("docs/path-of-a-payment.md"), "event")
    assert {word for row in rows for word in _SPAN.findall(row[0])} == emitted


def test_the_map_has_every_slice_in_its_order() -> None:
    rows = table(page("docs/map.md"), "slice")
    listed = [Path(word).stem for row in rows for word in _SPAN.findall(row[0])]
    contracts = tomllib.loads(page("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in contracts if one["name"] == "The order of the slices"]
    order = [re.findall(r"\w+", layer) for layer in layers]
    here = {path.stem for path in (ROOT / "server_core").iterdir()} - {"__init__", "__pycache__"}
    assert set(listed) == here
    places = [next(i for i, layer in enumerate(order) if one in layer) for one in listed]
    assert places == sorted(places)


def test_the_map_has_every_package_and_every_room_of_its_own() -> None:
    text = page("docs/map.md")
    project = tomllib.loads(page("pyproject.toml"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {row[0].strip("`/") for row in table(text, "package")} == set(packages)
    usual = {"__init__", "model", "rules", "store", "service", "jobs"}
    rooms = {
        name(path)
        for path in (ROOT / "server_core").glob("*/*.py")
        if path.stem not in usual and path.parent.name not in {"db", "events", "rails", "sandbox"}
    }
    named = {row[0].strip("`") for row in table(text, "room of its own")}
    assert named == rooms
