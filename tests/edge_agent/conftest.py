from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.clock import SystemClock
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import ServerSide
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def server(world: World) -> Iterator[RunningServer]:
    with RunningServer(ServerSide(world)) as running:
        yield running


@pytest.fixture
def shell(world: World, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("HUNDI_EDGE_PASSPHRASE", raising=False)
    world.clock = SystemClock()  # the commands read the machine's clock
    return Shell(world.folder, server)


@pytest.fixture
def ready(shell: Shell) -> Shell:
    shell.enrol_terminal()
    shell.enrol_payer()
    return shell
