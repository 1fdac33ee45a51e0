"""The payer's app as a person uses it: linked, filled, paid from with no network, all by its own buttons."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bff.cli.chromium import Browser, Page, chromium
from offline import qr
from offline.verify import decode, judge
from offline.wire import SignedVoucher
from tests.browser.camera import camera_film, camera_of
from tests.browser.edge import Edge
from tests.browser.site import site
from tests.offline import kit
from web import FOLDER

# The vectors' day, and every way in which the page breaks the policy that it is served under.
BEFORE = f"""Date.now = () => {kit.NOW}000; globalThis.broken = [];
addEventListener('securitypolicyviolation', (event) => broken.push(event.violatedDirective + event.blockedURI));
addEventListener('error', (event) => broken.push(event.message));"""


WITNESSED = """await (async () => {
  const { Store } = await import('/payer/store.js');
  return (await (await Store.open()).vouchers()).every((row) => row.witnessed);
})()"""


@pytest.fixture
def edge() -> Edge:
    return Edge()


@pytest.fixture
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("person")


@pytest.fixture
def person(profile: Path) -> Iterator[Browser]:
    with chromium(profile) as started:
        yield started


def opened(browser: Browser, address: str) -> Page:
    page = browser.tab()
    page.always(BEFORE)
    page.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)  # fmt: skip
    page.go(f"{address}/payer/")
    page.until("document.documentElement.dataset.ready === 'yes'")
    return page


@pytest.fixture
def app(person: Browser, edge: Edge) -> Iterator[Page]:
    with site(edge) as address:
        page = opened(person, address)
        yield page
        assert page.run("globalThis.broken") == []


def press(page: Page, action: str) -> None:
    button = f"document.querySelector('section:not([hidden]) [data-do={action}]')"
    page.until(f"{button} !== null")
    page.run(f"{button}.click()")


def on(page: Page, section: str) -> None:
    """The section is shown, and nothing of it is wider than a small telephone."""
    page.until(f"!document.getElementById('{section}').hidden")
    assert page.run("document.documentElement.scrollWidth") <= 320


def told(page: Page, words: str) -> None:
    page.until(f"document.getElementById('said').textContent.includes({words!r})")


def linked(page: Page, edge: Edge) -> None:
    on(page, "link")
    press(page, "link")
    on(page, "home")
    assert len(edge.key) == 32


def filled(page: Page, total: str = "1000", each: str = "500") -> None:
    press(page, "ask")
    on(page, "ask")
    page.run("Object.assign(document.getElementById('total'), {value: given[0]})", total)
    page.run("Object.assign(document.getElementById('each'), {value: given[0]})", each)
    page.run("document.querySelector('#ask form').requestSubmit()")


def typed(page: Page, text: str) -> None:
    page.run("Object.assign(document.getElementById('text'), {value: given[0]})", text)
    page.run("document.querySelector('#scan form').requestSubmit()")


def left(page: Page) -> str:
    page.until("!document.getElementById('home').hidden")
    found: str = page.run("document.getElementById('left').textContent")
    return found


def voucher_of(page: Page) -> SignedVoucher:
    """What a terminal's camera reads off the page."""
    on(page, "voucher")
    text = qr.read_png(page.picture("#code"))
    assert text == page.run("document.getElementById('words').textContent")
    signed = decode(text)
    assert isinstance(signed, SignedVoucher)
    return signed


def test_from_the_first_start_to_the_receipt(app: Page, edge: Edge, tmp_path: Path) -> None:
    linked(app, edge)
    filled(app)
    app.until("document.getElementById('left').textContent === '₹1,000.00'")
    press(app, "scan")
    typed(app, kit.signed_request().to_text())
    on(app, "offer")
    assert app.run("document.getElementById('price').textContent") == "₹123.45"
    assert app.run("document.getElementById('shop').textContent") == "चाय घर"
    press(app, "pay")
    signed = voucher_of(app)
    assert judge(signed, kit.facts()).verdict == "OV_ACCEPTED"

    press(app, "receipt")
    picture = tmp_path / "receipt.png"
    picture.write_bytes(qr.png(kit.signed_receipt(kit.receipt(signed)).to_text()))
    app.choose("#picture", picture)
    app.until("document.getElementById('state').textContent.startsWith('Paid')")
    press(app, "home")
    assert left(app) == "₹876.55"
    assert app.run("document.getElementById('rows').innerText").splitlines()[:2] == ["चाय घर", "₹123.45"]  # fmt: skip


