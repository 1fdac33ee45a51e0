"""Two scopes and a few reversals in every `make test`; all of them are `make model-offline`."""

import pytest

from tests.model_offline import reversals
from tests.model_offline.run import play
from tests.model_offline.taken_back import REVERSALS

QUICK = (
    "a void of a settled voucher is not applied",
    "a restore keeps the epoch",
    "settlement ends with spending",
    "payee and terminal are not asked",
    "the floor limit refuses at the scan",
)


@pytest.mark.parametrize("name", ["claim", "small batches"])
def test_no_state_of_a_scope_breaks_a_law(name: str) -> None:
    found = play(name)
    assert not found.law, "\n".join([*found.trace, found.law])
    assert found.states > 1_000


@pytest.mark.parametrize("rule", QUICK)
def test_a_rule_taken_back_breaks_its_law(rule: str) -> None:
    place = next(i for i, one in enumerate(REVERSALS) if one.rule == rule)
    found = reversals.take_back(place)
    assert reversals.caught(place, found), found.law or "nothing broke"


def test_a_trace_is_told_in_words() -> None:
    place = next(i for i, one in enumerate(REVERSALS) if one.rule == QUICK[3])
    found = reversals.take_back(place)
    assert found.trace[0] == "shop 0 shows request 1 for 1"
    assert found.trace[-1].startswith("shop 1 scans voucher")
