"""Digits given by phone: three tries and once, durable before they are believed, and never for another sale."""

import pytest

from edge_agent import terminal_said as said
from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.errors import AgentError
from edge_agent.show import Look
from edge_agent.terminal import Terminal
from edge_agent.ussd import TRIES, Dial, check, refresh
from offline import ussd
from offline.journal import Close, CloseReason, read_row
from offline.model import Algorithm
from offline.signing import sync_request_message, verify_signature
from offline.verdicts import Verdict
from tests.edge_agent.world import NOW_S, World

CODE, KEY = "1234566", bytes(range(32))
TODAY = NOW_S // ussd.DAY_S


class Door:
    """The server's answer to a terminal that asks for its keys."""

    def __init__(self) -> None:
        self.asked: list[dict[str, bytes]] = []
        self.days = range(TODAY - 1, TODAY + 4)

    async def nonce(self) -> bytes:
        return bytes(16)

    async def ussd_keys(self, **asked: bytes) -> tuple[str, dict[int, bytes]]:
        self.asked.append(asked)
        return CODE, dict.fromkeys(self.days, KEY)


@pytest.fixture
async def terminal(world: World) -> Terminal:
    made = world.terminal()
    await refresh(made, Door())
    return made


def digits(terminal: Terminal, dial: Dial) -> str:
    return ussd.answer(KEY, terminal.me.terminal, dial.challenge, dial.rupees * 100, TODAY)


def dialled(terminal: Terminal, amount: int = 12_000) -> Dial:
    dial = ask(terminal, amount).dial
    assert dial is not None
    return dial


async def test_keys_are_fetched_once_a_day_and_signed_for(world: World):
    made, door = world.terminal(), Door()
    assert ask(made, 10_000).dial is None  # no key yet
    for _ in range(3):
        await refresh(made, door)
    [asked] = door.asked
    message = sync_request_message(made.me.terminal, bytes(16), ussd.ASKED_KEYS)
    assert verify_signature(Algorithm.ED25519, made.keys.public_key(), message, asked["sig"])
    door.days = range(TODAY + 2, TODAY + 7)
    world.clock.set_wall((NOW_S + 3 * ussd.DAY_S) * 1000)
    await refresh(made, door)
    assert len(door.asked) == 2
    assert made.store.ussd_key(TODAY) is None  # what is over is forgotten
    assert made.store.ussd_key(TODAY + 6) == KEY


def test_the_right_digits_pay_and_close_the_request(terminal: Terminal):
    dial = dialled(terminal)
    assert dial.text == f"{CODE}*120*{dial.challenge}"
    given = digits(terminal, dial)
    paid = said.by_phone(terminal, f"{given[:4]} {given[4:]}")
    assert (paid.look, paid.line) == (Look.PAID, "PAID \u20b9120.00 by phone")
    row = read_row(terminal.store.journal(terminal.store.state().epoch, 1, 10)[-1].row)
    assert isinstance(row, Close)
    assert row.reason is CloseReason.PAID_ONLINE
    again = said.by_phone(terminal, given)
    assert (again.look, again.facts["repeated"]) == (Look.PAID_BEFORE, True)
    assert terminal.store.state().head_seq == 1


def test_three_wrong_tries_are_the_last(terminal: Terminal):
    dial = dialled(terminal)
    wrong = f"{(int(digits(terminal, dial)) + 1) % 10**8:08}"
    for left in (2, 1, 0):
        with pytest.raises(AgentError, match=f"{left} tries left"):
            check(terminal, wrong)
    for guess in (wrong, digits(terminal, dial)):
        with pytest.raises(AgentError) as spent:
            check(terminal, guess)
        assert spent.value.code == "edge.digits_spent"
    assert terminal.store.state().head_seq == 0


def test_a_try_counts_though_the_power_goes(world: World, terminal: Terminal):
    dial = dialled(terminal)
    wrong = f"{(int(digits(terminal, dial)) + 1) % 10**8:08}"
    for _ in range(TRIES):
        again = world.terminal(fresh=False, synced=False)
        with pytest.raises(AgentError, match="tries left"):
            check(again, wrong)
    with pytest.raises(AgentError, match="three wrong tries"):
        check(world.terminal(fresh=False, synced=False), digits(terminal, dial))


def test_digits_of_another_sale_are_wrong(terminal: Terminal):
    first = dialled(terminal)
    given = digits(terminal, first)
    second = dialled(terminal)
    assert second.challenge != first.challenge
    with pytest.raises(AgentError, match="tries left"):
        check(terminal, given)


def test_paid_after_the_request_ran_out_is_paid(terminal: Terminal):
    dial = dialled(terminal)
    cancel(terminal)
    shown = terminal.store.requests(1)[0].nonce
    assert not check(terminal, digits(terminal, dial), shown).twice


def test_a_sale_that_a_voucher_paid_as_well_is_said_to_be_paid_twice(
    world: World, terminal: Terminal
):
    asked = ask(terminal, 12_000)
    payer = world.payer()
    assert accept(terminal, payer.pay(asked.text).to_text()).paid
    paid = said.by_phone(terminal, digits(terminal, asked.dial))
    assert (paid.look, paid.facts["twice"]) == (Look.PAID_BEFORE, True)


def test_a_voucher_for_a_sale_that_was_paid_by_phone_is_refused(world: World, terminal: Terminal):
    asked = ask(terminal, 12_000)
    check(terminal, digits(terminal, asked.dial))
    late = accept(terminal, world.payer().pay(asked.text).to_text())
    assert (late.verdict, late.voidable) == (Verdict.CHALLENGE_USED, True)


@pytest.mark.parametrize("amount", [1, 12_050])
def test_paise_are_not_asked_for_by_phone(terminal: Terminal, amount: int):
    assert ask(terminal, amount).dial is None


def test_no_challenge_comes_twice_in_a_day(world: World, terminal: Terminal):
    made = []
    for _ in range(200):
        made.append(dialled(terminal, 100).challenge)
        cancel(terminal)
    assert len(set(made)) == 200
    assert {one[0] for one in made} == {str(TODAY % 10)}


@pytest.mark.parametrize("text", ["", "1234567", "123456789", "1234567a", "\u0663" * 8])
def test_what_is_no_answer(terminal: Terminal, text: str):
    dialled(terminal)
    with pytest.raises(AgentError) as told:
        check(terminal, text)
    assert told.value.code == "edge.digits_malformed"
    assert terminal.store.ussd_challenge(terminal.store.state().screen_nonce).tries == 0


def test_nothing_to_answer(world: World):
    with pytest.raises(AgentError) as told:
        check(world.terminal(), "12345678")
    assert told.value.code == "edge.no_challenge"


async def test_a_door_that_is_shut_stops_no_sync(world: World):
    class Shut(Door):
        async def nonce(self) -> bytes:
            raise AgentError("edge.server_unreachable", "no link")

    made = world.terminal()
    await refresh(made, Shut())
    assert ask(made, 10_000).dial is None