def test_it_says_which_tier_a_browser_is_and_what_can_be_lost(app: Page) -> None:
    on(app, "link")
    app.until("document.getElementById('most').textContent !== ''")
    words = app.run("document.getElementById('link').innerText")
    for said in ("lowest tier", "At most ₹500.00 a payment and ₹1,000.00 at once.", "can be lost"):
        assert said in words


def test_its_tier_and_limits_are_the_servers_and_are_shown_offline_too(
    app: Page, edge: Edge
) -> None:
    linked(app, edge)
    said = "document.getElementById('home').innerText"
    app.until(f"{said}.includes('₹1,000.00 at once') && {said}.endsWith('the lowest tier.')")
    edge.tier = "hardware_counter"
    press(app, "ask")
    app.until("document.getElementById('total').value === '2000.00'")
    edge.signed_in = False  # it hears no more; what it heard is kept
    press(app, "home")
    app.until(f"{said}.includes('₹2,000.00 at once') && {said}.endsWith('highest tier for you.')")


def test_the_same_request_is_the_same_voucher(app: Page, edge: Edge) -> None:
    linked(app, edge)
    filled(app)
    on(app, "home")
    press(app, "scan")
    typed(app, kit.signed_request().to_text())
    on(app, "offer")
    press(app, "pay")
    first = voucher_of(app)
    press(app, "home")
    press(app, "scan")
    typed(app, kit.signed_request().to_text())
    told(app, "nothing more is spent")
    assert voucher_of(app) == first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "not a shop's payment code"),
        (kit.signed_request(kit.request(amount=50_001)).to_text(), "more than one offline payment"),
        (kit.signed_request(issuer=kit.TERM).to_text(), "Do not pay here"),
    ],
)
def test_what_may_not_be_paid_is_refused_in_words(
    app: Page, edge: Edge, text: str, words: str
) -> None:
    linked(app, edge)
    filled(app)
    on(app, "home")
    press(app, "scan")
    typed(app, text)
    told(app, words)
    assert left(app) == "₹1,000.00"


def test_without_a_session_it_asks_to_sign_in(app: Page, edge: Edge) -> None:
    edge.signed_in = False
    press(app, "link")
    told(app, "Sign in first")
    on(app, "link")


def test_a_lost_answer_is_asked_for_again_under_the_same_key(app: Page, edge: Edge) -> None:
    linked(app, edge)
    edge.lose = "/edge/allowances"
    filled(app)
    told(app, "cannot be reached")
    app.run("document.querySelector('#ask form').requestSubmit()")
    app.until("document.getElementById('left').textContent === '₹1,000.00'")
    keys = {body["idempotency_key"] for body in edge.bodies("/edge/allowances")}
    assert (len(keys), len(edge.issued)) == (1, 1)


def test_a_lost_answer_to_linking_links_the_same_key(app: Page, edge: Edge) -> None:
    edge.lose = "/edge/devices/enrol"
    press(app, "link")
    told(app, "cannot be reached")
    linked(app, edge)
    assert len({body["key"] for body in edge.bodies("/edge/devices/enrol")}) == 1


def paid(page: Page, edge: Edge) -> SignedVoucher:
    """A linked and filled browser that has answered the kit's request."""
    linked(page, edge)
    filled(page)
    on(page, "home")
    press(page, "scan")
    typed(page, kit.signed_request().to_text())
    press(page, "pay")
    return voucher_of(page)


def test_a_cancellation_is_kept_and_handed_in(app: Page, edge: Edge) -> None:
    signed = paid(app, edge)
    press(app, "receipt")
    void = kit.signed_void(kit.void(signed)).to_text()
    typed(app, void)
    app.until("document.getElementById('state').textContent.startsWith('Cancelled')")
    press(app, "home")
    on(app, "home")
    assert edge.bodies("/edge/voids") == [{"void": void}]


def test_a_receipt_for_something_else_is_not_kept(app: Page, edge: Edge) -> None:
    paid(app, edge)
    press(app, "receipt")
    typed(app, kit.signed_receipt().to_text())
    told(app, "belongs to another payment")


