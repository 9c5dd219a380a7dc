"""A portrait as a video, and one run of an analysis of packed frames with its real model."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import Analysis
from vidpipe.stages.contract import Item, Outcome, StageContext, StageResult
from vidpipe.stages.results import Scenes
from vidpipe_tests.clips import BITEXACT, ffmpeg

#: Rear Admiral Grace Hopper, a photograph by James S. Davis of the U.S. Navy (public domain), in matplotlib's package.
PORTRAIT = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")


def portrait_clip(path: Path, *, seconds: float = 0.5) -> Path:
    """The portrait for half a second, 512x600."""
    still = ("-loop", "1", "-framerate", "10", "-t", f"{seconds:g}", "-i", str(PORTRAIT))
    return ffmpeg(path, *still, "-vf", "scale=512:600", "-c:v", "libx264", "-pix_fmt", "yuv420p", *BITEXACT)


def outcome_in(analysis: Analysis, scenes: Scenes, settings: Settings) -> Outcome:
    fields = {name: getattr(scenes, name.removeprefix("scenes.")) for name in analysis.stage.reads}
    resources = {name: build(settings) for name, build in analysis.resources.items()}
    context = StageContext(settings=settings, resources=resources)
    try:
        (outcome,) = analysis.stage.function([Item("a" * 64, fields)], context)
    finally:
        for model in resources.values():
            assert isinstance(model, WorkerModel)
            model.close()
    return outcome


def result_of(analysis: Analysis, scenes: Scenes, settings: Settings) -> StageResult:
    outcome = outcome_in(analysis, scenes, settings)
    assert outcome.error is None, outcome.error
    assert outcome.result is not None
    return outcome.result
