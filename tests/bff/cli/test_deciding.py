"""`hundi voucher` and `hundi terminal`: what of offline money waits for an operator, and how it ends."""

from pathlib import Path

from offline.verdicts import Verdict
from server_core.actor import Actor, Role
from server_core.app import open_core
from server_core.settings import Settings
from server_core.terminals import service as terminals
from server_core.vouchers import jobs
from server_core.vouchers import service as vouchers
from tests.bff.cli.test_watching import hundi
from tests.server_core.vouchers.street import ACCEPTED, OPERATOR, Street


async def told(env: dict[str, str], *words: str) -> str:
    result = await hundi(env, *words)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_an_operators_day(database_url: str, tmp_path: Path) -> None:
    env = {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env)) as core:
        street = Street(core.db, core.trust)
        shop, gone = await street.shop(), await street.shop()
        late, back = await street.phone(), await street.phone()
        sold, given = late.pay(shop, 12_300), back.pay(gone, 4_500)
        gone.accept(given)
        assert await gone.sync() == [ACCEPTED]
        async with core.db.work() as work:
            await terminals.revoke(work, OPERATOR, gone.terminal.id)
            await terminals.quarantine(work, shop.terminal)
            await work.execute(
                "UPDATE allowance SET settle_until = 1 WHERE aid = $1", sold.allowance.aid
            )
        await vouchers.hand_in(core.db, core.trust, gone.void_of(given).to_text())
        await jobs.tick(core.db)
        shop.accept(sold)
        assert await shop.sync() == [Verdict.SETTLEMENT_CLOSED]  # quarantined, it drains
        merchant = Actor(party=shop.terminal.party, role=Role.MERCHANT)
        await vouchers.claim(core.db, merchant, sold.h)
    h, v, terminal = sold.h.hex(), given.h.hex(), gone.terminal.id.hex()
    assert (await told(env, "voucher", "waiting")).splitlines() == [
        f"late  {h}  123.00 INR  terminal {shop.terminal.id.hex()}",
        f"void  {v}  terminal {terminal}  returned",
    ]
    assert "by the house" in await told(env, "voucher", "decide", h, "house")
    assert "has the money back" in await told(env, "voucher", "approve-void", v, terminal)
    assert await told(env, "voucher", "waiting") == "nothing waits\n"

    aid = given.allowance.aid.hex()
    assert await told(env, "voucher", "freeze", aid) == f"{aid} is frozen\n"
    assert await told(env, "voucher", "unfreeze", aid) == f"{aid} is no longer frozen\n"
    [line] = (await told(env, "terminal", "fleet", "--state", "quarantined")).splitlines()
    assert line.startswith(f"{shop.terminal.id.hex()}  quarantined  pty_")
    assert line.endswith("synced 0 min ago  0 rows behind  1 stops behind  unsent 0")
    await told(env, "terminal", "release", shop.terminal.id.hex())
    assert await told(env, "terminal", "fleet", "--state", "quarantined") == ""

    wrong = await hundi(env, "voucher", "decide", "zz", "house")
    assert (wrong.exit_code, "64 hex digits" in wrong.output) == (2, True)
    again = await hundi(env, "voucher", "decide", h, "payer")
    assert (again.exit_code, "vouchers.claim_decided" in again.stderr) == (1, True)
