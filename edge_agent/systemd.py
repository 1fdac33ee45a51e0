"""What systemd is told: ready, alive, stopping. A datagram to NOTIFY_SOCKET (sd_notify(3)); without one, nothing."""

import os
import socket
from collections.abc import Mapping
from typing import Final, Self

from devices.clock import Clock

_SECOND_US: Final = 1_000_000


class Notifier:
    """Sends states to the service manager that started this process, if one did."""

    __slots__ = ("_address", "_socket", "every_s")

    def __init__(self, address: str | None, every_s: float | None) -> None:
        self.every_s = every_s
        """How often the watchdog wants to be told, in seconds: half of its time; None without one."""
        self._address = address
        self._socket: socket.socket | None = None
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int | None = None) -> Self:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and address.startswith("@"):
            address = "\0" + address[1:]
        time_us = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", "") in {"", str(pid or os.getpid())}
        watched = mine and time_us.isdecimal() and int(time_us) > 0
        return cls(address, int(time_us) / _SECOND_US / 2 if watched else None)

    def tell(self, *states: str) -> None:
        """Send states such as READY=1. A manager that does not listen stops no sale."""
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(states).encode(), self._address)
        except OSError:
            return

    async def beat(self, clock: Clock) -> None:
        """Tell the watchdog that the loop turns, for ever: a terminal that hangs is started anew."""
        while self.every_s is not None:
            self.tell("WATCHDOG=1")
            await clock.sleep(self.every_s)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
