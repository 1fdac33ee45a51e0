"""A sandbox that really listens, in a thread of its own, for tests of it and of its callers."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devices.clock import Clock
from server_core.sandbox.app import create_app, make_server
from server_core.sandbox.model import Behaviour

PROMPT = Behaviour(latency_median_ms=0)


@contextmanager
def sandbox(
    behaviour: Behaviour = PROMPT,
    *,
    path: Path | None = None,
    clock: Clock | None = None,
    callback_key: bytes | None = None,
) -> Iterator[str]:
    """Its address; stopped, and waited for, after."""
    ready: queue.Queue[str] = queue.Queue()
    app = create_app(behaviour=behaviour, state_path=path, clock=clock, callback_key=callback_key)
    server, listening = make_server(app, "127.0.0.1", 0, ready=ready.put)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield ready.get(timeout=20)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
        assert not thread.is_alive()
