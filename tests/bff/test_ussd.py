"""A feature phone pays at a terminal without a network: over real HTTP, once, and by PIN."""

import asyncio
from dataclasses import dataclass

import httpx
import pytest

from bff.routes.edge import b64, unb64
from offline import signing, ussd
from server_core.errors import DomainError
from server_core.terminals import service as terminals
from server_core.ussd import rules, service
from tests.bff.rest.conftest import OPERATOR, USSD_KEY, Door, _served, door, upi_core
from tests.server_core.vouchers.street import ENTROPY, Shop, Street

__all__ = ["_served", "door", "upi_core"]
PIN, NUMBER = "135790", "+919876543210"


@dataclass
class Phone:
    """Asha's phone and the shop's terminal, which knows its code and its keys."""

    door: Door
    shop: Shop
    code: str
    keys: dict[int, bytes]
    number: str

    async def dial(self, text: str, number: str | None = None, key: bytes = USSD_KEY) -> str:
        form = {
            "sessionId": "ATUid_1", "serviceCode": "*384#", "networkCode": "63902",
            "phoneNumber": number or self.number, "text": text,
        }  # fmt: skip
        answer = await self.door.http.post(
            "/ussd", data=form, headers={"Authorization": f"Bearer {key.hex()}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.text

    def challenge(self, digits: str = "12345") -> str:
        return f"{self.today % 10}{digits}"

    @property
    def today(self) -> int:
        return self.door.core.clock.now_ms() // 1000 // ussd.DAY_S

    def expected(self, challenge: str, amount: int) -> str:
        """What the terminal works out by itself."""
        digits = ussd.answer(
            self.keys[self.today], self.shop.terminal.id, challenge, amount, self.today
        )
        return f"{digits[:4]} {digits[4:]}"

    async def owed(self) -> int:
        return await self.door.balance(self.door.shop)


async def ask_keys(door: Door, shop: Shop, **changes: str) -> httpx.Response:
    nonce = door.core.trust.new_nonce(door.core.clock.now_ms(), ENTROPY)
    message = signing.sync_request_message(shop.terminal.id, nonce, ussd.ASKED_KEYS)
    body = {
        "terminal": shop.terminal.id, "server_nonce": nonce, "sig": shop.key.sign(message).signature,
    }  # fmt: skip
    said = {name: b64(value) for name, value in body.items()} | changes
    return await door.http.post("/edge/ussd/keys", json=said)


@pytest.fixture
async def phone(door: Door) -> Phone:
    shop = await Street(door.core.db, door.core.trust).shop(door.shop)
    said = (await ask_keys(door, shop)).json()
    keys = {one["day"]: unb64(one["key"], "key") for one in said["keys"]}
    number = f"+91{int.from_bytes(ENTROPY.bytes(6)) % 10**10:010}".replace("+910", "+919")
    async with door.core.db.work() as work:
        await service.link(work, door.core.fields, OPERATOR, party=door.asha.id, number=number)
    made = Phone(door, shop, said["code"], keys, number)
    assert await made.dial("") == "CON Choose a PIN of 6 digits:"
    assert await made.dial(PIN) == "CON Type it again:"
    assert await made.dial(f"{PIN}*{PIN}") == "END Your PIN is set. Dial again to pay."
    return made


async def test_step_by_step_and_the_terminal_agrees(phone: Phone) -> None:
    challenge = phone.challenge()
    assert await phone.dial("") == "CON Shop code:"
    assert await phone.dial(phone.code) == "CON Amount in rupees:"
    assert await phone.dial(f"{phone.code}*120") == "CON The 6 digits on the terminal:"
    asked = await phone.dial(f"{phone.code}*120*{challenge}")
    assert asked == "CON Pay Rs 120.00 to Chai Point? Enter PIN:"
    assert await phone.owed() == 0
    paid = await phone.dial(f"{phone.code}*120*{challenge}*{PIN}")
    assert paid == f"END PAID Rs 120.00. Give the shop {phone.expected(challenge, 12_000)}"
    assert await phone.owed() == 12_000


async def test_a_repeat_says_the_same_digits_and_moves_nothing(phone: Phone) -> None:
    text = f"{phone.code}*120*{phone.challenge()}*{PIN}"
    said = await asyncio.gather(*(phone.dial(text) for _ in range(3)))
    said.append(await phone.dial(text))
    paid = {one for one in said if one.startswith("END PAID")}
    assert len(paid) == 1
    assert said[-1] in paid
    assert await phone.owed() == 12_000


async def test_digits_are_one_payers_and_one_amounts(phone: Phone) -> None:
    challenge, door = phone.challenge(), phone.door
    await phone.dial(f"{phone.code}*120*{challenge}*{PIN}")
    assert "were used" in await phone.dial(f"{phone.code}*121*{challenge}*{PIN}")
    number = phone.number.replace("+91", "+44")
    async with door.core.db.work() as work:
        await service.link(work, door.core.fields, OPERATOR, party=door.ravi.id, number=number)
    await phone.dial(f"{PIN}*{PIN}", number)
    assert "were used" in await phone.dial(f"{phone.code}*120*{challenge}*{PIN}", number)
    assert await phone.owed() == 12_000


async def test_what_was_refused_may_be_tried_again_with_the_same_digits(phone: Phone) -> None:
    text = f"{phone.code}*4000*{phone.challenge()}*{PIN}"
    assert "does not hold enough" in await phone.dial(text)
    assert await phone.owed() == 0
    smaller = await phone.dial(f"{phone.code}*40*{phone.challenge()}*{PIN}")
    assert smaller.startswith("END PAID Rs 40.00")


async def test_three_wrong_pins_lock_the_line_until_an_operator_looks(phone: Phone) -> None:
    text = f"{phone.code}*120*{phone.challenge()}"
    said = await asyncio.gather(*(phone.dial(f"{text}*97531{n}") for n in range(8)))
    assert sum("wrong PIN" in one.lower() or "Wrong PIN" in one for one in said) <= 3
    assert "too many wrong PINs" in (await phone.dial(f"{text}*{PIN}")).replace("Too", "too")
    assert await phone.owed() == 0
    async with phone.door.core.db.work() as work:
        await service.unlock(work, phone.door.core.fields, OPERATOR, number=phone.number)
    assert await phone.dial("") == "CON Choose a PIN of 6 digits:"


async def test_two_wrong_ones_and_a_right_one_pay(phone: Phone) -> None:
    text = f"{phone.code}*120*{phone.challenge()}"
    for _ in range(3):
        for _ in range(2):
            assert "Wrong PIN" in await phone.dial(f"{text}*975318")
        assert "PAID" in await phone.dial(f"{text}*{PIN}")
    assert await phone.owed() == 12_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{code}*6000*{challenge}", "at most Rs 5,000.00"),
        ("{code}*120*{old}*{pin}", "not of today"),
        ("{other}*120*{challenge}", "No shop has this code"),
        ("1*2*3", "no shop's code"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_moves(phone: Phone, text: str, said: str) -> None:
    text = text.format(
        code=phone.code, challenge=phone.challenge(), pin=PIN,
        old=f"{(phone.today + 5) % 10}12345", other=rules.code_of((int(phone.code[:-1]) + 1) % 10**6),
    )  # fmt: skip
    answer = await phone.dial(text)
    assert answer.startswith("END ")
    assert said in answer
    assert len(answer) <= 182
    assert await phone.owed() == 0


async def test_a_stranger_and_a_forger(phone: Phone) -> None:
    assert await phone.dial("", "+14155550100") == "END This number has no wallet here"
    for headers in ({}, {"Authorization": "Bearer " + "0" * 64}, {"Authorization": "Bearer é"}):
        raw = {name: value.encode() for name, value in headers.items()}
        answer = await phone.door.http.post(
            "/ussd", data={"sessionId": "1", "phoneNumber": phone.number}, headers=raw
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "ussd.key")


@pytest.mark.parametrize(
    "body",
    [b"", b"text=1", b"sessionId=1", b"\xff\xfe=1", b"phoneNumber=1&phoneNumber=2&sessionId=1",
     b"a=1&" * 40, b"x" * 5000],
)  # fmt: skip
async def test_what_is_no_form(phone: Phone, body: bytes) -> None:
    answer = await phone.door.http.post(
        "/ussd", content=body, headers={"Authorization": f"Bearer {USSD_KEY.hex()}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "ussd.form")


async def test_keys_are_their_terminals_only(phone: Phone) -> None:
    door = phone.door
    again = (await ask_keys(door, phone.shop)).json()
    assert again["code"] == phone.code
    other = await Street(door.core.db, door.core.trust).shop()
    assert (await ask_keys(door, other)).json()["keys"] != again["keys"]
    stolen = await ask_keys(door, other, terminal=b64(phone.shop.terminal.id))
    assert stolen.json()["code"] == "ussd.signature"
    async with door.core.db.work() as work:
        await terminals.revoke(work, OPERATOR, other.terminal.id)
    assert (await ask_keys(door, other)).json()["code"] == "ussd.not_active"


async def test_a_number_is_one_wallets_until_it_is_unlinked(phone: Phone) -> None:
    door, core = phone.door, phone.door.core
    async with core.db.work() as work:
        await service.link(work, core.fields, OPERATOR, party=door.asha.id, number=phone.number)
        with pytest.raises(DomainError, match=r"ussd\.number_taken"):
            await service.link(work, core.fields, OPERATOR, party=door.ravi.id, number=phone.number)
        with pytest.raises(DomainError, match=r"ussd\.person"):
            await service.link(work, core.fields, OPERATOR, party=door.shop.id, number=NUMBER)
        with pytest.raises(DomainError, match=r"ussd\.operator"):
            await service.unlink(
                work, core.fields, phone.shop.terminal.actor(), number=phone.number
            )
    async with core.db.work() as work:
        await service.unlink(work, core.fields, OPERATOR, number=phone.number)
    assert "no wallet" in await phone.dial("")
    rows = await door.sql("SELECT * FROM ussd_line")
    assert phone.number[1:] not in repr(rows)
