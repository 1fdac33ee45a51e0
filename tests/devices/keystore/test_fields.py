"""Sealed fields: only here, only unaltered, under keys that rotate; and nothing in clear on disk."""

import multiprocessing
import stat
import traceback
from contextlib import suppress
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.clock import ManualClock
from devices.entropy import SeededEntropy, SystemEntropy
from devices.keystore import field_ring, fields, sealed_file
from devices.keystore.field_ring import RING_MAX, FieldRingFull, SoftwareMasterKey
from devices.keystore.fields import (
    CONTEXT_MAX,
    OVERHEAD,
    PLAIN_MAX,
    FieldDamaged,
    FieldKeys,
    FieldKeyUnknown,
    FieldTooLong,
    SoftwareFieldKeys,
    place,
)
from devices.keystore.port import KeyStoreDamaged, KeyStoreError, KeyStoreLocked
from devices.keystore.resealing import SealedRow, reseal
from devices.keystore.sealed_file import SealedFile

NOW_MS = 1_790_000_000_000
ENTROPY = SystemEntropy()
HERE = place("webhook", "secret", b"whk_1")
SECRET = b"whsec_the only copy of it"


def load(home: Path, passphrase: str | None = None) -> SoftwareFieldKeys:
    return fields.load(home, entropy=ENTROPY, clock=ManualClock(NOW_MS), passphrase=passphrase)


