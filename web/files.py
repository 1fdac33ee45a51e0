"""The files of this folder as they are served: read once, each with its mark, all under one strict policy."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from web import FOLDER

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""What is served; whatever else lies in the folder is not."""

HEADERS: Final = {
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
class File:
    """One file; `mark` is its ETag."""

    content: bytes
    media_type: str
    mark: str


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """Every file by its path in the folder, an index also by its folder's."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix not in _TYPES or not path.is_file() or "node_modules" in path.parts:
            continue
        content = path.read_bytes()
        mark = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        one = File(content=content, media_type=_TYPES[path.suffix], mark=mark)
        name = path.relative_to(folder).as_posix()
        found[name] = one
        if path.name == "index.html":
            found[name.removesuffix("index.html")] = one
    return found
