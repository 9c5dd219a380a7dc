"""Makes .venv with the project and its packages, and sees to ffmpeg and MongoDB. `make` runs it before every target.

    python scripts/install.py [EXTRA ...]

The extras are installed besides the light ones that every target needs; what an earlier call installed stays. Standard
library only: it runs before anything is installed. It is quick where nothing changed, and says what is missing and what
to do where something cannot be installed. Exit status 1 then.
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
#: Disk space that the packages take, in GB; the heavy extras bring torch, which brings CUDA.
SIZE_GB, HEAVY_SIZE_GB = 1.5, 8
HEAVY = frozenset({"qwen", "qwen-tests"})


def main() -> int:
    with one_at_a_time():
        try:
            install_packages(sys.argv[1:])
            machine.ensure_ffmpeg()
            machine.ensure_mongod(PYTHON)
            if "qwen-tests" in sys.argv and machine.ensure_chromium() is None:
                print("set-up: there is no chromium; the test of foreign pages in a browser is skipped", flush=True)
        except machine.Missing as missing:
            print(f"\nset-up: {missing}", file=sys.stderr)
            return 1
    return 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once wait for each other; the lock is on a file that is there anyway."""
    import fcntl

    with (ROOT / "pyproject.toml").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def requirements() -> str:
    """Changes when the packages must be installed anew: other requirements, or a folder that was moved."""
    digest = hashlib.sha256()
    for part in ((ROOT / "pyproject.toml").read_bytes(), CONSTRAINTS.read_bytes(), str(ROOT).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def installed() -> tuple[str, frozenset[str]]:
    """(the requirements that were installed last, the extras among them) as the stamp says."""
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
        print(f"set-up: virtual environment {ENVIRONMENT} ({sys.executable})", flush=True)
        venv.create(ENVIRONMENT, clear=ENVIRONMENT.exists(), with_pip=True, symlinks=True)
    STAMP.unlink(missing_ok=True)
    heavy = HEAVY & extras
    print(f"set-up: packages{f', torch among them ({HEAVY_SIZE_GB} GB on disk)' if heavy - there else ''}", flush=True)
    project = f"{ROOT}[{','.join(sorted(extras))}]"
    if not with_uv(project):
        with_pip(project, HEAVY_SIZE_GB if heavy else SIZE_GB)
    STAMP.write_text(f"{requirements()}\n{','.join(sorted(extras))}\n")
    print(f"set-up: packages installed in {time.monotonic() - started:.0f} s", flush=True)


def environment_fits() -> bool:
    """Whether .venv has a Python 3.11 or later that runs, with pip; of this very version where PYTHON asks for one.

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
    """Installs by uv, which takes seconds where pip takes a minute or two. False where uv cannot do it here.

    uv does not read pip's settings, so an index that pip is told to use is handed on.
    """
    pip = [str(PYTHON), "-m", "pip"]
    if (
        subprocess.run([*pip, "install", "-q", "-c", CONSTRAINTS, "uv"], capture_output=True, check=False).returncode
        != 0
    ):
        return False
    environ = {**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT), "UV_NO_PROGRESS": "1"}
    index = os.environ.get("PIP_INDEX_URL") or said(*pip, "config", "get", "global.index-url")
    if index:
        environ.setdefault("UV_DEFAULT_INDEX", index)
    command = [ENVIRONMENT / "bin" / "uv", "pip", "install", "-q", "-c", CONSTRAINTS, "-e", project]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print("set-up: uv could not install them here; pip will, which takes a minute or two", flush=True)
    return done.returncode == 0


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def with_pip(project: str, size_gb: float) -> None:
    command = [PYTHON, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-e", project]
    if subprocess.run(command, check=False).returncode != 0:
        free_gb = shutil.disk_usage(ROOT).free / 1e9
        raise machine.Missing(
            "the Python packages could not be installed; pip's reason stands above. They come from PyPI and "
            f"take {size_gb:g} GB on disk ({free_gb:.1f} GB are free at {ROOT}). Behind a proxy set HTTPS_PROXY, for a "
            "mirror PIP_INDEX_URL, then run make again."
        )


if __name__ == "__main__":
    sys.exit(main())
