"""Sealing on a real PostgreSQL: what is sealed can be proved, and what was altered is named."""

from uuid import UUID

import asyncpg
import pytest

from devices.entropy import SeededEntropy
from server_core.db.work import Database
from server_core.errors import DomainError
from server_core.ids import derived, public
from server_core.ledger import service as ledger
from server_core.ledger.model import Code, Finding, Mode, Transfer, account_id
from server_core.seals import jobs, keys, receipts, service

BANK, SHOP = account_id(Code.CLEARING, "upi", "INR"), account_id(Code.WALLET, "shop", "INR")
KEY = keys.JournalKey(SeededEntropy(1).bytes(32))


@pytest.fixture
async def books(db: Database) -> Database:
    async with db.work() as work:
        await ledger.open_accounts(
            work,
            [
                ledger.account(Code.CLEARING, "upi", "INR"),
                ledger.account(Code.WALLET, "shop", "INR"),
            ],
        )
    return db


async def pay(db: Database, start: int, count: int) -> list[UUID]:
    moves = [
        Transfer(id=derived("sealed", n), debit=BANK, credit=SHOP, amount=n + 1)
        for n in range(start, start + count)
    ]
    async with db.work() as work:
        await ledger.post(work, moves)
    return [one.id for one in moves]


async def seal_all(db: Database) -> None:
    while await jobs.tick(db, KEY):
        pass


async def wrong(
    db: Database, key: bytes = KEY.public, kept: tuple[int, bytes] | None = None
) -> list[Finding]:
    async with db.snapshot() as reader:
        found = [one async for one in service.findings(reader, key, db.cell, kept)]
        return [one for one in found if isinstance(one, Finding)]


async def prove(db: Database, transfer: UUID) -> receipts.Receipt:
    async with db.snapshot() as reader:
        return await service.receipt(reader, transfer)


async def test_every_transfer_has_a_receipt_that_needs_no_database(books: Database) -> None:
    first = await pay(books, 0, 300)
    await seal_all(books)
    books.clock.advance(1000)
    second = await pay(books, 300, 400)
    await seal_all(books)
    for transfer in (first[0], first[255], first[256], first[-1], second[0], second[-1]):
        written = receipts.dump(await prove(books, transfer))
        read = receipts.load(written)
        assert read.record["id"] == str(transfer)
        assert receipts.check(read, KEY.public) is None
    assert await wrong(books) == []


async def test_refused_transfers_and_holds_are_sealed_too(books: Database) -> None:
    hold = Transfer(id=derived("h"), mode=Mode.PENDING, debit=BANK, credit=SHOP, amount=5)
    post = Transfer(id=derived("p"), mode=Mode.POST, pending_id=hold.id, amount=3)
    broke = Transfer(id=derived("b"), debit=SHOP, credit=BANK, amount=999)
    async with books.work() as work:
        await ledger.post(work, [hold, post, broke])
    await seal_all(books)
    assert (await prove(books, broke.id)).record["result"] == "exceeds_funds"
    assert (await prove(books, broke.id)).record["debit_entry"] is None
    assert (await prove(books, post.id)).record["debit_entry"]["debits_posted"] == "3"


async def test_a_receipt_that_was_touched_proves_nothing(books: Database) -> None:
    one = (await pay(books, 0, 9))[4]
    await seal_all(books)
    written = receipts.dump(await prove(books, one)).decode()
    other = keys.JournalKey(SeededEntropy(2).bytes(32)).public
    for before, after in (
        ('"amount": "5"', '"amount": "6"'), ('"index": 4', '"index": 5'), ('"size": 9', '"size": 10'),
        ('"origin": "cell0"', '"origin": "cell1"'),
    ):  # fmt: skip
        assert before in written
        assert receipts.check(receipts.load(written.replace(before, after).encode()), KEY.public)
    assert "another key" in str(receipts.check(receipts.load(written.encode()), other))


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[" * 5000, b'{"format":"hundi-receipt/1"}', b"x" * 70_000]
)
def test_what_is_no_receipt_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(DomainError) as refused:
        receipts.load(text)
    assert refused.value.code == "seals.receipt_malformed"


