"""A video as the scenes stage gets it, and one run of the stage on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vidpipe.media.probe import probe
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages import scenes
from vidpipe.stages.contract import Item, Outcome, StageContext
from vidpipe.stages.results import Scenes


def scene_item(path: Path, **changed: object) -> Item:
    """`path` as raw_video and metadata would describe it; `changed` fields of the metadata are put in their place."""
    info = probe(path)
    fields = {"raw_video.path": str(path), "raw_video.content": hashlib.sha256(path.read_bytes()).hexdigest()}
    fields |= {f"metadata.{name}": getattr(info, name) for name in type(info).model_fields}
    fields |= {f"metadata.{name}": value for name, value in changed.items()}
    return Item(fields["raw_video.content"], {name: fields[name] for name in scenes.STAGE.reads})


def outcome_of(item: Item, home: Path, context: StageContext | None = None, **detection: object) -> Outcome:
    settings = Settings(home=home, scene_detection=SceneDetection(**detection))  # type: ignore[arg-type]
    (outcome,) = scenes.STAGE.function([item], context or StageContext(settings=settings))
    return outcome


def scenes_of(path: Path, home: Path, **detection: object) -> Scenes:
    outcome = outcome_of(scene_item(path), home, **detection)
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.result, Scenes)
    return outcome.result


def starts(result: Scenes) -> list[int]:
    """First frames of all scenes but the first: the cuts."""
    return [scene.start_frame for scene in result.scenes[1:]]
