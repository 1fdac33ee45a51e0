"""The demo's story: who does what, what must come of it, and the table at the end."""

import shutil
from dataclasses import replace
from pathlib import Path

import httpx
from rich.table import Table

from bff.cli.demo_browser import BrowserPayer
from bff.cli.demo_stage import (
    BROWSER_PAYER,
    CONFIRM,
    CREATE,
    PAID,
    PEOPLE,
    TERMINALS,
    Story,
)
from bff.cli.operator import OPERATOR
from bff.cli.population import settle_in
from bff.cli.processes import call
from offline import qr
from offline.codec import voucher_bytes
from offline.wire import SignedVoucher
from server_core.actor import Role
from server_core.app import open_core
from server_core.ids import public
from server_core.ledger import service as ledger
from server_core.parties import service as parties
from server_core.sessions import service as sessions
from server_core.terminals import service as terminals
from server_core.vouchers import service as vouchers


async def tell(story: Story) -> None:
    """The story from the first payment to the last check."""
    _start_everything(story)
    await _let_people_in(story)
    _pay_online(story)
    _prepare_for_no_network(story)
    _stop_the_server(story)
    _pay_offline(story)
    _pay_by_browser(story)
    _try_to_cheat(story)
    _clone_devices(story)
    _come_back(story)
    await _settle(story)
    await _look_at_the_books(story)


def _start_everything(story: Story) -> None:
    story.chapter("The programs", "upi-core is a process of its own, the server another")
    port = story.settings.upi_url.rpartition(":")[2]
    state = str(story.settings.home / "upi.db")
    story.programs.start("upi-core", "hundi", "sandbox", "--port", port, "--state", state)
    story.programs.start("server", "hundi", "serve")
    story.programs.wait_until_ready("upi-core", f"{story.settings.upi_url}/health")
    story.programs.wait_until_ready("server", f"{story.address}/health/ready")
    story.expect("server, workers, PostgreSQL and upi-core are up", holds=True)


async def _let_people_in(story: Story) -> None:
    story.chapter("The people", "money comes in only by top-ups through the rail")
    async with open_core(story.settings) as core:
        story.people = await settle_in(core, (*PEOPLE, BROWSER_PAYER))
        for name, party in story.people.items():
            role = Role.MERCHANT if name in TERMINALS.values() else Role.PAYER
            async with core.db.work() as work:
                story.tokens[name] = await sessions.issue(
                    work, core.entropy, OPERATOR, party=party.id, role=role, assurance=2
                )
        async with core.db.work() as work:
            code = await sessions.link(
                work, core.entropy, OPERATOR,
                party=story.people[BROWSER_PAYER.name].id, role=Role.PAYER, assurance=2,
            )  # fmt: skip
            story.link = f"{story.settings.origin}/web/link/#{code}"
        pairings = {}
        for terminal, shop in TERMINALS.items():
            async with core.db.work() as work:
                pairings[terminal] = await terminals.pair(
                    work, core.entropy, core.trust, OPERATOR, merchant=story.people[shop].id
                )
    story.expect(
        "Asha, Ravi, Kabir and Meera topped up by UPI: 5,000 + 3,000 + 3,000 + 1,000", holds=True
    )
    for terminal, pairing in pairings.items():
        said = story.edge(
            "terminal", "enrol", pairing, "--server", story.address, "--home", story.home(terminal)
        )
        story.expect(
            f"{terminal} is a terminal of {TERMINALS[terminal]}", holds=said["ok"], seen=said
        )


def _pay_online(story: Story) -> None:
    story.chapter(
        "Online", "intent → confirm over two rails; the same key again pays nothing twice"
    )
    for method, extra in (("UPI", {"payerVpa": "asha@okbank"}), ("BOOK", {})):
        payee = public("pty", story.people["Chai Point"].id)
        made = story.graphql(
            "Chai Point",
            CREATE,
            i={"idempotencyKey": f"sale-{method}", "payeeId": payee, "amount": "25000"},
        )
        intent = made["data"]["createPayment"]["payment"]["id"]
        command = {"idempotencyKey": f"pay-{method}", "id": intent, "method": method} | extra
        for again in ("", " (repeated with its key: the same answer)"):
            paid = story.graphql("Asha", CONFIRM, i=command)
            state = (paid.get("data") or {}).get("confirmPayment", {}).get("payment") or {}
            story.expect(
                f"Asha pays INR 250 by {method}: succeeded{again}",
                holds=state.get("state") == "SUCCEEDED",
                seen=paid,
            )


