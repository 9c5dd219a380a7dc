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
    """An environment whose `vidpipe` and `python` use a wheel built from the clone, and the packages of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), *map(str, folder.glob("*.whl"))], check=True)
    return {
        "PATH": f"{site / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "VIDPIPE_MONGODB_URI": "",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, to run a document in."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty
