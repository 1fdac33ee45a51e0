"""The demo's stage: who is there, which programs run, and the acts that the story is made of."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from bff.cli.demo_browser import BrowserPayer
from bff.cli.population import Person
from bff.cli.processes import Processes, call
from offline import qr
from offline.wire import SignedVoucher
from server_core.parties.model import Party
from server_core.settings import Settings

PEOPLE = (
    Person(name="Asha", bank="asha@okbank", funds=500_000),
    Person(name="Ravi", bank="ravi@okbank", funds=300_000),
    Person(name="Kabir", bank="kabir@okbank", funds=300_000),
)
BROWSER_PAYER = Person(name="Meera", bank="meera@okbank", funds=100_000)
TERMINALS = {"T1": "Chai Point", "T2": "Chai Point", "T3": "Kirana Corner"}
PAID = "OV_ACCEPTED"
CONFIRM = (
    "mutation($i: ConfirmPaymentInput!) { confirmPayment(input: $i)"
    " { payment { id state } userErrors { code message } } }"
)
CREATE = (
    "mutation($i: CreatePaymentInput!) { createPayment(input: $i)"
    " { payment { id state } userErrors { code message } } }"
)


@dataclass(slots=True)
class Line:
    """One voucher at one terminal, as the terminal and then the server saw it."""

    what: str
    payer: str
    terminal: str
    amount: int
    counter: int
    offline: str
    h: str
    server: str = "never sent"


@dataclass(slots=True)
class Story:
    """What is running, what was promised, and what did not hold."""

    settings: Settings
    programs: Processes
    console: Console
    people: dict[str, Party] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    link: str = ""
    browser: BrowserPayer | None = None
    pictures: int = 0

    @property
    def address(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    def chapter(self, title: str, proves: str) -> None:
        self.console.print(f"\n[bold]{title}[/]  [dim]{proves}[/]")

    def expect(self, what: str, *, holds: bool, seen: object = "") -> None:
        mark = "[green]✓[/]" if holds else "[bold red]✗[/]"
        self.console.print(f"  {mark} {what}" + ("" if holds else f"  [red](saw {seen})[/]"))
        if not holds:
            self.broken.append(what)

    def edge(self, *words: str, who: str | None = None) -> dict[str, Any]:
        """One `hundi-edge` command; the JSON that it answered."""
        environment = dict(self.programs.environment)
        if who is not None:
            environment["HUNDI_SESSION"] = self.tokens[who]
        done = call(environment, "hundi-edge", *words, "--json")
        try:
            answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            return {"ok": False, "code": "no answer", "message": done.stderr[-300:]}
        return answer

    def home(self, name: str) -> str:
        return str(self.settings.home / "edge" / name)

    def picture(self) -> str:
        self.pictures += 1
        folder = self.settings.home / "pictures"
        folder.mkdir(exist_ok=True)
        return str(folder / f"{self.pictures:02}.png")

    def graphql(self, who: str, query: str, **variables: object) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.address}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.tokens[who]}"},
            timeout=30,
        )
        data: dict[str, Any] = answer.json()
        return data

    # The three acts of an offline payment, each a program of its own reading pictures.

    def ask(self, terminal: str, rupees: str) -> str:
        picture = self.picture()
        self.edge("terminal", "ask", rupees, "--home", self.home(terminal), "--png", picture)
        return picture

    def sign(self, payer: str, request: str, home: str | None = None) -> tuple[str, dict[str, Any]]:
        picture = self.picture()
        said = self.edge(
            "payer", "pay", request, "--yes", "--home", self.home(home or payer), "--png", picture
        )
        return picture, said

    def accept(self, what: str, payer: str, terminal: str, picture: str) -> str:
        said = self.edge("terminal", "accept", picture, "--home", self.home(terminal))
        signed = SignedVoucher.from_text(qr.read_png(Path(picture).read_bytes()))
        self.lines.append(
            Line(
                what,
                payer,
                terminal,
                signed.voucher.amount,
                signed.voucher.counter,
                str(said["code"]),
                signed.h.hex(),
            )
        )
        return str(said["code"])

    def pay(
        self, what: str, payer: str, terminal: str, rupees: str, home: str | None = None
    ) -> str:
        """Ask, sign, accept; the voucher's picture."""
        picture, _ = self.sign(payer, self.ask(terminal, rupees), home)
        code = self.accept(what, payer, terminal, picture)
        self.expect(f"{payer} pays INR {rupees} at {terminal}: paid", holds=code == PAID, seen=code)
        return picture
