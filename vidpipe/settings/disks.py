"""How much room the disks of a home's folders have."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vidpipe.settings.schema import Settings


def free_bytes(folder: Path) -> int:
    """Free space on the disk where `folder` is, or will be made: symbolic links are followed, also those to what is not
    there yet. Raises OSError where the disk does not answer."""
    return shutil.disk_usage(_existing(folder)).free


def free_by_disk(settings: Settings) -> dict[str, int]:
    """Free bytes of each disk that the home uses, by the first folder on it: media store, derived files, data."""
    found: dict[int, tuple[str, int]] = {}
    for folder in (settings.media_directory, settings.derived_directory, settings.data_directory):
        disk = os.stat(_existing(folder)).st_dev
        if disk not in found:
            found[disk] = (settings.relative(folder), free_bytes(folder))
    return dict(found.values())


def _existing(folder: Path) -> Path:
    there = Path(os.path.realpath(folder))
    while not there.exists() and there != there.parent:
        there = there.parent
    return there