def test_what_was_signed_is_witnessed_at_the_next_start_and_once(app: Page, edge: Edge) -> None:
    signed = paid(app, edge)
    for _ in range(2):
        app.go(app.run("location.href"))
        app.until("document.documentElement.dataset.ready === 'yes'")
        app.until(WITNESSED)
    assert edge.bodies("/edge/vouchers/witness") == [{"vouchers": [signed.to_text()]}]


def test_a_lost_answer_to_giving_back_is_asked_for_again(app: Page, edge: Edge) -> None:
    linked(app, edge)
    filled(app)
    on(app, "home")
    edge.lose = "/edge/allowances/surrender"
    press(app, "surrender")
    told(app, "cannot be reached")
    assert app.run("document.getElementById('pay').hidden")
    app.go(app.run("location.href"))
    app.until("document.getElementById('until').textContent.startsWith('Being given back')")
    assert app.run("document.getElementById('pay').hidden"), "what is given back is not spent"
    press(app, "surrender")
    app.until("document.getElementById('left').textContent === '₹0.00'")
    first, second = edge.bodies("/edge/allowances/surrender")
    assert first == second


def test_what_is_left_is_given_back(app: Page, edge: Edge) -> None:
    linked(app, edge)
    filled(app)
    on(app, "home")
    press(app, "surrender")
    app.until("document.getElementById('left').textContent === '₹0.00'")
    [body] = edge.bodies("/edge/allowances/surrender")
    assert (body["counter"], body["cum"]) == (0, 0)


def test_it_starts_and_pays_with_the_server_gone(
    person: Browser, edge: Edge, tmp_path: Path
) -> None:
    with site(edge) as address:
        page = opened(person, address)
        linked(page, edge)
        filled(page)
        on(page, "home")
        page.until("navigator.serviceWorker.controller !== null")
    page.go(f"{address}/payer/")
    page.until("document.documentElement.dataset.ready === 'yes'")
    press(page, "scan")
    picture = tmp_path / "request.png"
    picture.write_bytes(qr.png(kit.signed_request().to_text()))
    page.choose("#picture", picture)
    on(page, "offer")
    press(page, "pay")
    assert judge(voucher_of(page), kit.facts()).verdict == "OV_ACCEPTED"
    press(page, "home")
    press(page, "surrender")
    told(page, "cannot be reached")
    assert page.run("globalThis.broken") == []


def test_it_renews_itself_whole_or_not_at_all(person: Browser, edge: Edge, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "web")
    words, sheet = folder / "payer" / "index.html", folder / "design.css"
    one, two, three = (f"<title>Hundi {age}</title>" for age in ("one", "two", "three"))
    page_of = words.read_text().replace("<title>Hundi: pay offline</title>", "{}").format

    def visited() -> str:
        page.go(f"{address}/payer/")
        page.until("document.documentElement.dataset.ready === 'yes'")
        title: str = page.run("document.title")
        return title

    def renewed(copies: int) -> None:
        """No copy is under way, and so many are whole."""
        page.until(
            f"""await (async () => {{
              const names = await caches.keys();
              const has = (cacheName) => caches.match(new URL('whole', location), {{ cacheName }});
              const whole = (await Promise.all(names.map(has))).filter(Boolean);
              return names.length === {copies} && whole.length === {copies};
            }})()"""
        )

    words.write_text(page_of(one))
    with site(edge, folder) as address:
        page = opened(person, address)
        page.until("navigator.serviceWorker.controller !== null")
        words.write_text(page_of(two))
        assert visited() == "Hundi one", "the kept copy is shown at once"
        renewed(2)
        assert visited() == "Hundi two", "what was fetched behind it, from the next visit on"
        renewed(2)
        words.write_text(page_of(three))
        sheet.rename(folder / "gone.css")
        visited()
        renewed(1)
        assert visited() == "Hundi two", "a copy that lacks a file is none"


def test_the_camera_reads_a_shop_s_code(profile: Path, edge: Edge, tmp_path: Path) -> None:
    film = tmp_path / "shop.y4m"
    camera_film(film, kit.signed_request().to_text())
    with chromium(profile, *camera_of(film)) as browser, site(edge) as address:
        page = opened(browser, address)
        linked(page, edge)
        filled(page)
        on(page, "home")
        press(page, "scan")
        on(page, "offer")
        assert page.run("document.getElementById('price').textContent") == "₹123.45"
        assert page.run("document.getElementById('camera').srcObject") is None, "the camera is off"
