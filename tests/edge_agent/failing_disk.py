"""A disk that takes no fsync: from now on the kernel answers EIO to this thread, and nothing undoes it.

A seccomp filter, since it needs no compiler, no package and no root, and fires whichever of the two calls
SQLite was built with. It belongs to the thread that installs it: run a fault in a thread, or in a process
that ends with it.
"""

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The architecture as seccomp names it, and its numbers of fdatasync and fsync.
_CALLS = {"x86_64": (0xC000003E, 75, 74), "aarch64": (0xC00000B7, 83, 82)}
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_EIO, _ALLOW = 0x00050005, 0x7FFF0000
KNOWN = platform.system() == "Linux" and platform.machine() in _CALLS


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def fail_syncs() -> None:
    """Make every fsync and fdatasync of this thread fail, and see that it does."""
    machine, fdatasync, fsync = _CALLS[platform.machine()]
    steps = (
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 4, machine),
        (_LOAD, 0, 0, 0),
        (_EQUAL, 1, 0, fdatasync),
        (_EQUAL, 0, 1, fsync),
        (_RETURN, 0, 0, _EIO),
        (_RETURN, 0, 0, _ALLOW),
    )
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(
        _SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "this kernel takes no seccomp filter")
    assert all(_fails(call) for call in (os.fsync, os.fdatasync)), "the fault does not fire"


def _fails(call: Callable[[int], None]) -> bool:
    try:
        call(1)
    except OSError as e:
        return e.errno == errno.EIO
    return False


def on_a_failing_disk(run: Callable[[], object]) -> Exception | None:
    """Run in a thread whose syncs fail; give what it raised."""
    raised: list[Exception] = []

    def body() -> None:
        fail_syncs()
        try:
            run()
        except Exception as e:  # noqa: BLE001 - whatever it was is what the test asks about
            raised.append(e)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `hundi-edge` in a process whose disk fails."""
    return _python(
        "from edge_agent import cli\n"
        "from tests.edge_agent.failing_disk import fail_syncs\n"
        "fail_syncs()\n"
        "cli.main()\n",
        *words,
        "--json",
    )


def killed_accept(home: Path, voucher: str) -> subprocess.CompletedProcess[str]:
    """Accept in a process whose disk fails after a first commit, and which is killed at once.

    The failed commit then stands in the log, whole, behind one that the disk took.
    """
    return _python(
        "import os, pathlib, signal, sys\n"
        "from edge_agent.accepting import accept\n"
        "from edge_agent.errors import AgentError\n"
        "from edge_agent.home import Home\n"
        "from tests.edge_agent.failing_disk import fail_syncs\n"
        "with Home(root=pathlib.Path(sys.argv[1])).terminal() as terminal:\n"
        "    with terminal.store.db.write() as c:\n"
        "        c.execute('UPDATE sync_state SET floor_ms = floor_ms + 1')\n"
        "    fail_syncs()\n"
        "    try:\n"
        "        print(accept(terminal, sys.argv[2]).paid)\n"
        "    except AgentError as e:\n"
        "        print(e.message, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
        str(home),
        voucher,
    )


def _python(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, text=True, check=False, timeout=30, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
