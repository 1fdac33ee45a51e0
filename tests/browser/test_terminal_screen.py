"""The terminal's screen as a shopkeeper uses it: served by the agent itself, with a camera, and no server in reach."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bff.cli.chromium import Browser, Page, chromium
from offline import qr
from tests.browser.camera import camera_film, camera_of
from tests.edge_agent.conftest import ready, server, shell, world
from tests.edge_agent.service import Service
from tests.edge_agent.shell import Shell
from tests.edge_agent.test_screen import free_port

__all__ = ["ready", "server", "shell", "world"]

BEFORE = """globalThis.broken = [];
addEventListener('securitypolicyviolation', (event) => broken.push(event.violatedDirective + event.blockedURI));
addEventListener('error', (event) => broken.push(event.message));"""


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "camera.y4m"
    camera_film(path, "nothing of ours")
    return path


@pytest.fixture
def counter(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("counter"), *camera_of(film)) as started:
        yield started


@pytest.fixture
def service(ready: Shell) -> Iterator[Service]:
    """An open terminal whose server has gone for good."""
    ready.server.__exit__(None, None, None)
    with Service(ready.folder / "terminal", port=free_port()) as running:
        running.until_told("READY=1")
        yield running


@pytest.fixture
def screen(service: Service, ready: Shell, counter: Browser) -> Iterator[Page]:
    page = counter.tab()
    page.always(BEFORE)
    page.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)  # fmt: skip
    page.go(ready.terminal("screen")["url"])
    page.until("document.documentElement.dataset.ready === 'yes'")
    yield page
    assert page.run("globalThis.broken") == []


def again(page: Page) -> None:
    """The page as it is when the browser was closed and opened."""
    url = page.run("location.href")
    page.go("about:blank")
    page.go(url)


def on(page: Page, section: str) -> None:
    """The section is shown, and nothing of it is wider than a small telephone."""
    page.until(f"!document.getElementById('{section}').hidden")
    assert page.run("document.documentElement.scrollWidth") <= 320


def text_of(page: Page, name: str) -> str:
    found: str = page.run(f"document.getElementById('{name}').textContent")
    return found


def key(page: Page, *names: str) -> None:
    """Press and release keys of a keyboard, as the browser itself hears them."""
    for name in names:
        more = {"text": "\r"} if name == "Enter" else {"text": name} if len(name) == 1 else {}
        codes = {"Enter": 13, "Tab": 9, "Backspace": 8, "Escape": 27}
        number = codes.get(name, ord(name[0]))
        page.call("Input.dispatchKeyEvent", type="keyDown", key=name, windowsVirtualKeyCode=number, **more)  # fmt: skip
        page.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=number)


def press(page: Page, action: str) -> None:
    button = (
        f"document.querySelector('section:not([hidden]) button[data-do={action}]:not([hidden])')"
    )
    page.until(f"{button} !== null")
    page.run(f"{button}.click()")


def asked(page: Page, *keys: str) -> str:
    """The text of the request that its picture on the screen says."""
    on(page, "till")
    key(page, *keys, "Enter")
    on(page, "request")
    found = qr.read_png(page.picture("#code"))
    assert found.startswith("OV1R:")
    return found


def scanned(page: Page, code: str) -> None:
    """As a hand scanner types: into what has the focus, and ended by Enter."""
    page.call("Input.insertText", text=code)
    key(page, "Enter")


def verdict(page: Page) -> tuple[str, str, str]:
    on(page, "result")
    look: str = page.run("document.getElementById('verdict').dataset.look")
    return look, text_of(page, "word"), text_of(page, "sum")


def test_a_payment_by_camera_from_the_keypad_to_the_receipt(
    screen: Page, ready: Shell, film: Path
) -> None:
    """The film changes while the camera is off, as the customer's screen does."""
    request = asked(screen, "1", "5", "0", ".", "5")
    assert text_of(screen, "price") == "₹150.50"
    paid = ready.payer("pay", request, "--yes")
    camera_film(film, paid["text"])
    again(screen)  # the camera is opened anew; the open request is still there
    assert verdict(screen) == ("PAID", "PAID", "₹150.50")
    assert screen.run("document.documentElement.dataset.sound") == "paid"
    assert screen.run("document.getElementById('camera').srcObject") is None, "the camera is off"
    press(screen, "proof")
    screen.until("document.querySelector('#proof svg') !== null")
    ready.payer("keep", qr.read_png(screen.picture("#proof")))
    key(screen, "Enter")
    on(screen, "till")
    screen.until("document.getElementById('takings').textContent === '₹150.50 · 1 sale'")
    assert "₹150.50 not yet synced, in 1 sale" in text_of(screen, "waiting")