def _prepare_for_no_network(story: Story) -> None:
    story.chapter(
        "Allowances", "set aside on the server now, so that it can be spent with no network"
    )
    for person in PEOPLE:
        name, home = person.name, story.home(person.name)
        story.edge("payer", "enrol", "--server", story.address, "--home", home, who=name)
        for rupees, holds in (("2000", "vouchers.over_limit"), ("1000", "edge.allowance_taken")):
            said = story.edge(
                "payer", "allowance", "--total", rupees, "--each", "500", "--home", home, who=name
            )
            done = "may spend" if said["ok"] else "is refused, by a key in a file,"
            story.expect(
                f"{name} {done} INR {rupees} offline", holds=said["code"] == holds, seen=said
            )
    if not BrowserPayer.possible():
        story.console.print("  [dim]no Chromium here: Meera, who pays by browser, is left out[/]")
        return
    story.browser = BrowserPayer(story.settings.home / "browser", story.settings.origin)
    left = story.browser.take(story.link, "500")
    story.expect("Meera may spend INR 500 from her browser", holds=left == "₹500.00", seen=left)


def _stop_the_server(story: Story) -> None:
    story.chapter("The network is gone", "the server is stopped, not only unreachable")
    story.programs.stop("server")
    try:
        httpx.get(f"{story.address}/health/live", timeout=1)
        gone = False
    except httpx.TransportError:
        gone = True
    story.expect("nothing answers at the server's address", holds=gone)


def _pay_offline(story: Story) -> None:
    story.chapter("Offline", "QR pictures written to disk and read back from their pixels")
    first = story.pay("honest", "Asha", "T1", "150")
    story.pay("honest", "Asha", "T2", "80.50")
    story.pay("honest", "Asha", "T3", "200")
    code = story.accept("shown again", "Asha", "T2", first)
    story.expect(
        "the same voucher at the other terminal of the shop: refused",
        holds=code == "OV_PAYEE_MISMATCH",
        seen=code,
    )
    code = story.accept("shown again", "Asha", "T1", first)
    story.expect(
        "the same voucher at the same terminal: known, not paid again",
        holds=code == "OV_ALREADY_ACCEPTED",
        seen=code,
    )


def _pay_by_browser(story: Story) -> None:
    if story.browser is None:
        return
    request, picture = story.ask("T2", "90"), story.picture()
    said = story.browser.pay(Path(request), Path(picture))
    code = story.accept("browser", "Meera", "T2", picture)
    story.expect(
        f"Meera's browser, started with no server, signs {said}: paid at T2",
        holds=code == PAID,
        seen=code,
    )


def _try_to_cheat(story: Story) -> None:
    story.chapter("Cheating on the way", "what was signed cannot be changed")
    picture, _ = story.sign("Asha", story.ask("T1", "100"))
    signed = SignedVoucher.from_text(qr.read_png(Path(picture).read_bytes()))
    flipped = bytes([signed.sig_v[0] ^ 1]) + signed.sig_v[1:]
    raised = voucher_bytes(replace(signed.voucher, amount=40_000, cum=signed.voucher.cum + 30_000))
    for what, fake, verdict in (
        ("one bit flipped", _signed(signed, sig_v=flipped), "OV_VOUCHER_SIGNATURE"),
        ("amount raised", _signed(signed, voucher_raw=raised), "OV_AMOUNT_MISMATCH"),
    ):
        forged = story.picture()
        Path(forged).write_bytes(qr.png(fake.to_text()))
        code = story.accept(what, "Asha", "T1", forged)
        story.expect(f"{what}: refused", holds=code == verdict, seen=code)
    code = story.accept("honest", "Asha", "T1", picture)
    story.expect("the true voucher, after both: paid", holds=code == PAID, seen=code)


def _signed(
    signed: SignedVoucher, *, voucher_raw: bytes | None = None, sig_v: bytes | None = None
) -> SignedVoucher:
    return SignedVoucher.of(
        signed.kid,
        signed.allowance_raw,
        signed.sig_a,
        voucher_raw or signed.voucher_raw,
        sig_v or signed.sig_v,
    )


def _clone_devices(story: Story) -> None:
    story.chapter(
        "A cloned device",
        "a copied software key can sign twice; offline nobody can see it: said, not hidden",
    )
    for cheat, first, second in (("Ravi", "T1", "T3"), ("Kabir", "T3", "T1")):
        shutil.copytree(story.home(cheat), story.home(f"{cheat}-clone"))
        story.pay("original", cheat, first, "120")
        story.pay("clone", cheat, second, "140", home=f"{cheat}-clone")
        mine, other = story.lines[-2:]
        story.expect(
            f"{cheat}'s device and its clone signed the same counter {mine.counter} at two shops",
            holds=mine.counter == other.counter and mine.h != other.h,
        )


