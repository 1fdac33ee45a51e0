"""How one profile narrows another. Pure."""

from collections.abc import Mapping


def narrowed(base: Mapping[str, int], by: Mapping[str, int]) -> dict[str, int]:
    """The base's limits by name, each the lower of the two; what `by` alone names bounds nothing."""
    return {name: min(value, by.get(name, value)) for name, value in base.items()}
