"""vidpipe as a stranger installs it: from a wheel, outside of the clone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment in which a wheel built from the clone is installed with its packages, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = ["-m", "pip", "-q", "--disable-pip-version-check"]
    wheel = [sys.executable, *pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    wheels = map(str, folder.glob("*.whl"))
    install = [str(folder / "venv/bin/python"), *pip, "install", "-c", str(ROOT / "constraints.txt"), *wheels]
    subprocess.run(install, check=True, cwd=folder)
    names = [name for name in os.environ if name.startswith(("VIDPIPE_", "PYTHON", "DAGSTER_"))]
    return dict.fromkeys(names, "") | {"PATH": f"{folder / 'venv/bin'}:{os.environ['PATH']}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, to run a document in."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty
