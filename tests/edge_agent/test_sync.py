"""The sync client against a server on a real socket: lost answers, resends, revocations, forks, restores."""

import shutil

import pytest

from edge_agent.accepting import accept
from edge_agent.asking import ask, cancel
from edge_agent.chain import broken_at
from edge_agent.errors import AgentError, VerdictError
from edge_agent.restore import restore
from edge_agent.server import Server, ServerRefused, ServerUnreachable
from edge_agent.sync import Synced, sync
from edge_agent.terminal import Terminal
from edge_agent.voiding import void
from offline.journal import Apply, NewEpoch, read_row
from offline.verdicts import Verdict
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.world import World, content


@pytest.fixture
def terminal(world: World, server: RunningServer) -> Terminal:
    made = world.terminal(server=server.url)
    server.side.terminals[made.me.terminal] = KnownTerminal(key=made.keys.public_key())
    return made


async def synced(terminal: Terminal) -> Synced:
    async with Server(terminal.me.server) as door:
        return await sync(terminal, door)


def sell(world: World, terminal: Terminal, *amounts: int, name: str = "asha"):
    payer = world.payer(name)
    signed = [payer.pay(ask(terminal, amount).text) for amount in amounts]
    for one in signed:
        assert accept(terminal, one.to_text()).paid
    payer.store.db.close()
    return signed


def state(terminal: Terminal):
    return terminal.store.state()


async def test_sales_settle_and_are_acked_once(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100, 200, 300)
    done = await synced(terminal)
    assert (done.sent, done.settled_count, done.settled, done.refused) == (3, 3, 600, [])
    assert (state(terminal).acked_seq, done.left) == (3, 0)
    assert terminal.store.totals().unsettled == 0
    again = await synced(terminal)
    assert (again.sent, again.settled_count) == (0, 0)
    assert len(server.side.settled) == 3


async def test_an_empty_sync_brings_time_and_the_right_to_ask(world: World, server: RunningServer):
    fresh = world.terminal("fresh", terminal=b"T009", synced=False, server=server.url)
    server.side.terminals[b"T009"] = KnownTerminal(key=fresh.keys.public_key())
    with pytest.raises(VerdictError):
        ask(fresh, 100)
    await synced(fresh)
    assert ask(fresh, 100).amount == 100


async def test_a_lost_answer_moves_nothing_and_the_resend_is_settled_once(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100, 200)
    server.side.lose_answers = 2
    for _ in range(2):
        before = content(terminal.store.db)
        with pytest.raises(ServerUnreachable):
            await synced(terminal)
        assert content(terminal.store.db) == before
    assert len(server.side.settled) == 2
    sell(world, terminal, 300)
    done = await synced(terminal)
    assert (done.settled_count, done.settled, done.left) == (3, 600, 0)
    assert len(server.side.settled) == 3
    assert server.side.batches == [(1, 2, 0), (1, 2, 0), (1, 3, 0)]


