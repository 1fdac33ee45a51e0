"""What a process takes of the machine: sampled from /proc, with the slope of its memory."""

from dataclasses import dataclass, field
from pathlib import Path

from devices.clock import SystemClock

CLOCK = SystemClock()


@dataclass(slots=True)
class Watched:
    """One life of one process; a restart begins another."""

    name: str
    pid: int
    samples: list[tuple[float, float, int]] = field(default_factory=list)

    def sample(self) -> None:
        """Seconds, MB resident, open files; a process that is gone has none."""
        proc = Path("/proc") / str(self.pid)
        try:
            said = (proc / "status").read_text()
            files = len(list((proc / "fd").iterdir()))
        except OSError:
            return
        for line in said.splitlines():
            if line.startswith("VmRSS:"):
                rss = int(line.split()[1]) / 1024
                self.samples.append((CLOCK.monotonic_ms() / 1000, rss, files))

    def after(self, warm_s: float) -> list[tuple[float, float, int]]:
        return [one for one in self.samples if one[0] >= self.samples[0][0] + warm_s]

    def mb_an_hour(self, warm_s: float) -> float:
        """The slope of resident memory after the warm-up, by least squares."""
        points = self.after(warm_s)
        if len(points) < 3:
            return 0.0
        mean_t = sum(at for at, _, _ in points) / len(points)
        mean_m = sum(mb for _, mb, _ in points) / len(points)
        spread = sum((at - mean_t) ** 2 for at, _, _ in points)
        if not spread:
            return 0.0
        return 3600 * sum((at - mean_t) * (mb - mean_m) for at, mb, _ in points) / spread

    @property
    def mb(self) -> float:
        return self.samples[-1][1] if self.samples else 0.0

    def files_grew(self, warm_s: float) -> int:
        points = self.after(warm_s)
        return points[-1][2] - points[0][2] if points else 0
