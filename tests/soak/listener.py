"""The shop's own endpoint: it verifies, stumbles now and then, and keeps each event once."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from devices.entropy import SeededEntropy
from tests.crash.waiting import CLOCK


@dataclass(slots=True)
class Listener:
    """`events` are the types that it has taken, by event id; `seen` the last sequence of a subject."""

    dice: SeededEntropy
    secret: str = ""
    events: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    server: asyncio.Server | None = None
    calm: bool = False
    """No more stumbling: what is left comes through."""

    async def open(self) -> int:
        """Listen; the port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                named = (line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                headers = {name.lower(): value for name, value in named}
                body = await reader.readexactly(int(headers["content-length"]))
                status = await self._answer(body, headers)
                if status is None:
                    break  # taken, and nobody hears that it was: it comes again
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()

    async def _answer(self, body: bytes, headers: dict[str, str]) -> int | None:
        draw = 200 if self.calm else self.dice.below(200)
        if draw < 2:
            self.counts["webhooks refused with 500"] += 1
            return 500
        if draw < 4:
            self.counts["webhooks answered late"] += 1
            await CLOCK.sleep(1)
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            self._note(f"a webhook does not verify: {error}")
            return 401
        self._take(body)
        if draw < 6:
            self.counts["webhooks taken and not answered"] += 1
            return None
        return 204

    def _take(self, body: bytes) -> None:
        said = msgspec.json.decode(body)
        if said["id"] in self.events:
            self.counts["webhooks that came again"] += 1
            return
        before = self.seen.get(said["subject"], 0)
        if said["previous"] != before:
            self._note(f"{said['subject']}: {said['sequence']} came after {before}")
        self.seen[said["subject"]] = said["sequence"]
        self.events[said["id"]] = said["type"]

    def _note(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)
