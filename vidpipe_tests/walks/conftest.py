"""vidpipe as a stranger installs it: from a wheel, outside of the clone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from vidpipe_tests.clone import ROOT, build

DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment in which a wheel built from the clone is installed with its packages, and nothing else."""
    return environment_with(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def installed_for_clusters(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Likewise, with the extra `cluster`."""
    return environment_with(tmp_path_factory.mktemp("installed-for-clusters"), "[cluster]")


def environment_with(folder: Path, extra: str = "") -> Mapping[str, str]:
    """Make a virtual environment with the wheel of the clone, and return the variables with which it is used."""
    build(ROOT, folder, "-t", "wheel")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    wheels = [f"{path}{extra}" for path in folder.glob("*.whl")]
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "-q", "--disable-pip-version-check"]
    install = [*pip, "install", "-c", str(ROOT / "constraints.txt"), *wheels]
    subprocess.run(install, check=True, cwd=folder)
    names = [name for name in os.environ if name.startswith(("VIDPIPE_", "PYTHON", "DAGSTER_"))]
    return dict.fromkeys(names, "") | {"PATH": f"{folder / 'venv/bin'}:{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, to run a document in. What still runs in it afterwards is ended, its homes' servers included."""
    empty = tmp_path / "empty"
    empty.mkdir()
    yield empty
    end_processes_in(empty)


def end_processes_in(folder: Path) -> None:
    """End every process that works in `folder` or names it in its command line, and wait until all have ended."""
    for _ in range(5):  # a supervisor that has not ended yet may have started a server anew
        running = [process for process in psutil.process_iter() if _is_in(process, folder)]
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(running, timeout=20)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if not running:
            return


def _is_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        # Anything above pytest names the folder only if its user did.
        if process.pid not in {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}:
            named = any(part.startswith(str(folder)) or f"={folder}" in part for part in process.cmdline())
            return named or Path(process.cwd()).is_relative_to(folder)
    return False
