"""Codes in and out of the agent: pasted text, a text file, or a picture of a QR code."""

import sys
from pathlib import Path
from typing import Final

from edge_agent.errors import AgentError
from offline import qr

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")
_TEXT_MAX: Final = 4_096
_TEXTS: Final = ("OV1", "HUNDI-PAIR:")


def read_code(given: str) -> str:
    """Give the code that was pasted, or that stands in the file or picture of that name; - is stdin."""
    if given == "-":
        return sys.stdin.readline(_TEXT_MAX).strip()
    text = given.strip()
    if text.startswith(_TEXTS):
        return text
    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file:
        return _read_file(path)
    if text.lower().endswith(_PICTURES):
        raise AgentError("edge.file_missing", f"there is no file {text[:200]!r}")
    return text


def _read_file(path: Path) -> str:
    try:
        if path.stat().st_size > qr.MAX_PICTURE_BYTES:
            raise AgentError("edge.picture_refused", "the file is larger than 8 MiB")
        data = path.read_bytes()
    except OSError as e:
        raise AgentError("edge.file_missing", f"the file cannot be read: {e.strerror}") from e
    if data.startswith(tuple(one.encode() for one in _TEXTS)) and len(data) <= _TEXT_MAX:
        return data.decode("ascii", errors="replace").strip()
    try:
        return qr.read_png(data)
    except qr.PictureRefused as e:
        raise AgentError("edge.picture_refused", str(e)) from e


def write_png(path: Path, text: str) -> None:
    try:
        path.write_bytes(qr.png(text))
    except OSError as e:
        raise AgentError(
            "edge.file_unwritable", f"the picture cannot be written: {e.strerror}"
        ) from e
