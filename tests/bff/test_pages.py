"""The web apps over HTTP: what is served, under which policy, and nothing besides."""

import httpx
import pytest

from tests.bff.rest.conftest import Door, _served, door, upi_core
from web import FOLDER

__all__ = ["_served", "door", "upi_core"]


async def got(door: Door, path: str, **headers: str) -> httpx.Response:
    return await door.http.get(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "file", "media"),
    [
        ("/web/payer/", "payer/index.html", "text/html"),
        ("/web/payer/index.html", "payer/index.html", "text/html"),
        ("/web/link/", "link/index.html", "text/html"),
        ("/web/payer/sw.js", "payer/sw.js", "text/javascript"),
        ("/web/ov1/cbor.js", "ov1/cbor.js", "text/javascript"),
        ("/web/design.css", "design.css", "text/css"),
        (
            "/web/payer/manifest.webmanifest",
            "payer/manifest.webmanifest",
            "application/manifest+json",
        ),
        ("/web/payer/icon.svg", "payer/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_are_served_as_they_are_under_the_policy(
    door: Door, path: str, file: str, media: str
) -> None:
    answer = await got(door, path)
    assert (answer.status_code, answer.content) == (200, (FOLDER / file).read_bytes())
    assert answer.headers["content-type"].startswith(media)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    known = await got(door, path, **{"if-none-match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def test_a_folder_without_its_slash_is_led_there(door: Door) -> None:
    answer = await got(door, "/web/payer")
    assert (answer.status_code, answer.headers["location"]) == (308, "/web/payer/")


@pytest.mark.parametrize(
    "path",
    [
        "/web/__init__.py",
        "/web/package.json",
        "/web/vendor.sh",
        "/web/../pyproject.toml",
        "/web/payer/x",
        "/web/%2e%2e/pyproject.toml",
        "/web/payer/..%2f..%2fREADME.md",
        "/web//etc/passwd",
        "/web/",
        "/web",
    ],
)
async def test_what_is_no_page_is_not_there(door: Door, path: str) -> None:
    answer = await got(door, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "http.not_found")
