"""A SoftHSM of the tests' own: Debian's module, with its own files."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest

from devices.keystore.tokens import LOGINS

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "735194"


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SoftHSM of this run: the module reads its configuration once, when it is loaded."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    yield folder / "tokens"
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture
def token(tokens: Path, request: pytest.FixtureRequest) -> str:
    label = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    subprocess.run(
        [
            "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "0000", "--pin", PIN,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    LOGINS.clear()
    pkcs11.lib(str(MODULE)).reinitialize()
    return label
