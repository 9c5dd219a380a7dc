"""The view of one video."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidpipe.library.library import Library
from vidpipe.library.queries.show import view, views
from vidpipe.library.videos import NoSuchVideo
from vidpipe.settings import Settings
from vidpipe_tests.library import sample_library


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        yield opened


def test_everything_known_of_a_video_is_in_its_view(library: Library) -> None:
    specs = sample_library.fill(library).specs
    found = view(library, sample_library.sha256_of("harbour.mp4"), specs)
    assert found["video"]["names"] == ["harbour.mp4"]
    assert found["video"]["path"].startswith("data/media/")
    assert found["sources"][0]["url"] == "https://videos.example/harbour.mp4"
    assert found["metadata"]["duration_s"] == 600.0
    assert [(scene["index"], scene["start_s"], scene["end_s"]) for scene in found["scenes"]] == [
        (0, 0.0, 200.0), (1, 200.0, 600.0),
    ]  # fmt: skip
    assert found["scenes"][1]["description"] == "Fishing boats leave."
    assert found["scenes"][1]["thumbnail"] == "data/derived/1.jpg"
    assert found["description"]["text"] == "A harbour with a lighthouse and fishing boats."
    assert (found["description"]["model"], found["description"]["measured"]) == ("sample-model", False)
    assert "answers" not in found["description"]
    assert found["sentiment"]["label"] == "positive"
    assert {(tag["tag"], tag["rule"], tag["evidence"]) for tag in found["tags"]} >= {
        ("Night-time", "night-time", "it says so")
    }
    assert found["category"]["category"] == "Documentary"
    assert {name: stage["state"] for name, stage in found["stages"].items()} == dict.fromkeys(
        sample_library.GRAPH.names, "current"
    )
    assert found["damage"] is None
    assert "title_words" not in found["metadata"], "these are for searching"


def test_labels_and_titles_of_sources_are_told_and_a_video_without_has_the_title_in_its_file(library: Library) -> None:
    specs = sample_library.fill(library).specs
    race, harbour = (
        view(library, sample_library.sha256_of(name), specs)["video"] for name in ("race.mkv", "harbour.mp4")
    )
    assert (race["labels"], race["titles"], race["title"]) == (
        ["=1+1", "Motor sport"], ["GrandPrix_2019"], "GrandPrix_2019",
    )  # fmt: skip
    assert (harbour["labels"], harbour["titles"], harbour["title"]) == ([], [], "Harbour at_dawn")


def test_damage_is_told(library: Library) -> None:
    specs = sample_library.fill(library).specs
    assert "3 errors" in view(library, sample_library.sha256_of(sample_library.HOSTILE), specs)["damage"]["sentence"]


def test_a_failed_stage_tells_its_error_and_the_others_wait(library: Library) -> None:
    specs = sample_library.fill(library, sample_library.BROKEN).specs
    found = view(library, sample_library.sha256_of(sample_library.BROKEN), specs)
    assert found["stages"]["metadata"]["state"] == "failed"
    assert "is no video" in found["stages"]["metadata"]["error"]["message"]
    assert found["stages"]["categories"]["state"] == "blocked"
    assert found["video"]["state"] == "failed"
    assert (found["metadata"], found["scenes"], found["tags"], found["category"]) == (None, [], [], None)


def test_a_stage_that_cannot_run_has_no_known_state(library: Library) -> None:
    specs = {name: spec for name, spec in sample_library.fill(library).specs.items() if name != "tags"}
    assert view(library, sample_library.sha256_of("race.mkv"), specs)["stages"]["tags"]["state"] == "unknown"


def test_several_views_come_in_the_order_asked_for(library: Library) -> None:
    specs = sample_library.fill(library).specs
    ids = sorted((sample_library.sha256_of(name) for name in sample_library.CONTENTS), reverse=True)
    assert [found["video"]["sha256"] for found in views(library, [*ids, "0" * 64], specs)] == ids


def test_a_hash_nobody_has(library: Library) -> None:
    with pytest.raises(NoSuchVideo, match="000000000000"):
        view(library, "0" * 64, {})
