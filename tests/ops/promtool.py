"""promtool: the system's own, or the one in Debian's package, unpacked once and not installed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".tools" / "promtool"


def promtool() -> Path | None:
    """Where it is; None where neither it nor apt can be had."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    if not KEPT.exists() and shutil.which("apt-get") and shutil.which("dpkg"):
        with tempfile.TemporaryDirectory() as name:
            _unpack(Path(name))
    return KEPT if KEPT.exists() else None


def _unpack(folder: Path) -> None:
    """Lists of packages of our own: a fresh machine has none, and only root may fetch its."""
    for part in ("lists", "cache/archives"):
        (folder / part / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    fetched = _runs(folder, "apt-get", "download", "prometheus") or (
        _runs(folder, "apt-get", *own, "update")
        and _runs(folder, "apt-get", *own, "download", "prometheus")
    )
    if fetched and _runs(folder, "dpkg", "-x", str(next(folder.glob("*.deb"))), "package"):
        KEPT.parent.mkdir(exist_ok=True)
        # Beside its place first, so that nobody runs one that is half there.
        partial = KEPT.with_suffix(".new")
        shutil.copy2(folder / "package" / "usr" / "bin" / "promtool", partial)
        partial.replace(KEPT)


def _runs(folder: Path, *words: str) -> bool:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
