"""Runs an async command to its end."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def waits(do: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a plain command of an async one."""

    @wraps(do)
    def command(*args: Any, **kwargs: Any) -> None:
        asyncio.run(do(*args, **kwargs))

    return command
