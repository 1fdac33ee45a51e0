"""A handful of worlds in every `make test`, and a few planted faults; the wide runs are `make sim`."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Postgres, new_database
from tests.sim import mutants, stage
from tests.sim.planted import MUTANTS, Mutant
from tests.sim.run import STEPS
from tests.sim.world import World

QUICK = ("accounts not locked", "transfer has no primary key", "a broken chain keeps its start")


@pytest.fixture(scope="module")
async def on(database_url: str) -> AsyncIterator[stage.Stage]:
    async with stage.on(database_url) as found:
        yield found


@pytest.mark.parametrize("seed", range(6))
async def test_every_law_holds_in_a_world(on: stage.Stage, seed: int) -> None:
    failure = await World(on, seed).play(STEPS)
    assert failure is None, "\n".join([*failure.log, f"{failure.law}: {failure.why}"])


async def test_a_seed_is_a_world(on: stage.Stage) -> None:
    worlds = [World(on, seed) for seed in (7, 7, 8)]
    for world in worlds:
        assert await world.play(6) is None
    first, again, other = (world.log for world in worlds)
    assert first == again != other


@pytest.mark.parametrize("name", QUICK)
async def test_a_planted_fault_breaks_a_law(postgres: Postgres, name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)
    found = await mutants.apart(mutant, await new_database(postgres), seeds=30, steps=STEPS)
    assert mutants.judge(mutant, found) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_fault_has_its_place(mutant: Mutant) -> None:
    """A fault whose place in the source moved would plant nothing, and be found by nobody."""
    if mutant.sql:
        return
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).read_text().count(mutant.old) == 1


def test_a_fault_without_its_place_is_an_error() -> None:
    with pytest.raises(mutants.NotPlanted):
        mutants.changed("the source", Mutant("gone", "server_core.ledger.rules", "nowhere", ""))
