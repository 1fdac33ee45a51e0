"""The embedded PostgreSQL: joined by many, stopped by the last, found again after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server_core.db import embedded


def is_running(server: embedded.Embedded) -> bool:
    return embedded._pg_ctl(server.data, "status", check=False).returncode == 0


def test_the_last_one_out_stops_it(tmp_path: Path) -> None:
    first, second = embedded.join(tmp_path), embedded.join(tmp_path)
    assert first.url == second.url
    first.release()
    assert is_running(second)
    second.release()
    assert not is_running(second)


def test_a_postmaster_that_outlived_its_user_is_joined_and_stopped(tmp_path: Path) -> None:
    program = (
        "import sys, signal, pathlib; from server_core.db import embedded;"
        "embedded.join(pathlib.Path(sys.argv[1])); print('up', flush=True); signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "up\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    pid = (tmp_path / "pg" / "postmaster.pid").read_text().splitlines()[0]
    server = embedded.join(tmp_path)
    assert (tmp_path / "pg" / "postmaster.pid").read_text().splitlines()[0] == pid
    server.release()
    assert not is_running(server)


def test_a_half_made_folder_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pg.new").mkdir()
    (tmp_path / "pg.new" / "rest").write_text("of a killed initdb")
    server = embedded.join(tmp_path)
    assert is_running(server)
    server.release()


def test_another_version_is_said_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "PG_VERSION").write_text("15\n")
    with pytest.raises(embedded.EmbeddedError, match="made by PostgreSQL 15"):
        embedded.join(tmp_path)


def test_the_socket_folder_is_ours_alone(tmp_path: Path) -> None:
    folder = embedded.socket_folder(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / ".s.PGSQL.5432")) < 107
