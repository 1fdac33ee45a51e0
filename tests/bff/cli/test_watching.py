"""What an operator is sent to by an alert: which payments are unclear, which terminals are silent."""

import asyncio
from pathlib import Path

import asyncpg
from click.testing import CliRunner, Result

from bff.cli.main import main
from server_core.actor import Actor, Role
from server_core.app import open_core
from server_core.ids import public
from server_core.parties import service as parties
from server_core.parties.model import Kind
from server_core.payments import service as payments
from server_core.payments.model import Confirm, Create, Method
from server_core.settings import Settings


async def hundi(env: dict[str, str], *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, list(words), env=env)


async def test_unclear_payments_are_named_with_the_rails_id(
    database_url: str, tmp_path: Path
) -> None:
    env = {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url,
           "HUNDI_UPI_URL": "http://127.0.0.1:9"}  # fmt: skip
    operator = Actor(party=None, role=Role.OPERATOR)
    async with open_core(Settings.read(env)) as core:
        async with core.db.work() as work:
            asha = await parties.add(work, operator, kind=Kind.PERSON, name="Asha")
            shop = await parties.add(work, operator, kind=Kind.MERCHANT, name="Chai", mcc="5814")
        made = await payments.create(
            core.db,
            Create(actor=Actor(party=shop.id, role=Role.MERCHANT), key="k", payee=shop.id,
                   amount=100, currency="INR"),
        )  # fmt: skip
        confirm = Confirm(
            actor=Actor(party=asha.id, role=Role.PAYER), key="k", intent=made.id,
            method=Method.UPI, instrument="asha@okbank",
        )  # fmt: skip
        sent = await core.confirmations.submit(confirm)  # its server dies before the call
        attempt = sent.attempt.id
    told = await hundi(env, "payments", "unclear")
    assert told.exit_code == 0, told.output
    name = public("pay", made.id)
    assert told.stdout.startswith(f"{name}  #1 sent over upi  0 min  HUN{attempt.hex.upper()}\n")
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    await owner.execute("UPDATE intent SET state = 'conflicted'")
    await owner.close()
    assert f"{name}  conflicted\n" in (await hundi(env, "payments", "unclear")).stdout


async def test_a_silent_terminal_is_named_and_ended(database_url: str, tmp_path: Path) -> None:
    env = {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    owner = await asyncpg.connect(database_url, server_settings={"search_path": "cell0"})
    for name, hours in (("aaaaaaaa", 50), ("bbbbbbbb", 1)):
        await owner.execute(
            "INSERT INTO terminal VALUES (decode($1, 'hex'), gen_random_uuid(), '', decode($1, 'hex'),"
            " '', '', '', 'active', 1, (extract(epoch FROM now()) * 1000)::bigint - $2::bigint)",
            name, hours * 3_600_000 + 60_000,
        )  # fmt: skip
    await owner.close()
    told = await hundi(env, "terminal", "silent")
    assert told.exit_code == 0, told.output
    [line] = told.stdout.splitlines()
    assert line.startswith("aaaaaaaa  of pty_")
    assert line.endswith("  50 hours")
    assert (await hundi(env, "terminal", "revoke", "aaaaaaaa")).exit_code == 0
    assert (await hundi(env, "terminal", "silent")).stdout == ""
    assert (await hundi(env, "terminal", "revoke", "zz")).exit_code == 2
    assert (await hundi(env, "terminal", "revoke", "00000000")).exit_code == 1
