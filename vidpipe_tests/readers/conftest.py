"""The libraries that exports are made for, each in an environment of its own, which later runs of the tests use again.

Their tests are marked `soak`: the first run installs packages. Environments are kept in ~/.cache/vidpipe-tests/readers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from vidpipe_tests.datasets.conftest import small_library  # noqa: F401 - fixture

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidpipe-tests" / "readers"
_INSTALL_S, _READ_S = 900, 300


def reader_environment(name: str, packages: Sequence[str], *options: str) -> Path:
    """The Python of an environment with these packages; the test is skipped if they cannot be installed.

    options: further options of `pip install`, such as "--no-deps".
    """
    folder = _CACHE / name
    python, installed = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps([*packages, *options, sys.version])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=_INSTALL_S):
        if installed.is_file() and installed.read_text(encoding="utf-8") == wanted:
            return python
        create = [sys.executable, "-m", "venv", "--clear", str(folder)]
        install = [str(python), "-I", "-m", "pip", "install", "--quiet", *options, *packages]
        for command in (create, install):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip(f"{name}: installing {', '.join(packages)} took more than {_INSTALL_S} s")
            if done.returncode != 0:
                pytest.skip(f"{name}: {', '.join(packages)} cannot be installed: {done.stderr.strip()[-500:]}")
        installed.write_text(wanted, encoding="utf-8")
    return python


def read_with(python: Path, script: str, *arguments: str | Path, cache: Path | None = None) -> Any:
    """Run a script, which prints JSON, and return it; `cache` is its home, so that it leaves nothing elsewhere."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIDPIPE_", "HF_"))}
    if cache is not None:
        env |= {"HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [str(python), "-c", script, *map(str, arguments)],
        env=env, capture_output=True, text=True, timeout=_READ_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def frame_of(path: Path, time_s: float, width: int, height: int) -> np.ndarray[Any, Any]:
    """The frame that is shown at a time of a file, as RGB, decoded by ffmpeg."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-vf", f"select=lte(t\\,{time_s:g})", "-vsync", "0",
         "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    frames: np.ndarray[Any, Any] = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return np.asarray(frames[-1])


def psnr_db(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio of two pictures; infinite if they are equal."""
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