async def test_what_is_not_sealed_yet_has_no_receipt(books: Database) -> None:
    one = (await pay(books, 0, 1))[0]
    with pytest.raises(DomainError) as refused:
        await prove(books, one)
    assert refused.value.code == "seals.not_sealed"
    with pytest.raises(DomainError) as unknown:
        await prove(books, derived("nobody"))
    assert unknown.value.code == "seals.transfer_unknown"
    assert service.transfer_id(public("trf", one)) == service.transfer_id(str(one)) == one
    with pytest.raises(DomainError):
        service.transfer_id("trf_nonsense")


async def test_two_sealers_at_once_seal_each_row_once(books: Database) -> None:
    await pay(books, 0, 50)
    async with books.work() as mine:
        assert await service.seal(mine, KEY, "cell0") > 0
        async with books.work() as other:
            assert await service.seal(other, KEY, "cell0") == 0
    await seal_all(books)
    async with books.reader() as reader:
        assert (await service.newest(reader)).size == 50


async def test_a_sealer_that_dies_leaves_nothing_half_sealed(books: Database) -> None:
    await pay(books, 0, 50)

    async def seal_and_die() -> None:
        async with books.work() as work:
            assert await service.seal(work, KEY, "cell0") > 0
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await seal_and_die()
    await seal_all(books)
    assert await wrong(books) == []


