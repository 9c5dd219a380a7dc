"""Which files some process of this machine has open: what is written to must not be deleted under its writer."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


def open_below(folder: Path) -> set[Path]:
    """Files below `folder` that a process has open, as far as this user may see."""
    root = folder.resolve()
    found: set[Path] = set()
    for name in _names():
        path = Path(name)
        if path.is_relative_to(root):
            found.add(path)
    return found


def _names() -> set[str]:
    processes = Path("/proc")
    if not (processes / "self" / "fd").is_dir():
        return _names_by_psutil()
    names: set[str] = set()
    for process in processes.iterdir():
        if not process.name.isdigit():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:  # it has ended, or belongs to somebody else
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                names.add(os.readlink(descriptor))
    return names


def _names_by_psutil() -> set[str]:
    names: set[str] = set()
    for process in psutil.process_iter():
        try:
            names.update(file.path for file in process.open_files())
        except psutil.Error:
            continue
    return names
