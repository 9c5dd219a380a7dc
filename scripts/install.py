"""Creates .venv with the project and its packages, and installs ffmpeg and what MongoDB needs.

    python scripts/install.py [EXTRA ...]

`make` runs it before every target. The extras are installed in addition to those that every target needs; extras from
earlier calls stay. It uses the standard library only, because it runs before anything is installed, and is fast if
nothing has changed. If something cannot be installed, it says what to do and exits with status 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "vidpipe-installed"
CONSTRAINTS = ROOT / "constraints.txt"
LIGHT = ("dev", "s3")
#: Disk space of the packages, in GB; the heavy extras include torch and with it CUDA.
SIZE_GB, HEAVY_SIZE_GB = 1.5, 8
HEAVY = frozenset({"qwen", "qwen-tests"})


def main() -> int:
    with one_at_a_time():
        try:
            install_packages(sys.argv[1:])
            machine.ensure_ffmpeg()
            machine.ensure_mongod(PYTHON)
            if not machine.ensure_espeak():
                print("setup: espeak-ng is not available; sample clips have no speech", flush=True)
            if "qwen-tests" in sys.argv and machine.ensure_chromium() is None:
                print("setup: chromium is not available; the browser tests are skipped", flush=True)
            if "qwen-tests" in sys.argv and (lacking := machine.ensure_cluster()):
                print(f"setup: no {' and '.join(lacking)}; the tests of several machines are skipped", flush=True)
        except machine.Missing as missing:
            print(f"\nsetup: {missing}", file=sys.stderr)
            return 1
    return 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Make concurrent `make` calls wait for each other, with a lock on a file that always exists."""
    import fcntl

    with (ROOT / "pyproject.toml").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def requirements() -> str:
    """Return a hash that changes when packages must be reinstalled: new requirements, or a moved folder."""
    digest = hashlib.sha256()
    for part in ((ROOT / "pyproject.toml").read_bytes(), CONSTRAINTS.read_bytes(), str(ROOT).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def installed() -> tuple[str, frozenset[str]]:
    """Return the hash and extras of the last installation."""
    lines = STAMP.read_text().splitlines() if STAMP.is_file() else []
    return (lines[0], frozenset(lines[1].split(","))) if len(lines) == 2 else ("", frozenset())


def install_packages(wanted: Iterable[str]) -> None:
    fits = environment_fits()
    stamp, there = installed() if fits else ("", frozenset())
    extras = there | {*LIGHT, *wanted}
    if stamp == requirements() and extras == there:
        return
    started = time.monotonic()
    if not fits:
        print(f"setup: virtual environment {ENVIRONMENT} ({sys.executable})", flush=True)
        venv.create(ENVIRONMENT, clear=ENVIRONMENT.exists(), with_pip=True, symlinks=True)
    STAMP.unlink(missing_ok=True)
    heavy = HEAVY & extras
    print(f"setup: packages{f', including torch ({HEAVY_SIZE_GB} GB on disk)' if heavy - there else ''}", flush=True)
    project = f"{ROOT}[{','.join(sorted(extras))}]"
    if not with_uv(project):
        with_pip(project, HEAVY_SIZE_GB if heavy else SIZE_GB)
    STAMP.write_text(f"{requirements()}\n{','.join(sorted(extras))}\n")
    print(f"setup: packages installed in {time.monotonic() - started:.0f} s", flush=True)


def environment_fits() -> bool:
    """Return whether .venv has a working Python 3.11 or later with pip, of this version if PYTHON is set.

    A moved folder or an upgraded system breaks an environment.
    """
    if not PYTHON.exists():
        return False
    done = subprocess.run(
        [PYTHON, "-c", "import pip, sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    version = tuple(int(part) for part in done.stdout.split()) if done.returncode == 0 else ()
    return version == sys.version_info[:2] if os.environ.get("PYTHON") else version >= (3, 11)


def with_uv(project: str) -> bool:
    """Install with uv, which takes seconds instead of a minute or two. Return False if uv does not work here.

    uv does not read pip's settings, so pip's index is passed on.
    """
    pip = [str(PYTHON), "-m", "pip"]
    if (
        subprocess.run([*pip, "install", "-q", "-c", CONSTRAINTS, "uv"], capture_output=True, check=False).returncode
        != 0
    ):
        return False
    environ = {**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT), "UV_NO_PROGRESS": "1"}
    index = os.environ.get("PIP_INDEX_URL") or machine.output(*pip, "config", "get", "global.index-url")
    if index:
        environ.setdefault("UV_DEFAULT_INDEX", index)
    command = [ENVIRONMENT / "bin" / "uv", "pip", "install", "-q", "-c", CONSTRAINTS, "-e", project]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print("setup: uv failed; installing with pip, which takes a minute or two", flush=True)
    return done.returncode == 0


def with_pip(project: str, size_gb: float) -> None:
    command = [PYTHON, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-e", project]
    if subprocess.run(command, check=False).returncode != 0:
        free_gb = shutil.disk_usage(ROOT).free / 1e9
        raise machine.Missing(
            "the Python packages could not be installed; see pip's output above. They come from PyPI and need "
            f"{size_gb:g} GB on disk ({free_gb:.1f} GB free at {ROOT}). Behind a proxy, set HTTPS_PROXY; for a mirror, "
            "set PIP_INDEX_URL. Then run make again."
        )


if __name__ == "__main__":
    sys.exit(main())
