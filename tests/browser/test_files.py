"""The files of web/ as they stand: what a page's policy, an offline start and a reader need of them."""

import re
from pathlib import Path

import pytest

from web import FOLDER

OURS = [
    path for path in sorted(FOLDER.rglob("*"))
    if path.is_file() and not {"vendor", "node_modules", "__pycache__"} & set(path.parts)
]  # fmt: skip
SCRIPTS = [path for path in OURS if path.suffix == ".js"]
PAGES = [path for path in OURS if path.suffix == ".html"]
KEPT = re.findall(
    r'"([\w./]+)"', (FOLDER / "payer" / "sw.js").read_text().partition("].map((path)")[0]
)


def name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def imported(path: Path) -> list[Path]:
    """What a module loads: by import, or as a worker."""
    found = re.findall(r'(?:from|import|new URL\()\s*"([^"]+)"', path.read_text())
    assert all(one.startswith(".") or one == "reading.js" for one in found), "by relative paths"
    return [(path.parent / one).resolve() for one in found]


def needed(path: Path, seen: set[Path]) -> set[Path]:
    if path not in seen and path.suffix == ".js":
        seen.add(path)
        for one in imported(path):
            needed(one, seen)
    return seen


def test_the_service_worker_keeps_what_the_app_loads_and_nothing_else() -> None:
    """One file too few, and the app does not start with no network."""
    payer = FOLDER / "payer"
    loads = needed(payer / "app.js", set())
    linked = re.findall(r'(?:href|src)="([^"]+)"', (payer / "index.html").read_text())
    loads |= {(payer / one).resolve() for one in linked} | {payer / "index.html"}
    loads |= needed(payer / "reading.js", set())
    names = [one for one in KEPT if "/" in one or "." in one]
    protocol = [f"../ov1/{one}.js" for one in KEPT if one not in names]
    kept = {(payer / one).resolve() for one in (*names, *protocol) if one not in {"./", "../ov1/"}}
    assert kept | {payer / "index.html"} == loads


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_is_one_subject_and_says_which(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// ")
    assert text.count("\n") <= 420, "split it by subject"
    assert not re.search(r"\b(TODO|FIXME|HACK)\b", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_no_text_becomes_markup_or_code(path: Path) -> None:
    """A shop's name is written by the shop."""
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|\beval\b|Function\(|\.style\b", path.read_text())  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_stands_under_the_strictest_policy(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)|https?://", text)


def test_the_protocol_depends_on_nothing() -> None:
    folder = FOLDER / "ov1"
    for path in folder.glob("*.js"):
        assert all(one.parent == folder for one in imported(path)), name(path)


def test_what_is_taken_from_npm_is_held_by_hash_and_names_no_registry() -> None:
    lock = (FOLDER / "package-lock.json").read_text()
    assert "://" not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/') > 0


def test_it_was_fetched() -> None:
    assert (FOLDER / "vendor" / "qr" / "decode.js").exists(), "make setup fetches it by npm"
