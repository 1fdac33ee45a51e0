"""The web apps: what stands in `web/`, read once at the start, under one strict policy."""

from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from server_core.errors import not_found
from web import FOLDER
from web.files import HEADERS, read_files


def routes(folder: Path = FOLDER) -> list[HTTPRouteHandler]:
    # The terminal's screen is served by the terminal.
    found = read_files(folder).items()
    files = {name: one for name, one in found if not name.startswith("terminal/")}

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
        headers = HEADERS | {"ETag": one.mark}
        if request.headers.get("if-none-match") == one.mark:
            return Response(b"", status_code=304, headers=headers)
        return Response(one.content, media_type=one.media_type, headers=headers)

    return [page]
