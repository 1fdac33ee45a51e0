"""A small world of payments in every `make test`, and a planted fault; the wide runs are `make sim-payments`."""

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import Postgres, new_database
from tests.sim.mutants import judge
from tests.sim.planted import Mutant
from tests.sim_payments import mutants, run
from tests.sim_payments.planted import MUTANTS

QUICK = ("a failed refund is not counted back",)


@pytest.mark.parametrize("seed", range(2))
async def test_every_law_holds_in_a_world_of_payments(database_url: str, seed: int) -> None:
    played = await run.play(database_url, seed, 120, 1000)
    assert played.broken is None, "\n".join(
        (played.broken.law, played.broken.why, *played.broken.story)
    )
    assert played.counts["intent: succeeded"] > 60


@pytest.mark.parametrize("name", QUICK)
async def test_a_planted_fault_breaks_a_law(postgres: Postgres, name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)
    found = await mutants.HUNT.apart(mutant, await new_database(postgres), seeds=3)
    assert judge(mutant, found) is None, found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_fault_has_its_place(mutant: Mutant) -> None:
    """A fault whose place in the source moved would plant nothing, and be found by nobody."""
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).read_text().count(mutant.old) == 1
