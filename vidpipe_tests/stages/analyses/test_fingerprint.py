"""The fingerprint: from the decode of the scenes pass or from one of its own, with equal result; copies match."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.datasets.duplicates.alignment import align
from vidpipe.datasets.duplicates.prints import VideoPrint, stored_print
from vidpipe.media.probe import probe
from vidpipe.media.sound import sound_folder
from vidpipe.settings import Settings
from vidpipe.settings.analyses import Analyses
from vidpipe.stages import scenes, video_decode
from vidpipe.stages.analyses import fingerprint
from vidpipe.stages.analyses.results import FingerprintResult
from vidpipe.stages.contract import Item, Stage, StageContext, StageResult
from vidpipe_tests.clips import BITEXACT, ffmpeg

_SOUND = ("-f", "lavfi", "-i", "aevalsrc=sin(2*PI*t*(300+200*sin(t*3))):d=6:s=16000", "-map", "0:v", "-map", "1:a")
_ENCODE = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", *BITEXACT)


def pattern(path: Path, filters: str = "null") -> Path:
    pictures = f"testsrc2=s=320x180:r=25,{filters}"
    return ffmpeg(path, "-f", "lavfi", "-t", "6", "-i", pictures, *_SOUND, *_ENCODE)


def run(stage: Stage, item: Item, settings: Settings) -> StageResult:
    (outcome,) = stage.function([item], StageContext(settings=settings))
    assert outcome.error is None, outcome.error
    assert outcome.result is not None
    return outcome.result


def item_of(path: Path, settings: Settings) -> Item:
    """The video as the analysis gets it, its scenes found under these settings."""
    info = probe(path)
    fields = {f"metadata.{name}": getattr(info, name) for name in type(info).model_fields}
    fields |= {"raw_video.path": str(path), "raw_video.content": "0" * 64}
    cut = run(scenes.STAGE, Item(path.name, fields), settings)
    fields |= {f"scenes.{name}": getattr(cut, name) for name in type(cut).model_fields}
    return Item(path.name, {name: fields[name] for name in fingerprint.STAGE.reads})


def enabled_in(home: Path) -> Settings:
    return Settings(home=home, analyses=Analyses(enabled=("fingerprint",)))


def fingerprint_of(path: Path, home: Path, *, later: bool = False) -> FingerprintResult:
    enabled = enabled_in(home)
    found = run(fingerprint.STAGE, item_of(path, Settings(home=home) if later else enabled), enabled)
    assert not sound_folder(enabled, path.name).exists()
    assert isinstance(found, FingerprintResult)
    return found


def as_print(found: FingerprintResult, name: str) -> VideoPrint:
    one = stored_print({"_id": name, "fingerprint": found.model_dump(mode="json")})
    assert one is not None
    return one


def test_no_second_decode_if_enabled_and_one_with_equal_result_if_enabled_later(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = pattern(home / "clip.mp4")
    later = fingerprint_of(clip, home / "later", later=True)
    monkeypatch.setattr(video_decode, "DecodePass", None)
    assert fingerprint_of(clip, home / "at once") == later
    one = as_print(later, "one")
    assert (len(one.hashes), one.interval_s, bool(one.flat.any())) == (48, 0.125, False)
    assert len(one.audio) > 30


def test_a_boxed_copy_at_half_the_size_matches_and_black_is_flat(home: Path) -> None:
    one = as_print(fingerprint_of(pattern(home / "one.mp4"), home), "one")
    edited = pattern(home / "copy.mp4", "scale=160:90,pad=160:120:0:15")
    found = align(one, as_print(fingerprint_of(edited, home), "copy"))
    assert found is not None
    assert (found.kind, found.score > 0.8) == ("copy", True)
    black = pattern(home / "black.mp4", "drawbox=color=black:t=fill")
    assert as_print(fingerprint_of(black, home), "black").flat.all()


def test_a_document_without_fingerprint_has_no_print() -> None:
    assert stored_print({"_id": "a"}) is None
    assert stored_print({"_id": "a", "fingerprint": None}) is None


def test_a_folder_that_cannot_be_written_is_named_and_the_video_tried_again(home: Path) -> None:
    item, elsewhere = item_of(pattern(home / "clip.mp4"), Settings(home=home)), enabled_in(home / "elsewhere")
    elsewhere.derived_directory.parent.mkdir(parents=True)
    elsewhere.derived_directory.write_text("a file")
    (outcome,) = fingerprint.STAGE.function([item], StageContext(settings=elsewhere))
    assert outcome.error is not None
    assert outcome.error.transient
    assert "its pictures could not be written" in outcome.error.message
    assert str(elsewhere.derived_directory) in outcome.error.hint
