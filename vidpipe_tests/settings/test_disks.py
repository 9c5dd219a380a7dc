"""The free space that is shown is that of the disks in use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from vidpipe.safe_files import free_bytes
from vidpipe.settings import Settings, free_by_disk
from vidpipe.settings.schema import Paths


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose free space was requested."""
    folders: list[Path] = []
    real = shutil.disk_usage

    def disk_usage(folder: Path) -> Any:
        folders.append(folder)
        return real(folder)

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    return folders


def test_links_lead_to_the_disk_also_where_nothing_is_yet(tmp_path: Path, asked: list[Path]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    link = tmp_path / "home" / "media"
    link.parent.mkdir()
    link.symlink_to(disk / "not" / "yet")
    assert free_bytes(link / "videos") > 0
    assert asked == [disk]


def test_folders_on_one_disk_are_one_figure_and_others_their_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert list(free_by_disk(settings)) == ["data/media"]
    elsewhere = Path("/dev/shm")  # noqa: S108 - nothing is written
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second disk")
    settings = Settings(home=tmp_path, paths=Paths(download_directory=elsewhere / "vidpipe" / "media"))
    assert list(free_by_disk(settings)) == [str(elsewhere / "vidpipe" / "media"), "data/derived"]
