"""From a file to descriptions: cut, packed, seen by the tiny Qwen2-VL, each scene in its own words and order."""

from __future__ import annotations

from pathlib import Path

from vidpipe.models.builders import build_prompts
from vidpipe.models.qwen.backend import QwenModel
from vidpipe.stages import descriptions
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.results import Descriptions
from vidpipe_tests import clips
from vidpipe_tests.models.qwen.conftest import TINY, needs_torch, settings
from vidpipe_tests.stages.scene_items import scene_item, scenes_of

pytestmark = needs_torch


def described_item(path: Path, home: Path) -> Item:
    found = scenes_of(path, home)
    fields: dict[str, object] = {
        "metadata.orientation": "landscape", "metadata.resolution": "SD", "metadata.hdr": None,
        "metadata.audio": (), "metadata.subtitles": (), "metadata.cues": (), "metadata.title": None,
        "metadata.width": 320, "metadata.height": 240,
        **{f"scenes.{name}": getattr(found, name) for name in type(found).model_fields},
    }  # fmt: skip
    return Item(scene_item(path).sha256, fields)


def test_scenes_are_described_with_their_colours_in_order(tmp_path: Path, home: Path, model: QwenModel) -> None:
    colors = {"rgb": ("red", "green", "blue"), "pyw": ("purple", "yellow", "white", "cyan")}
    items = {
        name: described_item(clips.color_cuts(tmp_path / f"{name}.mp4", shown), home) for name, shown in colors.items()
    }
    here = settings(model_dir=str(TINY)).model_copy(update={"home": home})
    context = StageContext(here, {"model": model, "prompts": build_prompts(here)})
    outcomes = {outcome.sha256: outcome for outcome in descriptions.describe(list(items.values()), context)}
    for name, item in items.items():
        outcome = outcomes[item.sha256]
        assert outcome.error is None
        assert isinstance(outcome.result, Descriptions)
        said = [scene.description for scene in outcome.result.scenes]
        assert said == [f"A {color} picture." for color in colors[name]]
        assert not outcome.result.measured
        assert outcome.result.model.startswith("qwen2_vl ")
        assert outcome.result.output_tokens > 0
