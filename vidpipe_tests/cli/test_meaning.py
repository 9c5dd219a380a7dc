"""vidpipe search --meaning and vidpipe similar, with the real small model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command, command_on
from vidpipe_tests.cli.test_search import KEYS
from vidpipe_tests.models.packaged_models import PackagedModels

COOKING, FOOTBALL, SILENT = "cooking.mkv", "football.mkv", "silent.mp4"


@pytest.fixture(scope="module")
def meant(
    mongod_uri: str, tmp_path_factory: pytest.TempPathFactory, models_directory: PackagedModels
) -> Iterator[Command]:
    """The command on two videos with subtitles and one without any words."""
    folder = tmp_path_factory.mktemp("clips")
    clips.subtitled(
        folder / COOKING,
        [(0.1, 0.5, "Whisk the eggs with flour and milk, and fry the batter in butter.")],
    )
    clips.subtitled(
        folder / FOOTBALL,
        [(0.7, 1.2, "The striker shoots, and the goalkeeper cannot reach the ball: the home team wins.")],
    )
    clips.moving(folder / SILENT, seconds=1.0)
    home = tmp_path_factory.mktemp("meant")
    with command_on(home, mongod_uri) as command:
        models_directory.into(home, "meaning-e5-small")
        enabled = command.under(ANALYSES_ENABLED="meaning")
        result = enabled("add", folder, "--run", "--json")
        assert result.exit_code == 0, result.output
        yield enabled


def test_a_video_is_found_by_what_is_meant_at_its_second(meant: Command) -> None:
    for query, name, start_s in (("a pancake recipe", COOKING, 0.1), ("Fußballspiel", FOOTBALL, 0.7)):
        found = meant.json("search", "--meaning", query)
        assert set(found) == KEYS
        hit = found["hits"][0]
        assert (hit["name"], hit["matched_in"], hit["start_s"], hit["highlights"]) == (name, "meaning", start_s, [])
        assert hit["matches"][0]["text"] == hit["text"]
        assert SILENT not in [hit["name"] for hit in found["hits"]]
    assert meant.json("search", "--meaning", "soccer", "file:cooking")["hits"] == []
    (hit,) = meant.json("search", "--meaning", "a pancake recipe", "file:cooking")["hits"]
    assert hit["name"] == COOKING
    assert meant.json("search", "--meaning", "--moments", "soccer")["hits"][0]["name"] == FOOTBALL
    assert "0:00.7  meaning  The striker shoots" in meant("search", "--meaning", "soccer").stdout


@pytest.mark.soak
def test_an_ordinary_search_finds_it_too_but_not_what_is_unrelated(meant: Command) -> None:
    found = meant.json("search", "pancake recipe")
    assert ([hit["name"] for hit in found["hits"]], found["matched"]) == ([COOKING], "meaning")
    assert meant.json("search", "xylophone")["hits"] == []
    (said,) = meant.json("search", "goalkeeper")["hits"]
    assert (said["name"], said["matched_in"]) == (FOOTBALL, "said")


@pytest.mark.soak
def test_vectors_are_neither_shown_nor_exported(meant: Command, tmp_path: Path) -> None:
    shown = meant.json("show", FOOTBALL)["meaning"]
    assert set(shown["parts"][0]) == {"start_s", "end_s", "text"}
    assert {"vector", "frame_vectors"}.isdisjoint(shown)
    meant.json("export", tmp_path / "all.jsonl")
    assert "vector" not in (tmp_path / "all.jsonl").read_text()


def test_similar_videos_without_the_video_itself(meant: Command) -> None:
    found = meant.json("similar", COOKING)
    assert set(found) == {*KEYS, "video"} - {"query"}
    assert COOKING not in [hit["name"] for hit in found["hits"]]
    error = meant.json("similar", SILENT, code=3)["error"]
    assert "no words in it" in error["message"]


@pytest.mark.soak
def test_pages_follow_one_another(meant: Command) -> None:
    whole = [hit["name"] for hit in meant.json("search", "--meaning", "food")["hits"]]
    first = meant.json("search", "--meaning", "food", "--limit", "1")
    assert [hit["name"] for hit in first["hits"]] == whole[:1]
    if len(whole) > 1:
        after = meant.json("search", "--meaning", "food", "--limit", "1", "--after", first["next"])
        assert [hit["name"] for hit in after["hits"]] == whole[1:2]


@pytest.mark.soak
def test_without_words_or_the_analysis_the_error_says_what_to_do(meant: Command, filled: Command) -> None:
    assert "no words" in meant.json("search", "--meaning", "tag:dark", code=2)["error"]["message"]
    error = filled.json("search", "--meaning", "food", code=3)["error"]
    assert "not enabled" in error["message"]
    assert "Add meaning to Enabled" in error["hint"]
    assert "not enabled" in filled.json("similar", "talk.mkv", code=3)["error"]["message"]
    notes = filled.json("search", "object:car")["notes"]
    assert notes == ["The analysis objects, which fills `object:`, is not enabled."]


@pytest.mark.soak
def test_an_unknown_model_is_named_with_those_there_are(meant: Command, tmp_path: Path) -> None:
    elsewhere = meant.under(MEANING_MODEL="meaning-e5-large")
    error = elsewhere.json("search", "--meaning", "food", code=3)["error"]
    assert "meaning-e5-large" in error["message"]
    assert "meaning-e5-small" in error["hint"]
    page = elsewhere.json("search", "soccer")
    assert page["hits"] == []
    assert "Only words were compared" in page["notes"][0]
