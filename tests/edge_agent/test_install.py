"""The agent as it is installed: a wheel in an environment that holds the base dependencies and nothing else."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devices.clock import SystemClock
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import ServerSide
from tests.edge_agent.world import World

ROOT = Path(__file__).parents[2]


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def wanted(requirements: list[str], extra: str) -> set[str]:
    """The distributions that these requirements name, under one extra ('' for none)."""
    return {
        canonicalize_name(one.name)
        for one in map(Requirement, requirements)
        if one.marker is None or one.marker.evaluate({"extra": extra})
    }


def closure(names: set[str]) -> set[str]:
    """With all that they need in their turn, as it is installed here."""
    found: set[str] = set()
    todo = set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        needs = importlib.metadata.requires(name) or []
        todo |= wanted(needs, "") - found
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def requirements(wheel: Path) -> list[str]:
    [found] = importlib.metadata.distributions(path=[str(wheel)])
    return found.requires or []


@pytest.fixture(scope="module")
def installed(
    wheel: Path, requirements: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A new environment with the wheel, and links to the base dependencies; no network is asked."""
    place = tmp_path_factory.mktemp("installed") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", str(place))
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
        "--no-index", "--no-deps", "--no-compile", str(wheel))  # fmt: skip
    [packages] = (place / "lib").glob("python*/site-packages")
    for name in closure(wanted(requirements, "edge")):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            link = packages / top
            if not link.exists() and top != "__pycache__":
                link.symlink_to(distribution.locate_file(top))
    return place / "bin"


def test_the_edge_extra_asks_for_no_server_package(requirements: list[str]):
    edge, server = wanted(requirements, "edge"), wanted(requirements, "server")
    assert edge == wanted(requirements, "")
    assert server > edge
    assert (
        closure(edge) & {"litestar", "sqlalchemy", "asyncpg", "uvicorn", "strawberry-graphql"}
        == set()
    )


def test_the_installed_agent_needs_nothing_of_the_server(installed: Path, tmp_path: Path):
    program, python = str(installed / "hundi-edge"), str(installed / "python")
    for words in ((), ("terminal",), ("payer",), ("setup",), ("terminal", "serve")):
        assert "Usage: hundi-edge" in run(program, *words, "--help")
    every = sorted(path.stem for path in (ROOT / "edge_agent").glob("*.py"))
    loads = "import sys; " + "; ".join(f"import edge_agent.{name}" for name in every)
    said = run(python, "-c", loads + "; print(*{name.split('.')[0] for name in sys.modules})")
    assert set(said.split()) & {"server_core", "bff", "graph"} == set()
    for absent in ("litestar", "sqlalchemy", "asyncpg", "uvicorn", "strawberry"):
        run(python, "-c", f"import {absent}", code=1)
    world = World(tmp_path)
    world.clock = SystemClock()  # the program reads the machine's clock
    with RunningServer(ServerSide(world)) as server:
        server.side.codes.add("CODE-1")
        pairing = f"HUNDI-PAIR:CODE-1:{server.side.fingerprint()}"
        home = ["--home", str(tmp_path / "home"), "--json"]
        words = ["--server", server.url, "--unit-folder", str(tmp_path)]
        run(program, "setup", pairing, *words, *home)
    unit = (tmp_path / "hundi-edge.service").read_text()
    assert f"ExecStart={program} terminal serve" in unit
    told = json.loads(run(program, "terminal", "doctor", *home))
    assert (told["ok"], told["code"]) == (True, "edge.examined")
