"""The moderation score: what the model's authors compute, for every scene."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe.stages.analyses.moderation import ANALYSIS
from vidpipe.stages.analyses.results import ModerationResult
from vidpipe.stages.results import Scenes
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import portrait_clip, result_of
from vidpipe_tests.stages.scene_items import scenes_of

MODEL = "moderation-open-nsfw"


def reference_scores(scenes: Scenes, home: Path, models: Path) -> list[float]:
    """As https://github.com/yahoo/open_nsfw describes it, with Pillow."""
    session = onnxruntime.InferenceSession(str(models / MODEL / "open_nsfw.onnx"))
    scores = []
    assert scenes.pack is not None
    for _, jpeg in FramePack(Settings(home=home).resolve(scenes.pack.path)):
        again = io.BytesIO()
        Image.open(io.BytesIO(jpeg)).resize((256, 256), Image.Resampling.BILINEAR).save(again, "JPEG")
        pixels = np.asarray(Image.open(again), np.float32)[16:240, 16:240, ::-1] - np.array([104, 117, 123], np.float32)
        scores.append(float(session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0, 1]))
    return scores


@pytest.mark.soak
def test_scores_are_those_of_the_described_preprocessing(home: Path, models_directory: PackagedModels) -> None:
    models = models_directory.into(home, MODEL)
    scenes = scenes_of(portrait_clip(home / "a.mp4"), home)
    found = result_of(ANALYSIS, scenes, Settings(home=home))
    assert isinstance(found, ModerationResult)
    assert found.score == found.scenes[0].score == pytest.approx(max(reference_scores(scenes, home, models)), abs=0.02)
    assert (found.scenes[0].start_s, found.scenes[0].end_s) == (0.0, scenes.duration_s)


@pytest.mark.soak
def test_no_real_clip_needs_a_review(clips_directory: Path, home: Path, models_directory: PackagedModels) -> None:
    models_directory.into(home, MODEL)
    settings = Settings(home=home)
    for clip in ("pancake.mkv", "bigbuckbunny.mp4", "h265.mp4"):
        found = result_of(ANALYSIS, scenes_of(clips_directory / clip, home), settings)
        assert isinstance(found, ModerationResult)
        assert found.score < 0.8  # of the default rule
