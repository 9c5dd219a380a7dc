"""Videos as the stages of the label job see them: facts of a real probe, with what a test wants to differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidpipe.media.facts import SceneStats
from vidpipe.media.probe import probe
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, StageContext, StageResult
from vidpipe.stages.registry import build_resource
from vidpipe.stages.results import Metadata
from vidpipe.stages.tags import READS

STATS = SceneStats(brightness=0.4, contrast=0.2, saturation=0.3, motion=0.01, loudness_db=-20.0, silence_share=0.1)


def label_item(clip: Path, *, previous: StageResult | None = None, sha256: str = "a" * 64, **changed: Any) -> Item:
    """The probed metadata of `clip` and plain values for the other stages; `changed` is `stage__field=value`."""
    metadata = Metadata(**dict(probe(clip)))
    fields: dict[str, Any] = {
        name: getattr(metadata, name.removeprefix("metadata.")) for name in READS if name.startswith("metadata.")
    }
    fields |= {
        "ingest.names": (clip.name,), "ingest.urls": (f"https://videos.example/{clip.name}",),
        "ingest.labels": (), "ingest.titles": (), "ingest.source_data": {}, "ingest.verdicts": (),
        "scenes.count": 2, "scenes.cuts_per_minute": 6.0, "scenes.mean_scene_s": 10.0, "scenes.stats": STATS,
        "scenes.damage": None, "scenes.duration_s": metadata.duration_s,
        "descriptions.text": "", "descriptions.tags": (), "descriptions.model": "Qwen2-VL",
        "descriptions.category": None, "descriptions.questions": (), "descriptions.scenes": (),
        "scenes.scenes": (), "sentiment.label": "no basis", "sentiment.score": None,
        "tags.tags": (),
    }  # fmt: skip
    fields |= {name.replace("__", "."): value for name, value in changed.items()}
    return Item(sha256, fields, previous=previous)


def label_context(home: Path, *resources: str) -> StageContext:
    """A context with those resources, built from the settings of `home`."""
    settings = Settings(home=home)
    return StageContext(settings, {name: build_resource(name, settings) for name in resources})