async def test_a_lost_request_is_simply_sent_again(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    server.side.lose_requests = 1
    with pytest.raises(ServerUnreachable):
        await synced(terminal)
    assert server.side.settled == {}
    assert (await synced(terminal)).settled == 100


async def test_long_journals_go_in_batches_of_five_hundred(
    world: World, server: RunningServer, terminal: Terminal
):
    with terminal.work():
        pass
    for _ in range(601):
        ask(terminal, 1)
        cancel(terminal)
    done = await synced(terminal)
    assert [size for _, size, _ in server.side.batches] == [500, 101]
    assert (done.left, state(terminal).acked_seq) == (0, 601)


async def test_a_spoilt_answer_changes_nothing(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    for spoil, error in (
        ("sig", VerdictError),
        ("nonsense", AgentError),
        ("large", AgentError),
    ):
        server.side.spoil = spoil
        before = content(terminal.store.db)
        with pytest.raises(error):
            await synced(terminal)
        assert content(terminal.store.db) == before
    server.side.spoil = ""
    assert (await synced(terminal)).left == 0


@pytest.mark.parametrize("told", [False, True])
async def test_an_answer_cut_at_any_byte_changes_nothing_and_the_resend_settles_once(
    world: World, server: RunningServer, terminal: Terminal, told: bool
):
    """`told`: something on the way shortened the answer and its length, so that HTTP is content."""
    signed = sell(world, terminal, 100, 200)
    server.side.lose_answers, server.side.cut_told = 1, told
    with pytest.raises(ServerUnreachable):
        await synced(terminal)
    before, length = content(terminal.store.db), len(server.side.last_answer)
    assert length > 300
    async with Server(terminal.me.server) as door:
        for place in range(length):
            server.side.cut_after = place
            with pytest.raises((AgentError, VerdictError)):
                await sync(terminal, door)
            assert content(terminal.store.db) == before, place
        server.side.cut_after = None
        done = await sync(terminal, door)
    assert (done.settled_count, done.left) == (2, 0)
    assert [terminal.store.redeemed(one.h).result for one in signed] == ["OV_ACCEPTED"] * 2
    assert len(server.side.settled) == 2


async def test_an_answer_given_a_second_time_answers_nothing(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    await synced(terminal)
    sell(world, terminal, 200)
    server.side.repeat_answer = True
    before = content(terminal.store.db)
    with pytest.raises(VerdictError):
        await synced(terminal)
    assert content(terminal.store.db) == before
    server.side.repeat_answer = False
    assert (await synced(terminal)).left == 0


async def test_a_result_for_another_row_is_not_applied(
    world: World, server: RunningServer, terminal: Terminal
):
    [signed] = sell(world, terminal, 100)
    server.side.spoil = "hashes"
    with pytest.raises(AgentError) as stuck:
        await synced(terminal)
    assert stuck.value.code == "edge.sync_stuck"
    assert terminal.store.redeemed(signed.h).result is None
    assert state(terminal).acked_seq == 0, "a row is acked with its result, and not before"


async def test_results_in_a_lost_answer_are_heard_though_it_told_of_stopped_allowances(
    world: World, server: RunningServer, terminal: Terminal
):
    """The next answer says only that the list was not applied, and how far the server is."""
    [signed] = sell(world, terminal, 100)
    server.side.revoked.append(bytes(16))
    server.side.lose_answers = 1
    with pytest.raises(ServerUnreachable):
        await synced(terminal)
    done = await synced(terminal)
    assert (done.settled_count, done.left) == (1, 0)
    assert terminal.store.redeemed(signed.h).result == Verdict.ACCEPTED
    assert terminal.store.totals().unsettled == 0


async def test_an_ack_of_another_history_is_not_believed(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    server.side.spoil = "head"
    assert (await synced(terminal)).forked
    assert state(terminal).acked_seq == 0
    assert state(terminal).quarantined
    assert len(server.side.batches) == 1


async def test_an_older_copy_of_the_file_knows_itself_before_it_sells_again(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100, 200)
    shutil.copytree(world.folder / "shop", world.folder / "copy")
    sell(world, terminal, 300)
    await synced(terminal)
    terminal.store.db.close()
    shutil.rmtree(world.folder / "shop")
    shutil.move(world.folder / "copy", world.folder / "shop")
    older = world.terminal("shop", server=server.url, synced=False)
    done = await synced(older)
    assert done.forked
    assert done.settled_count == 2
    with pytest.raises(VerdictError) as refusal:
        ask(older, 100)
    assert refusal.value.verdict is Verdict.JOURNAL_FORK
    restore(older)
    await synced(older)
    assert ask(older, 100).amount == 100


async def test_a_beacon_for_another_nonce_is_not_believed(
    world: World, server: RunningServer, terminal: Terminal
):
    floor = terminal.floor.floor_ms()
    server.side.lie_beacon = bytes(8)
    with pytest.raises(VerdictError) as refusal:
        await synced(terminal)
    assert refusal.value.verdict is Verdict.OTHER_SUBJECT
    assert terminal.floor.floor_ms() == floor


async def test_a_beacon_replaces_the_floor_also_downwards(
    world: World, server: RunningServer, terminal: Terminal
):
    terminal.floor.replace(world.clock.now_ms() // 1000 + 10_000)
    with pytest.raises(VerdictError):
        ask(terminal, 100)
    await synced(terminal)
    assert terminal.floor.floor_ms() == world.clock.now_ms()
    assert ask(terminal, 100).amount == 100


async def test_revocations_are_applied_journalled_and_told(
    world: World, server: RunningServer, terminal: Terminal
):
    [signed] = sell(world, terminal, 100)
    server.side.revoked.append(signed.allowance.aid)
    done = await synced(terminal)
    assert (done.revoked_to, done.left) == (1, 0)
    rows = [read_row(r.row) for r in terminal.store.journal(state(terminal).epoch, 1, 10)]
    assert isinstance(rows[-1], Apply)
    assert server.side.batches[-1][2] == 1
    payer = world.payer()
    late = accept(terminal, payer.pay(ask(terminal, 200).text).to_text())
    assert (late.verdict, late.paid) == (Verdict.REVOKED, False)


async def test_a_terminal_behind_the_list_applies_it_and_sends_again(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    server.side.revoked.append(bytes(16))
    server.side.terminals[terminal.me.terminal].told_epoch = 1
    done = await synced(terminal)
    assert (done.settled, done.revoked_to, done.left) == (100, 1, 0)


async def test_a_newer_bundle_is_taken_only_from_the_pinned_root(
    world: World, server: RunningServer, terminal: Terminal
):
    world.issuer.version = 2
    assert (await synced(terminal)).bundle_version == 2
    assert terminal.bundle.version == 2
    world.issuer.version = 3
    world.issuer.root = type(world.issuer.root)(bytes([1]) * 32)
    with pytest.raises(VerdictError) as refusal:
        await synced(terminal)
    assert refusal.value.verdict is Verdict.SIGNATURE
    assert terminal.bundle.version == 2


async def test_a_double_spend_at_the_server_is_told_and_shown(
    world: World, server: RunningServer, terminal: Terminal
):
    [signed] = sell(world, terminal, 100)
    server.side.settled[signed.allowance.aid, 1] = bytes(32)
    done = await synced(terminal)
    assert [(seq, verdict) for seq, verdict, _ in done.refused] == [(1, Verdict.DOUBLE_SPEND)]
    assert terminal.store.redeemed(signed.h).result == "OV_DOUBLE_SPEND"


async def test_voids_reach_the_server_with_the_journal(
    world: World, server: RunningServer, terminal: Terminal
):
    [signed] = sell(world, terminal, 100)
    void(terminal, signed.to_text(), give_back=True)
    await synced(terminal)
    assert [v.void.h for v in server.side.voids] == [signed.h]
    assert terminal.store.voided(signed.h).result == "OV_ACCEPTED"


async def test_a_copied_file_forks_and_is_quarantined(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    terminal.store.db.close()
    shutil.copytree(world.folder / "shop", world.folder / "copy")
    original = world.terminal()
    copy = world.terminal("copy")
    sell(world, original, 200, name="asha")
    await synced(original)
    sell(world, copy, 300, name="ravi")
    done = await synced(copy)
    assert done.forked
    assert state(copy).quarantined
    with pytest.raises(VerdictError) as refusal:
        ask(copy, 100)
    assert refusal.value.verdict is Verdict.JOURNAL_FORK
    assert state(original).quarantined is False


async def test_a_restored_file_goes_on_after_one_sync(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    await synced(terminal)
    sell(world, terminal, 200)
    terminal.store.db.close()
    shutil.copytree(world.folder / "shop", world.folder / "backup")
    lost = world.terminal()
    sell(world, lost, 300)
    await synced(lost)
    lost.store.db.close()
    back = world.terminal("backup", fresh=False)
    asked = ask(back, 900)
    done = restore(back)
    assert (done.carried, done.closed) == (1, 1)
    assert back.store.request(asked.nonce).reason == "restored"
    with pytest.raises(VerdictError) as refusal:
        ask(back, 100)
    assert refusal.value.verdict is Verdict.SYNC_OVERDUE
    first = read_row(back.store.journal(state(back).epoch, 1, 1)[0].row)
    assert isinstance(first, NewEpoch)
    assert first.old_seq == 1
    result = await synced(back)
    assert (result.left, result.forked) == (0, False)
    assert len(server.side.settled) == 3
    assert broken_at(back.store) is None
    sell(world, back, 400)
    assert (await synced(back)).settled == 400


async def test_a_restore_before_any_sync_may_be_repeated(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100)
    restore(terminal)
    restore(terminal)
    done = await synced(terminal)
    assert (done.settled, done.left) == (100, 0)


async def test_a_server_put_back_to_an_older_state_gets_its_rows_again(
    world: World, server: RunningServer, terminal: Terminal
):
    sell(world, terminal, 100, 200, 300)
    await synced(terminal)
    known = server.side.terminals[terminal.me.terminal]
    del known.chains[1:], known.results[1:]
    sell(world, terminal, 400)
    done = await synced(terminal)
    assert (done.left, state(terminal).acked_seq) == (0, 4)
    assert len(known.chains) == 4


async def test_what_was_acked_stays_acked(world: World, server: RunningServer, terminal: Terminal):
    sell(world, terminal, 100, 200, 300)
    await synced(terminal)
    known = server.side.terminals[terminal.me.terminal]
    del known.chains[1:], known.results[1:]
    await synced(terminal)
    assert state(terminal).acked_seq == 3


async def test_without_a_server_nothing_is_lost(world: World):
    terminal = world.terminal("alone", server="http://127.0.0.1:9")
    sell(world, terminal, 100)
    before = content(terminal.store.db)
    with pytest.raises(ServerUnreachable):
        await synced(terminal)
    assert content(terminal.store.db) == before


@pytest.mark.parametrize("url", ["", "ftp://x", "http://[", "javascript:1"])
def test_a_broken_address_is_named(url: str):
    with pytest.raises(AgentError):
        Server(url)


async def test_a_refusal_of_the_server_keeps_its_code(server: RunningServer):
    async with Server(server.url, token="wrong") as door:
        with pytest.raises(ServerRefused) as refusal:
            await door.witness([])
    assert refusal.value.code == "sessions.unknown"
