"""Runs the scenes stage alone on one file, as the runner would."""

from __future__ import annotations

from pathlib import Path

from vidpipe.media.probe import probe
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages import scenes
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.results import Scenes


def stage_item(path: Path) -> Item:
    """The fields that raw_video and metadata would give for `path`."""
    info = probe(path)
    fields = {"raw_video.path": str(path.absolute()), "raw_video.content": "0" * 64}
    fields |= {f"metadata.{name}": getattr(info, name) for name in type(info).model_fields}
    return Item("0" * 64, fields)


def run_stage(item: Item, home: Path, detection: SceneDetection) -> Scenes:
    context = StageContext(settings=Settings(home=home, scene_detection=detection))
    (outcome,) = scenes.STAGE.function([item], context)
    if outcome.error:
        raise outcome.error
    assert isinstance(outcome.result, Scenes)
    return outcome.result
