"""Runs the commands as a shell does, with two homes and a server."""

import json
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from edge_agent.cli import main
from tests.edge_agent.server_http import RunningServer


@dataclass
class Shell:
    """Runs `hundi-edge` with two homes and a server."""

    folder: Path
    server: RunningServer

    def run(self, *words: str, code: int = 0, given: str | None = None) -> str:
        result = CliRunner().invoke(main, list(words), input=given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.stdout

    def do(self, role: str, *words: str, code: int = 0, home: str | None = None) -> dict:
        place = str(self.folder / (home or role))
        out = self.run(role, *words, "--home", place, "--json", code=code)
        return json.loads(out)

    def command(self, *words: str, code: int = 0, home: str = "terminal") -> dict:
        """Run a command that belongs to no role."""
        out = self.run(*words, "--home", str(self.folder / home), "--json", code=code)
        return json.loads(out)

    def terminal(self, *words: str, code: int = 0, home: str | None = None) -> dict:
        return self.do("terminal", *words, code=code, home=home)

    def payer(self, *words: str, code: int = 0) -> dict:
        return self.do("payer", *words, code=code)

    def enrol_terminal(self) -> dict:
        self.server.side.codes.add("CODE-1")
        pairing = f"HUNDI-PAIR:CODE-1:{self.server.side.fingerprint()}"
        return self.terminal("enrol", pairing, "--server", self.server.url)

    def enrol_payer(self) -> None:
        token = self.server.side.token
        self.payer("enrol", "--server", self.server.url, "--token", token, "--label", "phone")
        self.payer("allowance", "--token", token)
