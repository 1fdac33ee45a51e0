"""Before a sale: limits, clocks, and requests that end."""

from dataclasses import replace

import pytest

from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.errors import AgentError, VerdictError
from offline.journal import Close
from offline.verdicts import Verdict
from tests.edge_agent.world import BOOT, NOW_S, World, content, refused_unchanged, rows
from tests.offline import kit


def test_a_request_expires_on_the_monotonic_clock_and_is_then_closed_and_journalled(world: World):
    terminal, payer = world.terminal(), world.payer()
    text = payer.pay(ask(terminal, 500).text).to_text()
    world.clock.set_wall((NOW_S + 600) * 1000)
    assert accept(terminal, payer.pay(ask(terminal, 100).text).to_text()).paid
    world.clock.advance(180_001)
    assert refused_unchanged(terminal, text) is Verdict.CHALLENGE_EXPIRED
    ask(terminal, 900)
    closed = [row for row in rows(terminal) if isinstance(row, Close)]
    assert [str(row.reason) for row in closed] == ["expired"]
    assert refused_unchanged(terminal, text) is Verdict.CHALLENGE_EXPIRED


def test_a_start_closes_every_open_request(world: World):
    terminal, payer = world.terminal(), world.payer()
    texts = [payer.pay(ask(terminal, 500 + n).text).to_text() for n in range(3)]
    terminal.store.db.close()
    again = world.terminal()
    assert len([row for row in rows(again) if isinstance(row, Close)]) == 3
    for text in texts:
        assert refused_unchanged(again, text) is Verdict.CHALLENGE_EXPIRED


def test_a_command_goes_on_after_another_one_but_not_after_a_new_boot(world: World):
    terminal, payer = world.terminal(), world.payer()
    one = payer.pay(ask(terminal, 500).text).to_text()
    two = payer.pay(ask(terminal, 600).text).to_text()
    terminal.store.db.close()
    resumed = world.terminal(fresh=False, boot=BOOT)
    assert accept(resumed, one).paid
    resumed.store.db.close()
    rebooted = world.terminal(fresh=False, boot="boot-two")
    assert refused_unchanged(rebooted, two) is Verdict.CHALLENGE_EXPIRED


def test_a_cancelled_request_and_one_paid_online_take_no_voucher(world: World):
    terminal, payer = world.terminal(), world.payer()
    one = payer.pay(ask(terminal, 500).text).to_text()
    cancel(terminal)
    assert refused_unchanged(terminal, one) is Verdict.CHALLENGE_EXPIRED
    two = payer.pay(ask(terminal, 600).text).to_text()
    cancel(terminal, paid_online=True)
    assert refused_unchanged(terminal, two) is Verdict.CHALLENGE_USED
    assert [str(r.reason) for r in rows(terminal)] == ["cancelled", "paid_online"]
    with pytest.raises(AgentError, match="no open request"):
        cancel(terminal)


def test_the_limits_refuse_a_request_and_never_a_voucher(world: World):
    terminal = world.terminal(risk=replace(kit.RISK, soft_sum=50_000, hard_sum=60_000))
    payer = world.payer()
    first = payer.pay(ask(terminal, 40_000).text)
    assert accept(terminal, first.to_text()).paid
    with pytest.raises(VerdictError) as refusal:
        ask(terminal, 20_001)
    assert refusal.value.verdict is Verdict.FLOOR_LIMIT
    second = payer.pay(ask(terminal, 20_000).text)
    with pytest.raises(VerdictError) as refusal:
        ask(terminal, 1)
    assert refusal.value.verdict is Verdict.FLOOR_LIMIT
    assert accept(terminal, second.to_text()).paid
    assert terminal.store.requests(10)[0].state == "paid"


def test_no_request_without_clock_sync_or_policy(world: World):
    never = world.terminal(synced=False)
    for terminal, amount, verdict, move_ms in (
        (never, 100, Verdict.CLOCK_UNTRUSTED, 0),
        (world.terminal("b"), 50_001, Verdict.OVER_VOUCHER_LIMIT, 0),
        (world.terminal("c"), 100, Verdict.CLOCK_UNTRUSTED, -400_000),
        (world.terminal("d"), 100, Verdict.CLOCK_UNTRUSTED, 40 * 3_600_000),
    ):
        wall = world.clock.now_ms()
        world.clock.set_wall(wall + move_ms)
        before = content(terminal.store.db)
        with pytest.raises(VerdictError) as refusal:
            ask(terminal, amount)
        assert refusal.value.verdict is verdict
        assert content(terminal.store.db) == before
        world.clock.set_wall(wall)
    terminal = world.terminal("e")
    world.clock.advance(4 * 86_400_000)
    with pytest.raises(VerdictError) as refusal:
        ask(terminal, 100)
    assert refusal.value.verdict is Verdict.SYNC_OVERDUE


def test_a_wall_clock_set_back_does_not_revive_an_expired_allowance(world: World):
    terminal, payer = world.terminal(), world.payer(spend_until=NOW_S + 100)
    signed = payer.pay(ask(terminal, 100).text)
    world.clock.advance(101_000)
    world.clock.set_wall(NOW_S * 1000)
    assert refused_unchanged(terminal, signed.to_text()) is Verdict.ALLOWANCE_EXPIRED


def test_the_floor_survives_a_restart(world: World):
    terminal = world.terminal()
    world.clock.advance(50_000)
    ask(terminal, 100)
    terminal.store.db.close()
    again = world.terminal(synced=False, boot="boot-two")
    assert again.floor.floor_ms() == (NOW_S + 50) * 1000
