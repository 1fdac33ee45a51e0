"""`hundi keys`: says what the ring is and rotates it, without a database and without a secret."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from bff.cli.main import main
from devices.clock import SystemClock
from devices.entropy import SystemEntropy
from devices.keystore import fields


def hundi(home: Path, *words: str, passphrase: str | None = None) -> Result:
    environment = {
        "HUNDI_HOME": str(home),
        "HUNDI_KEYS_PASSPHRASE": passphrase,
        "HUNDI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    return CliRunner().invoke(main, list(words), env=environment)


def first_start(home: Path, passphrase: str | None = None) -> fields.SoftwareFieldKeys:
    return fields.load(
        home / "keys", entropy=SystemEntropy(), clock=SystemClock(), passphrase=passphrase
    )


def test_to_look_makes_nothing(tmp_path: Path) -> None:
    told = hundi(tmp_path, "keys", "status")
    assert (told.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert "holds no field keys yet" in told.stdout


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_rotation_is_listed_and_the_old_key_opens(tmp_path: Path, passphrase: str | None) -> None:
    server = first_start(tmp_path, passphrase)
    old = server.seal(b"secret", context=b"here")
    rotated = hundi(tmp_path, "keys", "rotate-fields", passphrase=passphrase)
    told = hundi(tmp_path, "keys", "status", passphrase=passphrase)
    assert (rotated.exit_code, told.exit_code) == (0, 0)
    assert told.stdout.endswith(rotated.stdout)
    first, second = re.findall(r"^([0-9a-f]{8})  made \S+\+00:00  (.*)$", told.stdout, re.MULTILINE)
    assert (first[1], second[1]) == ("opens only", "seals and opens")
    assert old[1:5].hex() == first[0]
    assert server.is_stale(old)
    assert server.seal(b"secret", context=b"here")[1:5].hex() == second[0]
    assert "2 of at most 100 keys" in told.stdout
    assert ("machine.key" in told.stdout) == (passphrase is None)


def test_a_wrong_passphrase_is_one_line_and_exit_1(tmp_path: Path) -> None:
    first_start(tmp_path, "correct horse")
    for words in (("keys", "status"), ("keys", "rotate-fields")):
        told = hundi(tmp_path, *words, passphrase="wrong")
        assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
        assert told.stderr.startswith("hundi: the passphrase does not open this key")
    assert len(first_start(tmp_path, "correct horse").ring.keys) == 1


async def test_limits_reach_the_bundle_by_a_command(database_url: str, tmp_path: Path) -> None:
    env = {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    first = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "policy"], env=env)
    assert first.exit_code == 0, first.output
    assert first.stdout.endswith("bundle 1\nno change\n")
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    await owner.execute(
        "INSERT INTO limit_profile VALUES ('offline', 'exposure_hard', 600000, 'minor', 1, 'a test')"
    )
    await owner.close()
    told = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "policy"], env=env)
    assert "600000 unsynced (minor units)\nbundle 2\nrestart the servers" in told.stdout
    early = await asyncio.to_thread(CliRunner().invoke, main, ["keys", "rotate-issuer"], env=env)
    assert (early.exit_code, "trust.next_too_young" in early.stderr) == (1, True)
