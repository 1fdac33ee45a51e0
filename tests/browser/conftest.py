from collections.abc import Iterator

import pytest

from bff.cli.chromium import Browser, Page, chromium
from tests.browser.site import site


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with site() as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def blank(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the site's origin with nothing on it, so that any module of web/ can be imported."""
    page = browser.page(f"{address}/tests/blank.html")
    yield page
    page.close()
