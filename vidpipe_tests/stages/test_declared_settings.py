"""A stage reads the settings that it declares; reading any other raises, wherever its context is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.contract import Item, Outcome, StageContext
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.versions import UndeclaredSettingError, declared_settings, setting
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.runner.small_graph import LENGTH, Length

SETTINGS = Settings(home=Path("/home"), scene_detection=SceneDetection(max_thumbnails=7))


def test_declared_settings_sections_and_paths_are_read() -> None:
    view = declared_settings(SETTINGS, ("scene_detection.threshold", "limits"), "scenes")
    assert view.scene_detection.threshold == SETTINGS.scene_detection.threshold
    assert view.limits is SETTINGS.limits
    assert view.resolve("a") == Path("/home/a")
    assert view.derived_directory == SETTINGS.derived_directory


@pytest.mark.parametrize("name", ["scene_detection.max_thumbnails", "qwen_vl.backend", "mongodb.uri", "data_directory"])
def test_any_other_setting_raises_and_says_where_to_declare_it(name: str) -> None:
    view = declared_settings(SETTINGS, ("scene_detection.threshold",), "scenes")
    with pytest.raises(UndeclaredSettingError, match=f"The stage scenes reads the setting {name}, which"):
        setting(view, name)


def test_a_stage_that_reads_an_undeclared_setting_fails_in_a_run(settings: Settings) -> None:
    def function(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in batch:
            letters = context.settings.scene_detection.max_thumbnails
            yield Outcome(item.sha256, result=Length(letters=letters, parity="odd"))

    undeclared = replace(LENGTH, function=function)
    for stage, computed in (
        (undeclared, 0),
        (replace(undeclared, environment=("scene_detection.max_thumbnails",)), 1),
    ):
        graph = StageGraph((stage,))
        with Library.open(settings, graph) as library:
            library.videos.add("ab" * 32, IngestFacts(path="a", size_bytes=1, modified_ns=1, names=("a",)))
            plan = Plan.make(graph, settings)
            report = Runner(library, plan).run()
            assert report.total("computed") == computed
            if not computed:
                (failure,) = report.failures
                assert failure.error is not None
                assert "scene_detection.max_thumbnails" in failure.error.message
                library.collections["videos"].delete_many({})


def test_the_specs_of_the_seven_stages_are_those_of_the_previous_version() -> None:
    """Results of an existing library stay current: `environment` is no part of a spec."""
    assert Plan.make(GRAPH, Settings(home=Path("/nowhere"))).specs == {
        "raw_video": "06e125a402534cf2",
        "metadata": "9543df92fdbda632",
        "scenes": "0f2fefc9cd56def1",
        "descriptions": "bb47e0303fd2b85b",
        "sentiment": "e4f792f6416530e9",
        "tags": "8715cb6657603b34",
        "categories": "5f52d845c9a377a6",
    }
