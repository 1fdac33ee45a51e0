"""One cluster for the folder: each test has a database of its own, and leaves the server running."""

from collections.abc import Iterator

import pytest

from tests.crash.cluster import Cluster


@pytest.fixture(scope="session")
def _one() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def cluster(_one: Cluster) -> Cluster:
    """Running, whatever a test before left of it."""
    _one.start()
    return _one
