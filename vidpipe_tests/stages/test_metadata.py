"""The metadata stage: a typed result for each video, an error for a broken one alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe.stages import metadata
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.results import Metadata
from vidpipe.stages.versions import fingerprint
from vidpipe_tests import clips


def item(path: Path, sha256: str = "a" * 64) -> Item:
    return Item(sha256, {"raw_video.content": sha256, "raw_video.path": str(path)})


def test_a_broken_video_does_not_stop_the_others(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<html>no</html>")
    good = clips.subtitled(tmp_path / "good.mp4", [(0.2, 0.8, "Hello")])
    context = StageContext(settings=Settings(home=home))
    bad, fine = metadata.read_metadata([item(page, "b" * 64), item(good, "c" * 64)], context)
    assert bad.error
    assert bad.error.message == "The stored file is an HTML page, not a video."
    assert not bad.error.transient
    assert isinstance(fine.result, Metadata)
    assert (fine.result.video_codec, fine.result.cues[0].text) == ("h264", "Hello")
    assert fine.result.key_figures()["size"] == "320x180"


def test_the_same_file_gives_the_same_data_version_and_survives_storage(home: Path, tmp_path: Path) -> None:
    path = clips.moving(tmp_path / "a.mkv", audio="sine")
    context = StageContext(settings=Settings(home=home))
    first, second = (next(metadata.read_metadata([item(path)], context)).result for _ in range(2))
    assert first
    assert fingerprint(first) == fingerprint(second)
    assert Metadata.model_validate(first.model_dump(mode="json")) == first


def test_without_ffprobe_the_fault_is_not_the_videos(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips.moving(tmp_path / "a.mp4", seconds=0.5)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (outcome,) = metadata.read_metadata([item(path)], StageContext(settings=Settings(home=home)))
    assert outcome.error
    assert outcome.error.transient
    assert "ffprobe was not found" in outcome.error.message