def test_by_keyboard_and_hand_scanner_alone(screen: Page, ready: Shell) -> None:
    paid = ready.payer("pay", asked(screen, "2", "Backspace", "4", "0"), "--yes")
    scanned(screen, paid["text"])
    assert verdict(screen) == ("PAID", "PAID", "₹40.00")
    key(screen, "Enter")
    second = asked(screen, "7")
    scanned(screen, paid["text"])
    look, word, _ = verdict(screen)
    assert (look, word) == ("PAID_BEFORE", "PAID BEFORE")
    assert "earlier sale" in screen.run("document.getElementById('verdict').innerText")
    assert screen.run("document.documentElement.dataset.sound") == "not-paid"
    key(screen, "Enter")
    on(screen, "request")
    scanned(screen, ready.payer("pay", second, "--yes")["text"])
    assert verdict(screen) == ("PAID", "PAID", "₹7.00")


def test_a_refused_code_is_unmistakable_and_its_cancellation_is_given(
    screen: Page, ready: Shell
) -> None:
    request = asked(screen, "5", "0")
    voucher = ready.payer("pay", request, "--yes")["text"]
    press(screen, "cancel")
    on(screen, "till")
    asked(screen, "6", "0")
    scanned(screen, voucher)
    look, word, _ = verdict(screen)
    assert (look, word) == ("NOT_PAID", "NOT PAID")
    assert screen.run("getComputedStyle(document.getElementById('verdict')).backgroundColor") == "rgb(163, 33, 28)"  # fmt: skip
    press(screen, "void")
    screen.until("document.querySelector('#proof svg') !== null")
    assert text_of(screen, "word") == "CANCELLED"
    ready.payer("keep", qr.read_png(screen.picture("#proof")))


def test_a_code_that_is_scanned_on_the_wrong_screen_is_no_amount(
    screen: Page, ready: Shell
) -> None:
    on(screen, "till")
    key(screen, *"OV1V:F.12", "Enter")
    screen.until("document.getElementById('said').textContent.includes('amount first')")
    assert text_of(screen, "typed") == "₹0.00"
    paid = ready.payer("pay", asked(screen, "4"), "--yes")
    scanned(screen, paid["text"])
    assert verdict(screen) == ("PAID", "PAID", "₹4.00")


def test_a_sale_is_taken_back(screen: Page, ready: Shell) -> None:
    voucher = ready.payer("pay", asked(screen, "3", "0"), "--yes")["text"]
    scanned(screen, voucher)
    assert verdict(screen)[0] == "PAID"
    press(screen, "go")
    press(screen, "sales")
    on(screen, "sales")
    press(screen, "return")
    on(screen, "return")
    scanned(screen, voucher)
    assert verdict(screen)[1] == "TAKEN BACK"
    press(screen, "go")
    screen.until("document.getElementById('takings').textContent === '₹0.00 · 0 sales'")


def test_a_page_that_was_loaded_anew_shows_the_open_request(screen: Page) -> None:
    request = asked(screen, "9")
    again(screen)
    screen.until("document.getElementById('price')?.textContent === '₹9.00'")
    assert qr.read_png(screen.picture("#code")) == request


def test_a_stopped_agent_is_told_and_so_is_its_return(
    screen: Page, service: Service, ready: Shell
) -> None:
    asked(screen, "9")
    service.stop()
    scanned(screen, "OV1V:NOTHING")
    screen.until("document.getElementById('said').textContent.includes('does not answer')")
    port = screen.run("location.port")
    with Service(ready.folder / "terminal", port=int(port)) as again:
        again.until_told("READY=1")
        screen.until("document.getElementById('said').hidden")
        again.stop()


def test_without_its_key_the_screen_is_locked(service: Service, ready: Shell, counter: Browser) -> None:  # fmt: skip
    url = ready.terminal("screen")["url"]
    page = counter.page(url.partition("#")[0])
    page.until("!document.getElementById('locked').hidden")
    page.run("location.hash = given[0]", "#" + url.partition("#")[2])
    page.until("!document.getElementById('till').hidden")
    assert page.run("location.hash") == "", "a key is not left to be read over a shoulder"


def test_why_no_sale_is_possible_is_said_with_what_to_do(ready: Shell, counter: Browser) -> None:
    home = ready.folder / "terminal"
    ready.server.__exit__(None, None, None)
    from edge_agent.home import Home

    with Home(root=home).terminal_store() as store, store.db.write() as c:
        c.execute("UPDATE sync_state SET must_sync = 1")
    with Service(home, port=free_port()) as service:
        service.until_told("READY=1")
        page = counter.page(ready.terminal("screen")["url"])
        page.until("!document.getElementById('stops').hidden")
        assert "No sale is possible" in page.run("document.getElementById('stops').textContent")
        key(page, "5", "Enter")
        page.until("!document.getElementById('said').hidden")
        press(page, "standing")
        page.until("document.querySelectorAll('#findings li.bad').length === 1")
        service.stop()
