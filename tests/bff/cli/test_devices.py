"""`hundi devices`: what a payer linked, and the tier that an operator gives it."""

from pathlib import Path

from server_core.app import open_core
from server_core.ids import public
from server_core.settings import Settings
from tests.bff.cli.test_watching import hundi
from tests.server_core.vouchers.street import Street


async def test_an_operator_lists_and_judges_devices(database_url: str, tmp_path: Path) -> None:
    env = {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    async with open_core(Settings.read(env)) as core:
        street = Street(core.db, core.trust)
        actor = await street.payer()
        owner = public("pty", actor.party)
        assert (await hundi(env, "devices", "list", owner)).stdout == "no device is linked\n"
        _, made = await street.link(actor, tier="software")
    device = public("dev", made)
    seen = ("--evidence", "its chip's certificate, order 7")
    assert (
        await hundi(env, "devices", "tier", device, "tee", *seen)
    ).stdout == f"{device} is tee\n"
    again = await hundi(env, "devices", "tier", device, "tee", *seen)
    assert (again.exit_code, again.stdout) == (0, f"{device} is tee, as it was\n")
    [line] = (await hundi(env, "devices", "list", owner)).stdout.splitlines()
    assert line.startswith(f"{device}  tee  linked 20")
    assert line.endswith("  phone")
    unproved = await hundi(env, "devices", "tier", device, "software", "--evidence", " ")
    assert (unproved.exit_code, "linking.evidence" in unproved.stderr) == (1, True)
    for words in ((device, "tpm", *seen), (device, "tee")):
        assert (await hundi(env, "devices", "tier", *words)).exit_code == 2