def rotate(home: Path, passphrase: str | None = None) -> SoftwareFieldKeys:
    return fields.rotate(
        home, entropy=ENTROPY, clock=ManualClock(NOW_MS + 1_000), passphrase=passphrase
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SoftwareFieldKeys:
    return load(tmp_path_factory.mktemp("home") / "keys")


@given(plain=st.binary(max_size=300), context=st.binary(min_size=1, max_size=CONTEXT_MAX))
def test_what_is_sealed_opens_in_its_place(
    keys: SoftwareFieldKeys, plain: bytes, context: bytes
) -> None:
    port: FieldKeys = keys
    sealed = port.seal(plain, context=context)
    assert port.open(sealed, context=context) == plain
    assert len(sealed) == len(plain) + OVERHEAD
    assert sealed != port.seal(plain, context=context)
    assert not port.is_stale(sealed)


@given(one=st.binary(min_size=1, max_size=40), other=st.binary(min_size=1, max_size=40))
def test_it_opens_in_no_other_place(keys: SoftwareFieldKeys, one: bytes, other: bytes) -> None:
    sealed = keys.seal(SECRET, context=one)
    if one != other:
        with pytest.raises(FieldDamaged):
            keys.open(sealed, context=other)


@given(st.data())
@settings(max_examples=50)
def test_two_places_are_never_one(data: st.DataObject) -> None:
    """Without the lengths, table `a` column `bc` would be table `ab` column `c`."""
    parts = st.tuples(st.text("ab", max_size=3), st.text("ab", max_size=3), st.binary(max_size=3))
    one, other = data.draw(parts), data.draw(parts)
    assert (place(*one) == place(*other)) == (one == other)


def test_a_bit_that_flips_anywhere_is_refused(keys: SoftwareFieldKeys) -> None:
    sealed = keys.seal(SECRET, context=HERE)
    codes = set()
    for at in range(len(sealed)):
        for bit in range(8):
            bad = bytearray(sealed)
            bad[at] ^= 1 << bit
            with pytest.raises((FieldDamaged, FieldKeyUnknown)) as caught:
                keys.open(bytes(bad), context=HERE)
            codes.add(caught.value.code)
            said = "".join(traceback.format_exception(caught.value))
            assert "whsec" not in said
    assert codes == {"keystore.field_damaged", "keystore.field_key_unknown"}


@pytest.mark.parametrize("cut", [0, 1, 5, 29, 44, 45, -1])
def test_what_is_cut_or_foreign_is_refused(keys: SoftwareFieldKeys, cut: int) -> None:
    sealed = keys.seal(SECRET, context=HERE)
    for bad in (sealed[:cut], bytes(len(sealed)), b"\x02" + sealed[1:], sealed + b"\x00"):
        with pytest.raises(FieldDamaged):
            keys.open(bad, context=HERE)
    with pytest.raises(FieldDamaged):
        keys.is_stale(sealed[:44])


def test_a_field_has_a_bound_and_a_place(keys: SoftwareFieldKeys) -> None:
    longest = bytes(PLAIN_MAX)
    assert keys.open(keys.seal(longest, context=HERE), context=HERE) == longest
    assert len(keys.blind(longest, purpose="vpa")) == 32
    for refused in (
        lambda: keys.seal(longest + b"x", context=HERE),
        lambda: keys.blind(longest + b"x", purpose="vpa"),
    ):
        with pytest.raises(FieldTooLong) as caught:
            refused()
        assert caught.value.code == "keystore.field_too_long"
    with pytest.raises(FieldDamaged):
        keys.open(keys.seal(longest, context=HERE) + b"x", context=HERE)
    for context in (b"", bytes(CONTEXT_MAX + 1)):
        with pytest.raises(ValueError, match="place"):
            keys.seal(SECRET, context=context)
    for purpose in ("", "p" * 65):
        with pytest.raises(ValueError, match="purpose"):
            keys.blind(SECRET, purpose=purpose)


def test_the_next_start_opens_what_the_first_sealed(tmp_path: Path) -> None:
    home = tmp_path / "keys"
    assert not fields.is_made(home)
    sealed = load(home).seal(SECRET, context=HERE)
    assert fields.is_made(home)
    assert load(home).open(sealed, context=HERE) == SECRET
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes == dict.fromkeys(("fields.key", "machine.key", "lock"), 0o600)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_nothing_secret_lies_in_clear(tmp_path: Path) -> None:
    keys = rotate_twice(tmp_path)
    secrets = [SECRET, keys._opened.index, *keys._opened.data.values()]
    _, master = field_ring.read(keys._file.read())
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    sealed = keys.seal(SECRET, context=HERE)
    for secret in (*secrets, master):
        assert all(secret not in data for data in (*files, sealed))
    assert len(set(secrets)) == 5


def rotate_twice(home: Path) -> SoftwareFieldKeys:
    load(home)
    rotate(home)
    return rotate(home)


def test_a_retired_key_opens_and_seals_no_more(tmp_path: Path) -> None:
    before = load(tmp_path)
    old = before.seal(SECRET, context=HERE)
    index = before.blind(b"+919800000001", purpose="phone")
    after = rotate(tmp_path)
    assert (after.open(old, context=HERE), after.is_stale(old)) == (SECRET, True)
    new = after.seal(SECRET, context=HERE)
    assert not after.is_stale(new)
    assert new[1:5] != old[1:5]
    assert [one.made_at for one in after.ring.keys] == [NOW_MS // 1000, NOW_MS // 1000 + 1]
    assert after.blind(b"+919800000001", purpose="phone") == index


def test_a_running_server_follows_a_rotation(tmp_path: Path) -> None:
    running, other = load(tmp_path), load(tmp_path)
    old = running.seal(SECRET, context=HERE)
    rotated = rotate(tmp_path)
    new = rotated.seal(SECRET, context=HERE)
    assert running.open(new, context=HERE) == SECRET
    assert running.is_stale(old)
    assert not other.is_stale(other.seal(SECRET, context=HERE))
    assert other.is_stale(old)


def test_a_ring_that_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = load(tmp_path)
    new = rotate(tmp_path).seal(SECRET, context=HERE)
    unseal, failures = sealed_file.unseal, [1]

    def flaky(data: bytes, passphrase: bytes) -> bytes:
        if failures:
            failures.pop()
            raise KeyStoreError("no memory for Argon2")
        return unseal(data, passphrase)

    monkeypatch.setattr(sealed_file, "unseal", flaky)
    with pytest.raises(FieldKeyUnknown):
        running.open(new, context=HERE)
    for _ in range(50):  # not at once: each reading costs
        with suppress(FieldKeyUnknown):
            assert running.open(new, context=HERE) == SECRET
    assert running.open(new, context=HERE) == SECRET
    assert running.is_stale(running.seal(SECRET, context=HERE)) is False


def test_an_unknown_key_costs_no_reading_while_the_file_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, foreign = load(tmp_path / "a"), load(tmp_path / "b")
    stranger = foreign.seal(SECRET, context=HERE)
    reads = 0
    unseal = sealed_file.unseal

    def counted(data: bytes, passphrase: bytes) -> bytes:
        nonlocal reads
        reads += 1
        return unseal(data, passphrase)

    monkeypatch.setattr(sealed_file, "unseal", counted)
    for _ in range(5):
        with pytest.raises(FieldKeyUnknown):
            keys.open(stranger, context=HERE)
    assert reads == 0
    rotate(tmp_path / "a")
    assert reads == 2
    for _ in range(5):
        with pytest.raises(FieldKeyUnknown) as caught:
            keys.open(stranger, context=HERE)
    assert reads == 3
    assert stranger[1:5].hex() in str(caught.value)


def test_a_running_server_takes_over_no_ring_that_lost_its_keys(tmp_path: Path) -> None:
    keys = load(tmp_path / "a")
    sealed = keys.seal(SECRET, context=HERE)
    load(tmp_path / "b", passphrase=None)
    for name in ("fields.key", "machine.key"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    kept = keys.seal(SECRET, context=HERE)
    assert kept[1:5] == sealed[1:5]
    for broken in (b"nonsense", b""):
        (tmp_path / "a" / "fields.key").write_bytes(broken)
        assert keys.open(keys.seal(SECRET, context=HERE), context=HERE) == SECRET
    (tmp_path / "a" / "fields.key").unlink()
    assert keys.open(keys.seal(SECRET, context=HERE), context=HERE) == SECRET


def test_a_wrong_passphrase_opens_and_rotates_nothing(tmp_path: Path) -> None:
    sealed = load(tmp_path, "correct horse").seal(SECRET, context=HERE)
    assert not (tmp_path / "machine.key").exists()
    before = (tmp_path / "fields.key").read_bytes()
    for wrong in ("wrong", ""):
        with pytest.raises(KeyStoreLocked):
            load(tmp_path, wrong)
        with pytest.raises(KeyStoreLocked):
            rotate(tmp_path, wrong)
    with pytest.raises(KeyStoreDamaged, match=r"machine\.key"):
        load(tmp_path)
    assert not (tmp_path / "machine.key").exists()
    assert (tmp_path / "fields.key").read_bytes() == before
    assert load(tmp_path, "correct horse").open(sealed, context=HERE) == SECRET


def test_a_damaged_file_is_named_so_and_left_alone(tmp_path: Path) -> None:
    load(tmp_path)
    file = tmp_path / "fields.key"
    whole = file.read_bytes()
    for bad in (b"", b"nonsense", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(bad)
        for act in (load, rotate):
            with pytest.raises((KeyStoreDamaged, KeyStoreLocked)):
                act(tmp_path)
        assert file.read_bytes() == bad
    file.write_bytes(whole)
    (tmp_path / "machine.key").unlink()
    with pytest.raises(KeyStoreDamaged):
        load(tmp_path)


def test_a_ring_of_another_kind_or_release_is_damage() -> None:
    master = SoftwareMasterKey(bytes(32), ENTROPY)
    ring = field_ring.new_ring(master, ENTROPY, 1)
    good = cbor2.loads(field_ring.dump(ring, bytes(32)))
    assert field_ring.read(cbor2.dumps(good)) == (ring, bytes(32))
    [key] = good[4]
    changes = {
        0: ["hundi-trust"], 1: [2], 2: [b"short", 7], 3: ["text"],
        4: [[], [key, key], [[b"kid", *key[1:]]], [[*key[:2], "now"]], [key[:2]], 5, [key] * 101],
    }  # fmt: skip
    for at, values in changes.items():
        for value in values:
            with pytest.raises(KeyStoreDamaged):
                field_ring.read(cbor2.dumps([*good[:at], value, *good[at + 1 :]]))
    for other in (b"", b"\xff", cbor2.dumps(7), cbor2.dumps([1])):
        with pytest.raises(KeyStoreDamaged):
            field_ring.read(other)
    with pytest.raises(KeyStoreDamaged):
        SoftwareMasterKey(b"\x01" * 32, ENTROPY).unwrap(ring.current.wrapped)
    for wrapped in (b"", bytes(24), master.wrap(b"not 32 bytes")):
        with pytest.raises(KeyStoreDamaged):
            master.unwrap(wrapped)


def test_there_is_nothing_to_rotate_before_the_first_start(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreDamaged):
        rotate(tmp_path / "keys")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KeyStoreError, match="cannot be used"):
        load(tmp_path / "file" / "keys")


def test_the_ring_is_bounded_and_every_key_in_it_opens(tmp_path: Path) -> None:
    master = SoftwareMasterKey(bytes(32), ENTROPY)
    ring = field_ring.new_ring(master, ENTROPY, 1)
    for _ in range(RING_MAX - 1):
        ring = field_ring.rotated(ring, master, ENTROPY, 2)
    assert len({one.kid for one in ring.keys}) == RING_MAX
    with pytest.raises(FieldRingFull) as caught:
        field_ring.rotated(ring, master, ENTROPY, 3)
    assert caught.value.code == "keystore.ring_full"
    assert field_ring.read(field_ring.dump(ring, bytes(32)))[0] == ring


def test_an_id_that_chance_gives_twice_is_drawn_again() -> None:
    class Doubled(SeededEntropy):
        """Gives the id that stands already, once."""

        def bytes(self, n: int) -> bytes:
            return doubles.pop() if n == 4 and doubles else super().bytes(n)

    entropy = Doubled(1)
    doubles: list[bytes] = []
    master = SoftwareMasterKey(bytes(32), entropy)
    ring = field_ring.new_ring(master, entropy, 1)
    doubles = [ring.current.kid]
    assert len({one.kid for one in field_ring.rotated(ring, master, entropy, 2).keys}) == 2
    assert doubles == []


def _first_start(home: str, gate: object, told: object) -> None:
    gate.wait()
    keys = load(Path(home))
    told.put((keys.ring.current.kid, keys.seal(SECRET, context=HERE)))


def _rotates(home: str, gate: object, told: object) -> None:
    gate.wait()
    keys = rotate(Path(home))
    told.put((keys.ring.current.kid, keys.seal(SECRET, context=HERE)))


@pytest.mark.parametrize("act", [_first_start, _rotates])
def test_processes_at_once_lose_no_key(tmp_path: Path, act: object) -> None:
    home = tmp_path / "keys"
    if act is _rotates:
        load(home)
    spawn = multiprocessing.get_context("spawn")
    gate, told = spawn.Barrier(3), spawn.Queue()
    started = [spawn.Process(target=act, args=(str(home), gate, told)) for _ in range(3)]
    for one in started:
        one.start()
    answers = [told.get(timeout=60) for _ in started]
    for one in started:
        one.join(timeout=60)
        assert one.exitcode == 0
    keys = load(home)
    assert len(keys.ring.keys) == (4 if act is _rotates else 1)
    assert {kid for kid, _ in answers} <= {one.kid for one in keys.ring.keys}
    assert [keys.open(sealed, context=HERE) for _, sealed in answers] == [SECRET] * 3


def test_a_crash_while_rotating_keeps_the_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = load(tmp_path).seal(SECRET, context=HERE)
    fired = []

    def dies(path: Path, target: Path) -> None:
        fired.append(path)
        raise OSError("power")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", dies)
        with pytest.raises(OSError, match="power"):
            rotate(tmp_path)
    assert fired == [tmp_path / "fields.key.new"]
    (tmp_path / "fields.key.new").write_bytes(b"torn")
    assert len(load(tmp_path).ring.keys) == 1
    assert rotate(tmp_path).open(sealed, context=HERE) == SECRET


@given(one=st.binary(max_size=50), other=st.binary(max_size=50))
def test_an_index_is_equal_for_equal_inputs_of_one_purpose(
    keys: SoftwareFieldKeys, one: bytes, other: bytes
) -> None:
    index = keys.blind(one, purpose="phone")
    assert len(index) == 32
    assert (index == keys.blind(other, purpose="phone")) == (one == other)
    assert index != keys.blind(one, purpose="vpa")


def test_an_index_is_of_its_home_and_outlives_a_start(tmp_path: Path) -> None:
    index = load(tmp_path / "a").blind(b"asha@upi", purpose="vpa")
    assert load(tmp_path / "a").blind(b"asha@upi", purpose="vpa") == index
    assert load(tmp_path / "b").blind(b"asha@upi", purpose="vpa") != index


def test_the_index_is_hkdf_and_hmac_as_the_rfcs_have_them(keys: SoftwareFieldKeys) -> None:
    """Computed by hand, so that another implementation can rebuild an index from the ring."""
    import hmac

    derived = hmac.digest(keys._opened.index, b"hundi-blind-1:phone" + b"\x01", "sha256")
    assert keys.blind(b"+91", purpose="phone") == hmac.digest(derived, b"+91", "sha256")


class Column:
    """A sealed column in memory, with its owner's two doors."""

    def __init__(self, keys: SoftwareFieldKeys, count: int) -> None:
        self.rows = {
            row: keys.seal(b"secret " + row, context=place("t", "c", row))
            for row in (i.to_bytes(4) for i in range(1, count + 1))
        }
        self.puts = 0

    async def page(self, after: bytes, limit: int) -> list[SealedRow]:
        later = sorted(row for row in self.rows if row > after)[:limit]
        return [
            SealedRow(row=row, sealed=self.rows[row], context=place("t", "c", row)) for row in later
        ]

    async def put(self, row: bytes, old: bytes, new: bytes) -> bool:
        self.puts += 1
        if self.rows[row] != old:
            return False
        self.rows[row] = new
        return True


async def test_a_walk_seals_again_in_bounded_steps(tmp_path: Path) -> None:
    column = Column(load(tmp_path), 25)
    keys = rotate(tmp_path)
    steps, after = [], b""
    while True:
        step = await reseal(keys, column.page, column.put, after=after, limit=10)
        steps.append((step.read, step.changed))
        if step.last is None:
            break
        after = step.last
    assert steps == [(10, 10), (10, 10), (5, 5)]
    assert not any(keys.is_stale(sealed) for sealed in column.rows.values())
    for row, sealed in column.rows.items():
        assert keys.open(sealed, context=place("t", "c", row)) == b"secret " + row
    again = await reseal(keys, column.page, column.put, limit=1_000_000)
    assert (again.read, again.changed, again.last, column.puts) == (25, 0, None, 25)


async def test_a_walk_passes_a_broken_row_and_one_that_changed_meanwhile(tmp_path: Path) -> None:
    before = load(tmp_path / "a")
    column = Column(before, 5)
    foreign = Column(load(tmp_path / "b"), 5)
    keys = rotate(tmp_path / "a")
    one, two, three, four, _ = sorted(column.rows)
    column.rows[one] = b"nonsense"
    column.rows[two] = foreign.rows[two]
    column.rows[three] = column.rows[four]
    newer = before.seal(b"newer", context=place("t", "c", four))

    async def put(row: bytes, old: bytes, new: bytes) -> bool:
        if row == four:
            column.rows[row] = newer
        return await column.put(row, old, new)

    step = await reseal(keys, column.page, put)
    assert step.broken == (one, two, three)
    assert (step.read, step.changed) == (5, 1)
    assert column.rows[four] == newer


def test_a_sealed_file_changes_its_identity_when_it_is_written(tmp_path: Path) -> None:
    file = SealedFile(tmp_path, "x.key", entropy=ENTROPY, passphrase=None)
    assert file.identity() is None
    seen = set()
    for count in range(1, 4):
        with file.held():
            file.write(b"x" * count)
        seen.add(file.identity())
    assert len(seen) == 3
    assert file.read() == b"xxx"
