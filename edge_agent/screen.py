"""The shop's own screen: its page, how the till stands, and the words of an open terminal, for who holds its key."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devices.clock import Clock
from devices.entropy import Entropy
from devices.keystore.sealed import read_small, write_durably
from edge_agent.acts import WORDS, act
from edge_agent.agent_log import AgentLog
from edge_agent.background import Syncing
from edge_agent.errors import AgentError
from edge_agent.http_door import ADDRESS, Answer, Asked
from edge_agent.show import TROUBLES, Said, failed, trouble
from edge_agent.terminal import Terminal
from edge_agent.terminal_said import synced
from edge_agent.till import till
from web.files import HEADERS, File, read_files

KEY: Final = "screen.key"
PAGE: Final = "terminal/"
_SHARED: Final = ("terminal/", "codes/", "vendor/", "design.css", "amounts.js")
_JSON: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_EAST_MAX_S: Final = 15 * 3_600


def screen_key(folder: Path, entropy: Entropy) -> str:
    """Give the key of this terminal's screen, made at its first use; in a file that its owner alone reads."""
    path = folder / KEY
    if not path.exists():
        write_durably(path, entropy.bytes(16).hex().encode())
    return read_small(path).decode("ascii")


def address(port: int, key: str) -> str:
    """Give what the shop's browser is opened with: the key stands behind the #, which is never sent."""
    return f"http://{ADDRESS}:{port}/{PAGE}#{key}"


def pages() -> dict[str, File]:
    """Read what the screen loads."""
    return {name: one for name, one in read_files().items() if name.startswith(_SHARED)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopScreen:
    """Answers the browser that stands on the counter. Every act runs in the thread that owns the file."""

    terminal: Terminal
    clock: Clock
    syncing: Syncing
    log: AgentLog
    key: str
    files: dict[str, File]

    async def __call__(self, asked: Asked) -> Answer:
        """Answer one request; what nobody foresaw is logged by its kind and answered 500."""
        try:
            return await self._answer(asked)
        except Exception as e:  # noqa: BLE001 - a screen's fault must not end the terminal
            self.log.write("screen.failed", path=asked.path[:64], why=type(e).__name__)
            return _said(
                500, failed("edge.screen_failed", "the terminal failed: look at the last sales")
            )

    async def _answer(self, asked: Asked) -> Answer:
        # A page of another name that was made to point here is another origin's, and gets nothing.
        if asked.headers.get("host", "").rpartition(":")[0] not in {ADDRESS, "localhost"}:
            return Answer(status=421)
        match asked.method, asked.path:
            case "GET", "/":
                return Answer(status=303, headers={"Location": f"/{PAGE}"})
            case ("POST", "/till") | ("POST", "/act"):
                return await self._known(asked)
            case "GET", path:
                return self._file(path.removeprefix("/"), asked.headers.get("if-none-match"))
            case _:
                return Answer(status=405, headers={"Allow": "GET, POST"})

    def _file(self, name: str, known: str | None) -> Answer:
        one = self.files.get(name)
        if one is None:
            return Answer(status=404)
        headers = HEADERS | {"ETag": one.mark}
        if known == one.mark:
            return Answer(status=304, headers=headers)
        return Answer(
            status=200, body=one.content, headers=headers | {"Content-Type": one.media_type}
        )

    async def _known(self, asked: Asked) -> Answer:
        given = asked.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self.key}".encode("ascii")):
            why = "open the screen by the address that `hundi-edge terminal screen` prints"
            return _said(401, failed("edge.screen_key", why))
        try:
            body = json.loads(asked.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return _said(400, failed("edge.command_unknown", "the body is one JSON object"))
        try:
            if asked.path == "/till":
                return _json(200, till(self.terminal, self.clock, _east_s(body)))
            return _said(200, await self._act(body))
        except TROUBLES as e:
            return _said(200 if asked.path == "/act" else 503, trouble(e))

    async def _act(self, body: dict[str, Any]) -> Said:
        word, rest = body.get("word"), body.get("rest", "")
        if not isinstance(word, str) or not isinstance(rest, str):
            raise AgentError("edge.command_unknown", WORDS)
        if word == "sync":
            return synced(self.terminal, await self.syncing.once())
        # What a page says is a code, never a file's name.
        return act(self.terminal, self.clock, word, rest.strip(), str.strip)


def _east_s(body: dict[str, Any]) -> int:
    east = body.get("east_s", 0)
    if type(east) is not int or abs(east) > _EAST_MAX_S:
        raise AgentError("edge.command_unknown", "east_s is the shop's seconds east of UTC")
    return east


def _said(status: int, said: Said) -> Answer:
    return _json(status, said.body() | {"look": said.look.name})


def _json(status: int, body: Mapping[str, object]) -> Answer:
    return Answer(status=status, body=json.dumps(body).encode(), headers=dict(_JSON))
