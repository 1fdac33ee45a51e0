"""Every wrong input is named, changes nothing, and is never a traceback."""

import json
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.store import schema
from tests.edge_agent.shell import Shell
from tests.edge_agent.world import World, content


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["terminal", "ask", "0"], 2, "edge.amount_invalid"),
        (["terminal", "ask", "--", "-5"], 2, "edge.amount_invalid"),
        (["terminal", "ask", "1e2"], 2, "edge.amount_invalid"),
        (["terminal", "ask", "1.005"], 2, "edge.amount_invalid"),
        (["terminal", "ask", "9" * 30], 2, "edge.amount_invalid"),
        (["terminal", "ask", "500.01"], 1, "OV_OVER_VOUCHER_LIMIT"),
        (["terminal", "accept", ""], 1, "OV_MALFORMED"),
        (["terminal", "accept", "OV1V:\x00"], 1, "OV_MALFORMED"),
        (["terminal", "accept", "x" * 5_000], 1, "OV_MALFORMED"),
        (["terminal", "accept", "missing.png"], 2, "edge.file_missing"),
        (["terminal", "accept", "PICTURE"], 2, "edge.picture_refused"),
        (["terminal", "accept", "BLANK"], 2, "edge.picture_refused"),
        (["terminal", "void", "OV1V:%%%"], 1, "OV_MALFORMED"),
        (["terminal", "cancel"], 2, "edge.no_open_request"),
        (["terminal", "cancel", "--nonce", "zz"], 2, "edge.nonce_malformed"),
        (["payer", "pay", "OV1R:AAAA", "--yes"], 1, "OV_MALFORMED"),
        (["payer", "pay", "PICTURE", "--yes"], 2, "edge.picture_refused"),
        (["payer", "keep", "OV1P:"], 1, "OV_MALFORMED"),
        (["payer", "allowance", "--token", "t", "--each", "5", "--total", "1"], 2, "edge.amount_invalid"),
        (["payer", "allowance", "--token", "t"], 2, "edge.allowance_held"),
        (["payer", "witness", "--token", "bad\ttoken"], 2, "edge.token_invalid"),
        (["payer", "surrender", "--token", "wrong"], 2, "sessions.unknown"),
    ],
)  # fmt: skip
def test_wrong_input_is_named_and_changes_nothing(
    ready: Shell, world: World, tmp_path: Path, words: list[str], code: int, named: str
):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 100)
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    stand_in = {"PICTURE": str(tmp_path / "broken.png"), "BLANK": str(tmp_path / "blank.png")}
    role, *rest = [stand_in.get(word, word) for word in words]
    db = world.database(f"{role}/{role}", schema.TERMINAL if role == "terminal" else schema.PAYER)
    before = content(db)
    if "--" in rest:
        at = rest.index("--")
        place = ["--home", str(ready.folder / role), "--json"]
        said = json.loads(ready.run(role, *rest[:at], *place, *rest[at:], code=code))
    else:
        said = ready.do(role, *rest, code=code)
    assert said["code"] == named
    assert said["ok"] is False
    if words[1] != "surrender":
        assert content(db) == before
