"""The benchmark runs on this machine, both ways say the same, and its large models have the sizes of the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidpipe_tests.models.qwen.conftest import needs_torch

pytestmark = needs_torch


@pytest.mark.parametrize("name", ["2b", "7b"])
def test_the_large_models_have_the_size_of_the_real_ones(name: str) -> None:
    from benchmarks.qwen_models import SHAPES, parameters

    published = SHAPES[name].parameters
    assert published is not None
    assert parameters(SHAPES[name]) / 1e9 == pytest.approx(published, abs=0.05)


@pytest.mark.parametrize("configuration", [["tiny"], ["100m", "--layers", "1"]], ids=["tiny", "random weights"])
def test_both_ways_say_the_same(configuration: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import qwen

    small = ["--scenes", "2", "--usual-scenes", "1", "--frames", "2", "--tokens", "4"]
    qwen.main(["--configuration", *configuration, *small, "--json", str(tmp_path / "figures.json")])
    (figures,) = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert figures["equal_to_one_by_one"] == figures["equal_to_usual"] == 1.0
    assert figures["ours_videos_a_minute"] > 0 < figures["ours_prefill_share"]
    assert "times as fast" in capsys.readouterr().out
