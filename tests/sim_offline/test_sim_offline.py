"""Small worlds of vouchers in every `make test`, and planted faults; the wide run is `make sim-offline`."""

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import Postgres, new_database
from tests.sim.planted import Mutant
from tests.sim_offline import mutants, run
from tests.sim_offline.planted import MUTANTS

QUICK = ("rows are acknowledged without their results", "an old code looks like this sale's")


@pytest.mark.parametrize("crooked", [False, True], ids=["honest", "crooked"])
async def test_every_law_holds_in_a_world_of_vouchers(database_url: str, crooked: bool) -> None:
    played = await run.play(database_url, 1, 500, crooked=crooked)
    assert played.broken is None, "\n".join(
        (played.broken.law, played.broken.why, *played.broken.story)
    )
    assert played.redemptions >= 500
    assert crooked or not played.refused


@pytest.mark.parametrize("name", QUICK)
async def test_a_planted_fault_breaks_a_law(postgres: Postgres, name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)
    found = await mutants.HUNT.apart(mutant, await new_database(postgres))
    assert found.get("law"), found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_fault_has_its_place(mutant: Mutant) -> None:
    """A fault whose place in the source moved would plant nothing, and be found by nobody."""
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).read_text().count(mutant.old) == 1
