"""A part of a profile narrows it and never widens it."""

from hypothesis import given
from hypothesis import strategies as st

from server_core.limits.rules import narrowed

LIMITS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2**53))


@given(base=LIMITS, by=LIMITS)
def test_no_limit_is_ever_wider_and_none_is_lost(base: dict[str, int], by: dict[str, int]) -> None:
    found = narrowed(base, by)
    assert found.keys() == base.keys()
    for name, value in found.items():
        assert value <= base[name]
        assert value <= by.get(name, value)
        assert value in (base[name], by.get(name))
