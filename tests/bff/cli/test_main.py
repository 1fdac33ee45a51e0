"""Every line that a program says on stderr is one of JSON, whoever says it."""

import json
import subprocess
import sys

_SAYS = """
import asyncio, logging
import click, structlog
from bff.cli.main import main

@main.command()
def say():
    structlog.get_logger("ours").error("ours.said", n=1)
    logging.getLogger("some.library").warning("said %s", 2)
    async def stray():
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "stray", "exception": ValueError("x")})
    asyncio.run(stray())

main(["say"])
"""


def test_a_librarys_line_is_json_as_ours_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SAYS], capture_output=True, text=True, timeout=60, check=True
    )
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["event"] for one in said] == ["ours.said", "said 2", "stray"]
    assert [one["level"] for one in said] == ["error", "warning", "error"]
