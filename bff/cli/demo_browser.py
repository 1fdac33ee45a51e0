"""The demo's payer in a browser: linked while there is a network, and paying from the copy that it keeps."""

import shutil
from pathlib import Path

from bff.cli.chromium import Page, chromium


class BrowserPayer:
    """One person's browser, started anew for each act as a person does; its profile is what it remembers."""

    def __init__(self, profile: Path, origin: str) -> None:
        self._profile = profile
        self._app = f"{origin}/web/payer/"

    @staticmethod
    def possible() -> bool:
        """Whether there is a Chromium on this machine."""
        return shutil.which("chromium") is not None

    def take(self, link: str, rupees: str) -> str:
        """Open the one-time link, make a key, set rupees aside; what the app then says is left.

        It ends when the app is kept whole for a start with no network.
        """
        with chromium(self._profile) as browser:
            page = browser.page(link)
            _press(page, "link")
            _press(page, "ask")
            page.until("document.getElementById('total').value !== ''")
            page.run("Object.assign(document.getElementById('total'), {value: given[0]})", rupees)
            page.run("document.querySelector('#ask form').requestSubmit()")
            page.until("!document.getElementById('home').hidden")
            page.until("document.getElementById('until').textContent.startsWith('To spend')")
            page.until("navigator.serviceWorker.controller !== null")
            left: str = page.run("document.getElementById('left').textContent")
            return left

    def pay(self, request: Path, voucher: Path) -> str:
        """Read the request's picture, pay, write the voucher's picture; what the app says of it."""
        with chromium(self._profile) as browser:
            page = browser.page(self._app)
            page.until("document.documentElement.dataset.ready === 'yes'")
            _press(page, "scan")
            page.choose("#picture", request)
            _press(page, "pay")
            page.until("!document.getElementById('voucher').hidden")
            voucher.write_bytes(page.picture("#code"))
            said: str = page.run("document.getElementById('signed').textContent")
            return said


def _press(page: Page, action: str) -> None:
    button = f"document.querySelector('section:not([hidden]) [data-do={action}]')"
    page.until(f"{button} !== null")
    page.run(f"{button}.click()")
