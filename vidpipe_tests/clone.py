"""The clone that the tests run in: its scripts as modules, and archives built from it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def module_of(path: Path) -> ModuleType:
    """Return a file that belongs to no package as a module, loaded anew."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(tree: Path, folder: Path, *targets: str) -> None:
    """Build the sdist and the wheel of a tree into a folder; `targets` are hatchling's, such as -t wheel."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *targets]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
