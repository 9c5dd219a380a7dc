"""Free space on the disks of a home's folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vidpipe.settings.schema import Settings


def free_bytes(folder: Path) -> int:
    """Free space on the disk where `folder` is or will be created; symbolic links are followed, broken ones too. Raises
    OSError if the disk does not answer."""
    return shutil.disk_usage(_existing(folder)).free


def free_by_disk(settings: Settings) -> dict[str, int]:
    """The first folder on each disk (media store, derived files, data) -> free bytes of that disk."""
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
