"""The web apps: what stands in `web/`, read once at the start, under one strict policy."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from server_core.errors import not_found
from web import FOLDER

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""What is served; whatever else lies in the folder is not."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked about each time, so that modules of two ages never mix; answered by its mark.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    media_type: str
    mark: str


def _read(folder: Path) -> dict[str, _File]:
    """Every file by its path in the folder, an index also by its folder's."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix not in _TYPES or not path.is_file() or "node_modules" in path.parts:
            continue
        content = path.read_bytes()
        mark = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        one = _File(content=content, media_type=_TYPES[path.suffix], mark=mark)
        name = path.relative_to(folder).as_posix()
        found[name] = one
        if path.name == "index.html":
            found[name.removesuffix("index.html")] = one
    return found


def routes(folder: Path = FOLDER) -> list[HTTPRouteHandler]:
    files = _read(folder)

    @get("/web/{path:path}", include_in_schema=False)
    async def page(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
        """One file, or 304 for who has it."""
        name = path.removeprefix("/")
        # The framework drops the slash that ends a folder's name, on which relative links stand.
        if name and request.scope["raw_path"].endswith(b"/"):
            name = f"{name.rstrip('/')}/"
        one = files.get(name)
        if f"{name}/" in files:
            return Response(b"", status_code=308, headers={"Location": f"/web/{name}/"})
        if one is None:
            raise not_found("http.not_found", "there is no such page")
        headers = _HEADERS | {"ETag": one.mark}
        if request.headers.get("if-none-match") == one.mark:
            return Response(b"", status_code=304, headers=headers)
        return Response(one.content, media_type=one.media_type, headers=headers)

    return [page]
