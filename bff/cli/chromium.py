"""Chromium, headless, driven over its DevTools protocol: the demo's browser, and that of the tests."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

_MOVES_MAX = 3
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
]  # fmt: skip


class BrowserError(RuntimeError):
    """What a page threw, or what DevTools refused."""


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator["Browser"]:
    """A browser over the folder `profile`; with the same folder again it is the same person's browser."""
    program = shutil.which("chromium")
    if program is None:
        raise BrowserError("there is no chromium here: `make setup` as root installs Debian's")
    words = [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own flags
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith("DevTools listening on "):
                    break
            else:
                raise BrowserError("chromium did not start: " + "".join(said[-5:]))
            # No pings: their thread draws from `random`, which hypothesis notices in its own tests.
            with connect(
                line.split()[-1], max_size=None, compression=None, ping_interval=None
            ) as socket:
                browser = Browser(process, socket)
                yield browser
                with suppress(BrowserError, ConnectionClosed):
                    browser.call("Browser.close")
        finally:
            process.terminate()


class Browser:
    """The one connection; each page is a session on it."""

    def __init__(self, process: subprocess.Popen[str], socket: ClientConnection) -> None:
        self.process = process
        self.socket = socket
        self._sent = 0
        self._answers: dict[int, Any] = {}

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """One command and its answer; events in between are let go."""
        return self.answer(self.ask(method, session, **params), method)

    def ask(self, method: str, session: str | None = None, **params: Any) -> int:
        self._sent += 1
        asked = {"id": self._sent, "method": method, "params": params}
        self.socket.send(json.dumps(asked | ({"sessionId": session} if session else {})))
        return self._sent

    def answer(self, number: int, method: str) -> Any:
        while number not in self._answers:
            said = json.loads(self.socket.recv(timeout=60))
            if "id" in said:
                self._answers[said["id"]] = said
        said = self._answers.pop(number)
        if "error" in said:
            raise BrowserError(f"{method}: {said['error']['message']}")
        return said["result"]

    def tab(self) -> "Page":
        """A new, empty tab."""
        return Page(self, self.call("Target.createTarget", url="about:blank")["targetId"])

    def page(self, url: str) -> "Page":
        """A new tab at `url`, loaded."""
        page = self.tab()
        page.go(url)
        return page

    def kill(self) -> None:
        """As if the power went: nothing is told, nothing is put away."""
        self.process.kill()
        self.process.wait()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, target: str) -> None:
        self.browser = browser
        self.target = target
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        return self.browser.call(method, self.session, **params)

    def go(self, url: str) -> None:
        """To `url`, until its load event."""
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.run(
            "document.readyState === 'complete' || new Promise(r => addEventListener('load', r))"
        )

    def run(self, code: str, *given: Any) -> Any:
        """What the expression gives, awaited, as JSON; `given` is the array of that name in it."""
        return self.result(self.start(code, *given))

    def start(self, code: str, *given: Any) -> int:
        """Begin what `result` of this number waits for."""
        return self.browser.ask(
            "Runtime.evaluate", self.session,
            expression=f"(async (given) => ({code}))({json.dumps(given)})",
            awaitPromise=True, returnByValue=True, userGesture=True,
        )  # fmt: skip

    def result(self, number: int) -> Any:
        answer = self.browser.answer(number, "Runtime.evaluate")
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise BrowserError(thrown.get("description") or str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until the expression is true; 45 seconds at most."""
        code = (
            "new Promise((resolve) => { const began = performance.now();"
            f" const look = async () => ({condition}) ? resolve(true)"
            " : performance.now() - began > 45000 ? resolve(false) : setTimeout(look, 20); look(); })"
        )
        for _ in range(_MOVES_MAX):
            try:
                met = self.run(code)
                break
            except BrowserError as e:
                # It went on to another page meanwhile, where the wait begins again.
                if "navigated" not in str(e):
                    raise
        else:
            raise BrowserError(f"the page moved on and on: {condition}")
        if not met:
            text = self.run("document.body.innerText")
            raise BrowserError(f"never came: {condition}\n{text}")

    def picture(self, selector: str) -> bytes:
        """A PNG of what the element looks like."""
        box = self.run(
            "(({x, y, width, height}) => ({x: x + scrollX, y: y + scrollY, width, height}))"
            "(document.querySelector(given[0]).getBoundingClientRect())",
            selector,
        )
        shot = self.call("Page.captureScreenshot", clip={**box, "scale": 2}, captureBeyondViewport=True)  # fmt: skip
        return base64.b64decode(shot["data"])

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def always(self, code: str) -> None:
        """Run in every document of this tab before its own scripts."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=code)

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self.target)
