"""The whole offline payment with a browser as the payer: the real server, a real terminal, and pictures between them."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bff.cli.chromium import Page, chromium
from tests.browser.site import site
from tests.e2e.test_programs import environment, hundi

EDGE = Path(sys.executable).parent / "hundi-edge"


class Signed:
    """The agents' door of the running server, under a payer's session, as its cookie would be."""

    def __init__(self, server: str, session: str) -> None:
        self.server = server
        self.session = session

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.session}", "Content-Type": "application/json"}
        asked = urllib.request.Request(self.server + path, data=body or None, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[dict[str, str]]:
    env = environment(tmp_path / "home")
    program = str(Path(sys.executable).parent / "hundi")
    with subprocess.Popen(
        [program, "run"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        said = []
        for line in child.stdout or ():
            said.append(line)
            if "Ctrl-C" in line:
                break
        else:
            pytest.fail("".join(said))
        yield env
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)


def edge(env: dict[str, str], *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [EDGE, *words, "--json"], env=os.environ | env, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def press(page: Page, action: str) -> None:
    button = f"document.querySelector('section:not([hidden]) [data-do={action}]')"
    page.until(f"{button} !== null")
    page.run(f"{button}.click()")


def test_a_browser_pays_a_terminal_offline_and_the_server_settles_it(
    running: dict[str, str], tmp_path: Path
) -> None:
    server, counter = running["HUNDI_ADDRESS"], ("--home", str(tmp_path / "counter"))
    pairing = hundi(running, "terminal", "pair", "--merchant", "Kirana Corner").stdout.strip()
    edge(running, "terminal", "enrol", pairing, "--server", server, *counter)
    edge(running, "terminal", "sync", *counter)
    issue = ("session", "issue", "--party", "Asha", "--role", "payer", "--aal", "2")
    session = hundi(running, *issue).stdout.strip()
    shop, paid = tmp_path / "request.png", tmp_path / "voucher.png"

    with chromium(tmp_path / "profile") as browser:
        with site(Signed(server, session)) as address:
            page = browser.page(f"{address}/payer/")
            press(page, "link")
            press(page, "ask")
            page.until("document.getElementById('total').value === '1000.00'")
            page.run("document.querySelector('#ask form').requestSubmit()")
            page.until("document.getElementById('left').textContent === '₹1,000.00'")
            page.until("navigator.serviceWorker.controller !== null")

        # From here the browser reaches nobody.
        edge(running, "terminal", "ask", "150", *counter, "--png", str(shop))
        page.go(f"{address}/payer/")
        page.until("document.documentElement.dataset.ready === 'yes'")
        press(page, "scan")
        page.choose("#picture", shop)
        press(page, "pay")
        page.until("!document.getElementById('voucher').hidden")
        paid.write_bytes(page.picture("#code"))
        taken = edge(running, "terminal", "accept", str(paid), *counter)
        assert taken["code"] == "OV_ACCEPTED"

    settled = [edge(running, "terminal", "sync", *counter)["settled_count"] for _ in range(2)]
    assert settled == [1, 0]
