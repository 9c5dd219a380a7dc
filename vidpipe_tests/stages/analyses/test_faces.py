"""Faces are counted and placed; those that scenes has blurred are counted, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe.stages.analyses.faces import ANALYSIS
from vidpipe.stages.analyses.results import FacesResult
from vidpipe_tests.clips import moving
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import portrait_clip, result_of
from vidpipe_tests.stages.scene_items import scenes_of

MODEL = "faces-centerface"


def faces_in(path: Path, home: Path) -> FacesResult:
    found = result_of(ANALYSIS, scenes_of(path, home), Settings(home=home))
    assert isinstance(found, FacesResult)
    return found


def test_the_face_of_a_portrait_is_found_where_it_is(home: Path, models_directory: PackagedModels) -> None:
    models_directory.into(home, MODEL)
    found = faces_in(portrait_clip(home / "a.mp4"), home)
    assert (found.count, found.share) == (1, 1.0)
    (face,) = found.frames[0].faces
    assert face.box == pytest.approx((0.34, 0.21, 0.36, 0.34), abs=0.04)
    assert found.largest == pytest.approx(0.34, abs=0.03)
    assert found.models[0].name == MODEL
    fields = {"faces.count": found.count, "faces.share": found.share}
    values = {one.spec.name: one.value(fields[one.reads]) for one in ANALYSIS.rule_fields}
    assert values == {"face_count": 1, "face_share": 1.0}


@pytest.mark.soak
def test_a_test_pattern_has_no_face(home: Path, models_directory: PackagedModels) -> None:
    models_directory.into(home, MODEL)
    found = faces_in(moving(home / "a.mp4", seconds=0.5), home)
    assert (found.count, found.share, found.frames) == (0, 0.0, ())
    assert found.frames_examined > 0


@pytest.mark.soak
@pytest.mark.parametrize(
    ("clip", "count"),
    [("dj3.mp4", 2), ("bikes.mp4", 1), ("bigbuckbunny.mp4", 0), ("dj1.mp4", 0), ("av1.mkv", 0), ("corrupted.mp4", 0)],
)
def test_faces_of_real_clips(
    clips_directory: Path, home: Path, models_directory: PackagedModels, clip: str, count: int
) -> None:
    models_directory.into(home, MODEL)
    found = faces_in(clips_directory / clip, home)
    assert found.count == count
    assert (found.share > 0.95) == (clip == "dj3.mp4")
