"""What leaves the database: only what is acknowledged, old and over; whole, chained, and never paid again."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.accepting import accept
from edge_agent.archive import archive, segment_path, segments
from edge_agent.asking import ask, cancel
from edge_agent.chain import broken_at
from edge_agent.errors import AgentError, VerdictError
from edge_agent.restore import restore
from edge_agent.segment import SegmentBroken, digest_of, read_segment, segment_bytes
from edge_agent.server import Server
from edge_agent.store.archive_store import ArchiveStore
from edge_agent.store.database import Database
from edge_agent.sync import sync
from edge_agent.terminal import Terminal
from edge_agent.voiding import void
from offline.verdicts import Verdict
from tests.edge_agent.server_http import RunningServer
from tests.edge_agent.server_side import KnownTerminal
from tests.edge_agent.world import DAY_S, World, beaconed
from tests.offline import kit

DAYS = 30


@pytest.fixture
def terminal(world: World, server: RunningServer) -> Terminal:
    made = world.terminal(server=server.url)
    server.side.terminals[made.me.terminal] = KnownTerminal(key=made.keys.public_key())
    return made


async def synced(terminal: Terminal) -> None:
    async with Server(terminal.me.server) as door:
        assert (await sync(terminal, door)).refused == []


def folder_of(world: World) -> Path:
    return world.folder / "shop"


def put_away(world: World, terminal: Terminal) -> int:
    return archive(terminal, folder_of(world), after_days=DAYS)


def closed(terminal: Terminal, count: int) -> None:
    for _ in range(count):
        ask(terminal, 1)
        cancel(terminal)


def later(world: World, terminal: Terminal, days: int) -> None:
    world.clock.advance(days * DAY_S * 1000)
    beaconed(terminal, world.clock.now_ms() // 1000)


def count(terminal: Terminal, table: str) -> int:
    return terminal.store.db.first(f"SELECT count(*) FROM {table}")[0]


def entries(terminal: Terminal):
    return ArchiveStore(terminal.store.db).entries()


async def test_what_is_acknowledged_and_old_leaves_and_the_chain_stays_whole(
    world: World, terminal: Terminal
):
    payer = world.payer()
    sold = [payer.pay(ask(terminal, amount).text) for amount in (100, 200)]
    for one in sold:
        assert accept(terminal, one.to_text()).paid
    void(terminal, sold[1].to_text(), give_back=True)
    closed(terminal, 120)
    await synced(terminal)
    head = terminal.store.state()
    later(world, terminal, DAYS - 1)
    assert put_away(world, terminal) == 0
    later(world, terminal, 2)
    assert put_away(world, terminal) == head.head_seq - 1
    assert (count(terminal, "journal"), count(terminal, "redeemed")) == (1, 0)
    assert (count(terminal, "voided"), count(terminal, "open_request")) == (0, 1)
    assert terminal.store.state().head == head.head
    assert broken_at(terminal.store) is None
    [(entry, segment)] = segments(folder_of(world), entries(terminal))
    assert (entry.first_seq, entry.last_seq) == (1, head.head_seq - 1)
    assert [one.receipt is not None for one in segment.rows[:4]] == [True, True, False, False]
    assert segment.rows[0].result == "OV_ACCEPTED"
    closed(terminal, 1)
    await synced(terminal)
    assert put_away(world, terminal) == 0, "too few for a file of their own"
    assert segment_path(folder_of(world), 1).stat().st_mode & 0o077 == 0


async def test_a_sale_in_the_archive_is_never_paid_nor_given_back_again(
    world: World, terminal: Terminal
):
    first = world.payer().pay(ask(terminal, 100).text)
    assert accept(terminal, first.to_text()).paid
    closed(terminal, 120)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    put_away(world, terminal)
    ask(terminal, 100)
    again = accept(terminal, first.to_text())
    assert (again.paid, again.voidable, again.verdict) == (False, False, Verdict.CHALLENGE_UNKNOWN)
    with pytest.raises(VerdictError):
        void(terminal, first.to_text())
    with pytest.raises(VerdictError):
        void(terminal, first.to_text(), give_back=True)


async def test_what_the_server_has_not_acknowledged_stays(world: World, terminal: Terminal):
    closed(terminal, 150)
    later(world, terminal, DAYS + 1)
    assert put_away(world, terminal) == 0
    await synced(terminal)
    closed(terminal, 50)
    later(world, terminal, DAYS + 1)
    assert put_away(world, terminal) == 149
    assert count(terminal, "journal") == 51


async def test_a_sale_stays_while_its_allowance_lives_or_it_has_no_result(
    world: World, terminal: Terminal
):
    closed(terminal, 120)
    sold = world.payer().pay(ask(terminal, 100).text)
    assert accept(terminal, sold.to_text()).paid
    closed(terminal, 120)
    await synced(terminal)
    folder = folder_of(world)
    later(world, terminal, 3)
    assert archive(terminal, folder, after_days=2) == 120, "it may be settled for four days"
    later(world, terminal, 2)
    with terminal.work() as work:
        work.run("UPDATE redeemed SET result = NULL")
    assert archive(terminal, folder, after_days=2) == 0
    with terminal.work() as work:
        work.run("UPDATE redeemed SET result = 'OV_ACCEPTED'")
    assert archive(terminal, folder, after_days=2) == 120
    assert count(terminal, "redeemed") == 0


async def test_a_clock_that_leapt_moves_nothing(world: World, terminal: Terminal):
    closed(terminal, 120)
    await synced(terminal)
    world.clock.set_wall(world.clock.now_ms() + 90 * DAY_S * 1000)
    assert put_away(world, terminal) == 0
    assert count(terminal, "journal") == 120


async def test_segments_are_bounded_and_each_names_the_one_before(world: World, terminal: Terminal):
    terminal.trust(world.issuer.bundle(replace(kit.RISK, hard_sum=1_000_000_000)))
    closed(terminal, 2_150)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    assert [put_away(world, terminal) for _ in range(4)] == [1_000, 1_000, 149, 0]
    found = list(segments(folder_of(world), entries(terminal)))
    assert [entry.number for entry, _ in found] == [1, 2, 3]
    assert found[1][1].previous == found[0][0].digest
    assert broken_at(terminal.store) is None


async def test_a_restore_after_archiving_names_a_row_that_the_server_knows(
    world: World, server: RunningServer, terminal: Terminal
):
    closed(terminal, 120)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    put_away(world, terminal)
    closed(terminal, 3)
    now_s = world.clock.now_ms() // 1000
    late = world.payer(not_before=now_s, spend_until=now_s + DAY_S, settle_until=now_s + 4 * DAY_S)
    sold = late.pay(ask(terminal, 100).text)
    assert accept(terminal, sold.to_text()).paid
    restore(terminal)
    later(world, terminal, DAYS + 1)
    assert put_away(world, terminal) == 0, "the server has not heard of the new epoch"
    await synced(terminal)
    assert not terminal.store.state().quarantined
    # Row 120 and what the old epoch had not sent: history now, and few rows are enough.
    assert put_away(world, terminal) == 5
    # The sale was carried into the new epoch and stands there: its request stays with it.
    assert terminal.store.redeemed(sold.h).result == "OV_ACCEPTED"
    assert terminal.store.request(sold.voucher.nonce).state == "paid"
    assert len(list(segments(folder_of(world), entries(terminal)))) == 2
    assert broken_at(terminal.store) is None


async def test_a_server_put_back_gets_rows_out_of_the_archive(
    world: World, server: RunningServer, terminal: Terminal
):
    closed(terminal, 1_150)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    for _ in range(2):
        put_away(world, terminal)
    known = server.side.terminals[terminal.me.terminal]
    whole = list(known.chains)
    del known.chains[7:], known.results[7:]
    closed(terminal, 1)
    server.side.batches.clear()
    await synced(terminal)
    assert known.chains[: len(whole)] == whole
    assert len(known.chains) == 1_151
    assert terminal.store.state().acked_seq == 1_151
    # Asked once too late, then 8 to 1,000 and 1,001 to 1,149 by segments, then the journal's own.
    sent = [(start, size) for start, size, _ in server.side.batches]
    assert sent == [(1_151, 1), (8, 500), (508, 493), (1_001, 149), (1_150, 2)]
    del known.chains[7:], known.results[7:]
    closed(terminal, 1)
    segment_path(folder_of(world), 1).unlink()
    with pytest.raises(AgentError) as refusal:
        await synced(terminal)
    assert refusal.value.code == "edge.archive_broken"


async def test_a_crash_before_the_commit_leaves_a_file_that_is_written_anew(
    world: World, terminal: Terminal
):
    closed(terminal, 120)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    path = segment_path(folder_of(world), 1)
    path.parent.mkdir()
    path.write_bytes(b"what a crash left")
    assert put_away(world, terminal) == 119
    assert len(list(segments(folder_of(world), entries(terminal)))) == 1


async def test_an_altered_cut_or_missing_segment_is_found(world: World, terminal: Terminal):
    closed(terminal, 1_150)
    await synced(terminal)
    later(world, terminal, DAYS + 1)
    for _ in range(2):
        put_away(world, terminal)
    folder = folder_of(world)
    kept = folder / "kept"
    shutil.copytree(folder / "archive", kept)
    first = segment_path(folder, 1)
    good = first.read_bytes()

    def broken(says: str) -> None:
        with pytest.raises(SegmentBroken, match=says):
            list(segments(folder, entries(terminal)))

    first.write_bytes(good[:-3])
    broken("000001.seg was altered")
    first.write_bytes(segment_path(folder, 2).read_bytes())
    broken("000001.seg was altered")
    first.unlink()
    broken("000001.seg is missing")
    shutil.copy(kept / "000001.seg", first)
    assert len(list(segments(folder, entries(terminal)))) == 2
    # A result is no part of a row's hash: the next segment names the file that held it.
    segment = read_segment(good)
    lied = replace(segment.rows[0], result="OV_DOUBLE_SPEND")
    other = segment_bytes(replace(segment, rows=(lied, *segment.rows[1:])))
    with terminal.store.db.write() as c:
        c.execute("UPDATE archive SET digest = ? WHERE number = 1", (digest_of(other),))
    first.write_bytes(other)
    broken("000002.seg does not follow")
    # Whoever changes file and database alike still breaks the chain.
    other = segment_path(folder, 2).read_bytes()
    with terminal.store.db.write() as c:
        c.execute("UPDATE archive SET digest = ? WHERE number = 1", (digest_of(other),))
    first.write_bytes(other)
    broken("does not follow")


@pytest.mark.parametrize(
    "data", [b"", b"x", b"hundi-journal-segment 1\n", b"hundi-journal-segment 1\nxx"]
)
def test_what_is_no_segment_is_refused(data: bytes):
    with pytest.raises(SegmentBroken):
        read_segment(data)


# A scan of these is of one row, or of what is open or unsettled: the floor limit bounds it.
_SMALL = re.compile(
    r"SCAN (self|trust|shop|ussd_code|sync_state|redeemed USING (COVERING )?INDEX redeemed_unsettled"
    r"|open_request USING (COVERING )?INDEX open_request_open|CONSTANT ROW)"
)


def plans(db: Database, statements: set[str]) -> list[str]:
    found = []
    for sql in statements:
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
            found += [row[3] for row in db.read("EXPLAIN QUERY PLAN " + sql)]
    return found


async def test_no_sale_and_no_sync_reads_the_journal_from_end_to_end(
    world: World, terminal: Terminal
):
    """By the plan and not by a stopwatch: with a million rows each of them costs what it costs now."""
    seen: set[str] = set()
    db = terminal.store.db
    payer = world.payer()
    db._connection.set_trace_callback(seen.add)
    signed = payer.pay(ask(terminal, 100).text)
    assert accept(terminal, signed.to_text()).paid
    accept(terminal, signed.to_text())
    void(terminal, signed.to_text(), give_back=True)
    closed(terminal, 1)
    await synced(terminal)
    put_away(world, terminal)
    db._connection.set_trace_callback(None)
    steps = plans(db, seen)
    assert len(steps) > 30
    assert [step for step in steps if step.startswith("SCAN") and not _SMALL.match(step)] == []
    assert any("journal USING PRIMARY KEY" in step for step in steps)
