"""`hundi work --metrics-port` as a real process: its own numbers, and an orderly end."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from tests.e2e.test_programs import free_port

BIN = Path(sys.executable).parent
TICKED = 'hundi_jobs_ticks_total{name="payments.expire",outcome="done"}'


def test_a_worker_tells_its_own_numbers(database_url: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    env = os.environ | {"HUNDI_HOME": str(tmp_path), "HUNDI_DATABASE_URL": database_url}
    words = [str(BIN / "hundi"), "work", "--metrics-port", str(port)]
    worker = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = ""
    try:
        for _ in range(300):
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{url}/metrics")
                said = answer.text
            if TICKED in said:
                break
            with suppress(subprocess.TimeoutExpired):
                assert worker.wait(0.2) is None, worker.stderr.read()
        assert TICKED in said
        assert 'hundi_database_up{cell="cell0"} 1.0' in said
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert httpx.get(f"{url}/health/ready").status_code == 200
        assert httpx.get(f"{url}/intents").status_code == 404
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.communicate()