ALTERATIONS = {
    "an amount": ("UPDATE transfer SET amount = amount + 1 WHERE id = $1", "transfer {id}"),
    "a reference": ("UPDATE transfer SET reference = 'x' WHERE id = $1", "transfer {id}"),
    "an entry": (
        "UPDATE entry SET debits_posted = debits_posted + 1, credits_posted = credits_posted + 1"
        " WHERE transfer = $1",
        "transfer {id}",
    ),
    "a time": ("UPDATE transfer SET recorded_at = 1 WHERE id = $1", "transfer {id}"),
    "a row that is gone": ("DELETE FROM transfer WHERE id = $1", "transfer {id}"),
    "the journal's order": (
        "UPDATE event SET payload = jsonb_set(payload, '{{transfers,0}}', payload #>"
        " '{{transfers,1}}') WHERE type = 'ledger.posted' AND $1::uuid IS NOT NULL",
        None,
    ),
    "a lost event": (
        "DELETE FROM event WHERE type = 'ledger.posted' AND $1::uuid IS NOT NULL",
        "sealed row 0",
    ),
    "a tile": (
        "UPDATE tree_tile SET hashes = substr(hashes, 2) || '\\x00' WHERE $1::uuid IS NOT NULL",
        None,
    ),
    "a head": (
        "UPDATE tree_head SET root = sha256(root) WHERE $1::uuid IS NOT NULL", "tree_head 9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERATIONS)
async def test_whatever_is_altered_is_named(books: Database, database_url: str, name: str) -> None:
    """By one who may do everything to the database but does not hold the journal's key."""
    one = (await pay(books, 0, 9))[0]
    await seal_all(books)
    statement, row = ALTERATIONS[name]
    owner = await asyncpg.connect(database_url, server_settings={"search_path": books.cell})
    try:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(statement.replace("{{", "{").replace("}}", "}"), one)
    finally:
        await owner.close()
    found = await wrong(books)
    assert len(found) >= 1
    if row is not None:
        assert found[0].row == row.format(id=one)


async def test_a_forged_history_lacks_the_signature(books: Database, database_url: str) -> None:
    """Rows, tiles and heads all made anew and consistent: only the key is missing."""
    await pay(books, 0, 9)
    await seal_all(books)
    forger = keys.JournalKey(SeededEntropy(9).bytes(32))
    owner = await asyncpg.connect(database_url, server_settings={"search_path": books.cell})
    try:
        await owner.execute("SET session_replication_role = replica")
        await owner.execute("UPDATE transfer SET amount = amount + 1")
        await owner.execute(
            "DELETE FROM tree_tile; DELETE FROM tree_head; DELETE FROM event_cursor"
        )
    finally:
        await owner.close()
    while await jobs.tick(books, forger):
        pass
    assert [one.law for one in await wrong(books)] == ["every head is signed by the journal's key"]


async def test_a_transfer_that_the_journal_does_not_name_is_named(
    books: Database, database_url: str
) -> None:
    one = (await pay(books, 0, 3))[0]
    await seal_all(books)
    owner = await asyncpg.connect(database_url, server_settings={"search_path": books.cell})
    try:
        planted = derived("planted")
        await owner.execute(
            "INSERT INTO transfer SELECT (t).* FROM (SELECT jsonb_populate_record(transfer,"
            " jsonb_build_object('id', $2::uuid)) AS t FROM transfer WHERE id = $1) s",
            one,
            planted,
        )
    finally:
        await owner.close()
    assert [found.row for found in await wrong(books)] == [f"transfer {planted}"]


async def as_owner(books: Database, url: str, *statements: str) -> None:
    owner = await asyncpg.connect(url, server_settings={"search_path": books.cell})
    try:
        await owner.execute("SET session_replication_role = replica")
        for one in statements:
            await owner.execute(one)
    finally:
        await owner.close()


async def test_a_history_that_was_sealed_anew_disagrees_with_a_head_that_was_kept(
    books: Database, database_url: str
) -> None:
    """Who writes every table may have the live job sign another history; a kept head tells."""
    await pay(books, 0, 300)
    await seal_all(books)
    async with books.reader() as reader:
        kept = await service.newest(reader)
    await as_owner(
        books, database_url,
        "UPDATE transfer SET reference = 'forged' WHERE amount = 7",
        "DELETE FROM tree_head", "DELETE FROM tree_tile",
        "UPDATE event_cursor SET seq = 0 WHERE name = 'seals'",
    )  # fmt: skip
    await pay(books, 300, 5)
    await seal_all(books)
    assert await wrong(books) == []
    [found] = await wrong(books, kept=(kept.size, kept.root))
    assert found.law == "the journal agrees with the head that was kept"
    [short] = await wrong(books, kept=(10_000, kept.root))
    assert short.row == "sealed row 305"


async def test_what_the_sealing_was_made_to_pass_over_is_named(
    books: Database, database_url: str
) -> None:
    await pay(books, 0, 9)
    await seal_all(books)
    await pay(books, 9, 3)
    await as_owner(
        books, database_url,
        "UPDATE event_cursor SET seq = (SELECT seq FROM event_head) WHERE name = 'seals'",
    )  # fmt: skip
    [found] = await wrong(books)
    assert found.row == "event_cursor seals"


@pytest.mark.parametrize(
    ("count", "change", "row"),
    [
        (9, "UPDATE tree_tile SET hashes = hashes || sha256('x')", "tree_tile 0 0"),
        (300, "UPDATE tree_tile SET hashes = sha256('x') WHERE level = 1", "tree_tile 1 0"),
        (300, "DELETE FROM tree_tile WHERE level = 1", "tree_tile 1 0"),
    ],
)
async def test_a_tree_that_is_not_what_was_signed_is_not_signed_again(
    books: Database, database_url: str, count: int, change: str, row: str
) -> None:
    await pay(books, 0, count)
    await seal_all(books)
    await as_owner(books, database_url, change)
    assert [one.row for one in await wrong(books)] == [row]
    await pay(books, count, 3)
    with pytest.raises(RuntimeError):
        await seal_all(books)
    assert [one.row for one in await wrong(books)] == [row]


async def test_a_head_of_other_books_is_named(books: Database) -> None:
    await pay(books, 0, 9)
    async with books.work() as work:
        await service.seal(work, KEY, "cell7")
    [found] = await wrong(books)
    assert found.law == "every head is of these books"