def _come_back(story: Story) -> None:
    story.chapter("The network is back", "the same data, the same keys")
    story.programs.start("server", "hundi", "serve")
    story.programs.wait_until_ready("server", f"{story.address}/health/ready")
    story.expect("the server is up again", holds=True)


async def _settle(story: Story) -> None:
    story.chapter(
        "Settlement", "first seen wins; a repeat settles nothing; evidence freezes the payer"
    )
    for terminal, again, settled, lost in (
        ("T3", "", 3, 0),
        ("T1", "", 2, 2),
        ("T1", " again", 0, 0),
        ("T2", "", 1 if story.browser is None else 2, 0),
    ):
        said = story.edge("terminal", "sync", "--home", story.home(terminal))
        verdicts = [one["result"] for one in said.get("refused") or []]
        story.expect(
            f"{terminal} syncs{again}: {settled} settled, {lost} came second",
            holds=(said.get("settled_count"), verdicts) == (settled, ["OV_DOUBLE_SPEND"] * lost),
            seen=said,
        )
    async with open_core(story.settings) as core, core.db.reader() as reader:
        report = {row.h.hex(): row for row in await vouchers.report(reader)}
        frozen = await vouchers.frozen_payers(reader)
        evidence = await vouchers.evidence(reader)
    for line in story.lines:
        if line.offline == PAID and line.h in report:
            line.server = str(report[line.h].verdict)
    seen_as = {(line.payer, line.what): line.server for line in story.lines}
    expected = {
        ("Asha", "honest"): PAID,
        ("Ravi", "original"): "OV_DOUBLE_SPEND",
        ("Ravi", "clone"): PAID,
        ("Kabir", "original"): PAID,
        ("Kabir", "clone"): "OV_DOUBLE_SPEND",
    } | ({} if story.browser is None else {("Meera", "browser"): PAID})
    for (payer, what), verdict in expected.items():
        seen = seen_as[payer, what]
        story.expect(f"{payer}, {what}: {verdict}", holds=seen == verdict, seen=seen)
    cheats = {story.people[name].id for name in ("Ravi", "Kabir")}
    story.expect("Ravi and Kabir are frozen, Asha is not", holds=frozen == cheats, seen=frozen)
    pairs = {(line.payer, line.h) for line in story.lines if line.payer in {"Ravi", "Kabir"}}
    kept = {h.hex() for one in evidence for h in (one.h, one.other)}
    story.expect(
        "the server keeps both signed payloads of each as evidence",
        holds={h for _, h in pairs} <= kept,
        seen=kept,
    )


async def _look_at_the_books(story: Story) -> None:
    story.chapter("The books", "every law of the ledger, on the live database")
    done = call(story.programs.environment, "hundi", "ledger", "verify")
    story.expect(
        done.stdout.strip() or "ledger verify", holds=done.returncode == 0, seen=done.stderr
    )
    async with open_core(story.settings) as core, core.db.reader() as reader:
        shops = {}
        for name in sorted(set(TERMINALS.values())):
            account = parties.money_account(story.people[name], "INR")
            shops[name] = (await ledger.balances(reader, [account]))[account].balance
    online = {"Chai Point": 50_000}
    for name, balance in shops.items():
        settled = sum(
            line.amount
            for line in story.lines
            if line.server == PAID and TERMINALS[line.terminal] == name
        )
        story.expect(
            f"{name} is owed INR {balance / 100:,.2f}: online and settled vouchers, to the paisa",
            holds=balance == settled + online.get(name, 0),
            seen=settled,
        )
    story.console.print(_table(story))


def _table(story: Story) -> Table:
    table = Table(title="Every voucher, verdict and rupee", title_justify="left")
    for heading in ("payer", "what", "at", "no.", "INR", "offline", "at the server", "settled INR"):
        table.add_column(heading, justify="right" if "INR" in heading else "left", no_wrap=True)
    total = 0
    for line in story.lines:
        settled = line.amount if line.server == PAID and line.offline == PAID else 0
        total += settled
        table.add_row(
            line.payer,
            line.what,
            line.terminal,
            str(line.counter),
            f"{line.amount / 100:,.2f}",
            line.offline,
            line.server,
            f"{settled / 100:,.2f}",
        )
    table.add_section()
    table.add_row("", "", "", "", "", "", "", f"{total / 100:,.2f}")
    return table
