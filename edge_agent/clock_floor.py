"""The terminal's time: the wall clock, held up from below by the last beacon and the monotonic clock."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices.clock import Clock
from devices.entropy import Entropy

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id(entropy: Entropy) -> str:
    """Name this start of the machine: monotonic readings of one name compare, of two names do not.

    Where the system has no such name, each process is a start of its own: safe, since what was
    measured before then counts as run out.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return entropy.bytes(16).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorMark:
    """The floor as it is stored with a commit."""

    floor_ms: int | None
    boot: str | None
    monotonic_ms: int | None


class ClockFloor:
    """now = max(wall, floor); floor = the last beacon + what the monotonic clock has counted since."""

    __slots__ = ("_at_ms", "_clock", "_floor_ms", "boot")

    def __init__(self, clock: Clock, boot: str, mark: FloorMark) -> None:
        self._clock = clock
        self.boot = boot
        self._floor_ms = mark.floor_ms
        # After a new start the stored floor still holds from below; time since then is not known.
        same = mark.boot == boot and mark.monotonic_ms is not None
        self._at_ms = mark.monotonic_ms if same else clock.monotonic_ms()

    def floor_ms(self) -> int | None:
        if self._floor_ms is None or self._at_ms is None:
            return None
        return self._floor_ms + max(0, self._clock.monotonic_ms() - self._at_ms)

    def now_s(self) -> int:
        return max(self._clock.now_ms(), self.floor_ms() or 0) // 1000

    def monotonic_ms(self) -> int:
        return self._clock.monotonic_ms()

    def trusted(self, *, behind_s: int, ahead_s: int) -> bool:
        """Whether there was a beacon and the wall clock is near enough to what it led to.

        The wall may run ahead by a night without current or in sleep, which the monotonic clock does
        not count; that can only refuse early. Behind, it would take what has run out: little leeway.
        """
        floor_ms = self.floor_ms()
        if floor_ms is None:
            return False
        return -behind_s * 1000 <= self._clock.now_ms() - floor_ms <= ahead_s * 1000

    def replace(self, beacon_s: int) -> None:
        """Take a beacon over, also downwards."""
        self._floor_ms = beacon_s * 1000
        self._at_ms = self._clock.monotonic_ms()

    def mark(self) -> FloorMark:
        floor_ms = self.floor_ms()
        if floor_ms is None:
            return FloorMark(floor_ms=None, boot=None, monotonic_ms=None)
        return FloorMark(floor_ms=floor_ms, boot=self.boot, monotonic_ms=self._clock.monotonic_ms())
