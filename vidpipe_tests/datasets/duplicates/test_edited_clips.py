"""Copies of real clips, edited in 12 ways, are found; different clips and look-alikes are not joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.duplicates import accuracy


@pytest.mark.soak
def test_edited_copies_are_found_and_nothing_else(clips_directory: Path, tmp_path: Path) -> None:
    clips = sorted(file for file in clips_directory.iterdir() if file.suffix in (".mp4", ".mkv", ".mov"))
    recall, precision, faults = accuracy(clips, tmp_path)
    assert recall >= 0.95, faults
    assert precision == 1, faults
