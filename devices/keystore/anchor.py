"""Counters anchored in a TPM 2.0: an index of its memory that only goes forward.

The index is of the type `extend`: each step makes it SHA-256(what it was ‖ what is added), and nothing
takes a step back. It is more than a counter of the TPM: two files that were both written for the same
number, one of them before a crash, would both fit a counter, and each could sign. Of an extended value
only the file whose steps these were fits. Whoever clears the TPM or makes the index anew begins at
another value, since the first step is chance that is told nobody.

Debian's `tpm2-tools` are driven as programs: no binding of theirs to Python installs without a
compiler. Source: TCG TPM 2.0 Library, Part 1 section 37 (NV), Part 3 TPM2_NV_Extend.
"""

import os
import re
import shutil
import subprocess
import tempfile
from typing import Any, Final, Protocol

from devices.entropy import Entropy
from devices.keystore.port import KeyStoreDamaged, KeyStoreError
from offline.signing import sha256

_SIZE: Final = 32
_TIMEOUT_S: Final = 30
_FIRST_INDEX: Final = 0x0180_0000  # of the owner's range: TCG registry of handles
_INDICES: Final = 0x0040_0000
_ATTRIBUTES: Final = "authread|authwrite|no_da|nt=extend"
# A name that comes with a file must not load a library of somebody's choice.
_ROADS: Final = re.compile(r"(device:/dev/tpm(rm)?\d+|(swtpm|mssim|tabrmd)(:[\x21-\x7e]*)?)")
_CODE: Final = re.compile(r"\((0x[0-9A-Fa-f]+)\)")
_OTHER_TPM: Final = {"0x18b", "0x14a", "0x98e", "0x9a2"}  # no index, never written, another's auth


class Anchor(Protocol):
    """A value of 32 bytes in hardware that goes forward by what is added and never back."""

    def value(self) -> bytes: ...

    def extend(self, digest: bytes) -> None:
        """Make the value `following(value, digest)`, durably."""
        ...


def following(value: bytes, digest: bytes) -> bytes:
    """What a value becomes when `digest` is added (TPM2_NV_Extend under SHA-256)."""
    return sha256(value + digest)


class TpmAnchor:
    """One NV index of one TPM; `tcti` is the road to it, as tpm2-tools write it (tpm2-tss, tctildr)."""

    __slots__ = ("_auth", "_index", "_tcti")

    def __init__(self, *, tcti: str, index: int, auth: bytes) -> None:
        self._tcti = tcti
        self._index = f"{index:#010x}"
        self._auth = auth

    @classmethod
    def named(cls, tpm: str, entropy: Entropy) -> dict[str, Any]:
        """Name a new index of a TPM that answers: a device such as /dev/tpmrm0, or a TCTI.

        Raises KeyStoreError.
        """
        place = int.from_bytes(entropy.bytes(4)) % _INDICES
        tcti = f"device:{tpm}" if tpm.startswith("/") else tpm
        try:
            made = cls.read_name({"tcti": tcti, "index": _FIRST_INDEX + place})
        except ValueError as e:
            raise KeyStoreError(
                "the TPM is a device such as /dev/tpmrm0, or a TCTI: device:, swtpm:, mssim:, tabrmd:"
            ) from e
        _run(tcti, "tpm2_getcap", "properties-fixed")
        return made

    @staticmethod
    def read_name(said: dict[str, Any]) -> dict[str, Any]:
        """Read what `named` gave, from a file. Raises ValueError, KeyError, TypeError."""
        tcti, index = said["tcti"], said["index"]
        if not _ROADS.fullmatch(tcti) or not 0 <= index - _FIRST_INDEX < _INDICES:
            raise ValueError("no road to a TPM and no index of its owner's")
        return {"tcti": tcti, "index": index}

    def define(self, entropy: Entropy) -> None:
        """Make the index, and its first step one of chance."""
        words = ("-C", "o", "-g", "sha256", "-s", str(_SIZE), "-a", _ATTRIBUTES, "-p", "file:-")
        self._run("tpm2_nvdefine", *words)
        self.extend(entropy.bytes(_SIZE))

    def value(self) -> bytes:
        found = self._run("tpm2_nvread", "-C", self._index, "-P", "file:-")
        if len(found) != _SIZE:
            raise KeyStoreError("the TPM's index is of another size")
        return found

    def extend(self, digest: bytes) -> None:
        with tempfile.NamedTemporaryFile() as data:
            data.write(digest)
            data.flush()
            self._run("tpm2_nvextend", "-C", self._index, "-P", "file:-", "-i", data.name)

    def _run(self, name: str, *words: str) -> bytes:
        # The index's secret goes by the tool's input, where no other user sees it.
        return _run(
            self._tcti, name, *words, self._index, given=b"hex:" + self._auth.hex().encode()
        )


def _run(tcti: str, name: str, *words: str, given: bytes = b"") -> bytes:
    """Run a tool within a bound, and say in our words what it refused."""
    program = shutil.which(name)
    if program is None:
        raise KeyStoreError(f"{name} is missing: install tpm2-tools")
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours, the TCTI was read strictly
            [program, *words],
            input=given,
            env=os.environ | {"TPM2TOOLS_TCTI": tcti, "TSS2_LOG": "all+none"},
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise KeyStoreError(f"the TPM did not answer {name} in {_TIMEOUT_S} s") from e
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace")
    codes = [code.lower() for code in _CODE.findall(said)]
    if _OTHER_TPM.intersection(codes):
        raise KeyStoreDamaged(
            "this TPM does not hold the anchor of these counters: it was cleared, or is another"
        )
    raise KeyStoreError(f"the TPM failed at {name}: {codes[0] if codes else said[-200:].strip()}")
