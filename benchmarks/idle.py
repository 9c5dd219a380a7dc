"""What the servers of a home cost while nothing happens: percent of one core, for each process.

    python -m benchmarks.idle [--seconds 120] [--videos 0]

Starts `vidpipe up` in an empty home, or one with so many tiny videos that are up to date, waits until the servers have
settled, and compares the processor time of their processes at the beginning and end of the interval. Processor time
does not depend on what else the machine does, apart from contention for its caches. The limit is 6 % for all servers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

LIMIT_PERCENT = 6.0
_SETTLE_S = 40.0


def cpu_seconds(home: Path) -> dict[tuple[str, int], float]:
    """Returns (server, pid) -> processor seconds so far, for the servers of `home`."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            server = process.environ().get("_VIDPIPE_SERVICE")
            if process.name() == "mongod" and f"{home}/data/mongo" in process.cmdline():
                server = "mongod"
            elif process.environ().get("VIDPIPE_HOME") != str(home):
                continue
            if server:
                times = process.cpu_times()
                found[server, process.pid] = times.user + times.system
    return found


def vidpipe(home: Path, *words: str) -> None:
    """Runs a command in `home`."""
    environment = {**os.environ, "VIDPIPE_HOME": str(home), "VIDPIPE_SERVICES_WEBPORT": "3900"}
    program = "from vidpipe.cli.main import main; raise SystemExit(main())"
    subprocess.run([sys.executable, "-c", program, *words], env=environment, cwd=home, check=True)


def make_video(path: Path, number: int) -> None:
    """Writes a clip of half a second, unlike the others."""
    source = f"color=c=0x{number * 7919 % 0xFFFFFF:06x}:s=64x64:d=0.5"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, str(path)], check=True)


def main() -> int:
    """Measures and prints; the exit code is 1 above the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the interval")
    parser.add_argument("--videos", type=int, default=0, help="videos in the library")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vidpipe-idle-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        vidpipe(home, "init", str(home))
        try:
            if given.videos:
                for number in range(given.videos):
                    make_video(Path(folder) / f"{number}.mp4", number)
                vidpipe(home, "add", *map(str, Path(folder).glob("*.mp4")))
                vidpipe(home, "run")
            vidpipe(home, "up")
            time.sleep(_SETTLE_S)
            before, began = cpu_seconds(home), time.monotonic()
            time.sleep(given.seconds)
            after, seconds = cpu_seconds(home), time.monotonic() - began
        finally:
            vidpipe(home, "down", "--force")
    percent = {name: 100 * (used - before[name]) / seconds for name, used in after.items() if name in before}
    for (server, pid), value in sorted(percent.items(), key=lambda entry: -entry[1]):
        print(f"{server:12} {pid:8} {value:6.2f} %")
    total = sum(percent.values())
    print(f"{'all':12} {'':8} {total:6.2f} % of one core (limit {LIMIT_PERCENT:.0f} %)")
    return int(total > LIMIT_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
