"""categories: the best category with score and reason, from tags, description and measurements."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidpipe.stages.categories import STAGE, categorize
from vidpipe.stages.results import Categories, ModelCategory, ModelTag, Tag
from vidpipe.stages.versions import fingerprint
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.stages.label_items import STATS, label_context, label_item


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.moving(tmp_path / "clip.mp4")


def category_of(home: Path, clip: Path, **changed: Any) -> Categories:
    (outcome,) = categorize([label_item(clip, **changed)], label_context(home, "categories"))
    assert isinstance(outcome.result, Categories)
    return outcome.result


def test_an_ordinary_clip_without_a_model_is_unclassified_and_says_why(home: Path, clip: Path) -> None:
    result = category_of(home, clip)
    assert (result.category, result.score, result.candidates) == ("Unclassified", 0.0, ())
    assert "none of the" in result.reason


def test_a_wide_picture_cut_fast_is_neither_cinematic_nor_action(home: Path, tmp_path: Path) -> None:
    film = clips.moving(tmp_path / "film.mp4", size="640x272", fps="24")
    lively = STATS.model_copy(update={"motion": 0.06})
    result = category_of(home, film, scenes__stats=lively, scenes__count=10, scenes__cuts_per_minute=30.0)
    assert (result.category, result.score) == ("Unclassified", 0.0)


def test_the_words_and_tags_of_a_model_decide(home: Path, clip: Path) -> None:
    tags = (Tag(tag="Sport", rule="sport"),)
    result = category_of(home, clip, descriptions__text="Two athletes play tennis.", tags__tags=tags)
    assert (result.category, result.score) == ("Sports", 3.0)
    assert (
        result.reason == 'it is tagged "sport"; the description says "athletes"; Tennis: the description says "tennis"'
    )
    assert result.subcategory == "Tennis"
    assert result.candidates == (("Sports", 3.0),)


def test_the_words_of_subtitles_and_title_are_a_reason_where_no_model_has_looked(home: Path, tmp_path: Path) -> None:
    cues = [(0.1, 0.8, "The garden is full of beautiful flowers."), (1.0, 1.8, "I love the lake.")]
    spoken = clips.subtitled(tmp_path / "year.mkv", cues)
    result = category_of(home, spoken)
    assert (result.category, result.score) == ("Nature", 0.75)
    assert result.reason == 'the subtitles say "flowers", "garden"; Landscape: the subtitles say "lake"'
    titled = category_of(home, clips.moving(tmp_path / "x.mp4"), metadata__title="A garden by the river")
    assert titled.reason == 'the title says "garden"; Landscape: the title says "river"'
    said_once = category_of(home, clips.subtitled(tmp_path / "one.mkv", [cues[1]]))
    assert said_once.category == "Unclassified"


def test_the_categories_of_the_home_are_used(home: Path, clip: Path) -> None:
    (home / "rules").mkdir()
    (home / "rules" / "categories.json").write_text(json.dumps({"Clips": {"filename_patterns": "clip.*"}}))
    result = category_of(home, clip)
    assert result.category == "Clips"
    assert result.reason == 'the file name "clip.mp4" matches "clip.*"'
    assert STAGE.key == "category"


def test_the_models_proposal_is_a_candidate_and_kept_beside_the_verdict(home: Path, clip: Path) -> None:
    proposal = ModelCategory(category="Sports", confidence=0.8, reason="A ball game.")
    result = category_of(home, clip, descriptions__category=proposal)
    assert (result.category, result.score) == ("Sports", 2.0)
    assert result.reason == "the model proposed it, with confidence 0.8"
    assert result.proposal == proposal


def test_the_models_tags_count_as_its_own_and_not_twice(home: Path, clip: Path) -> None:
    by_model = (Tag(tag="sport", rule="ai_generated_tags", given_by="model"),)
    suggested = (ModelTag(tag="sport"),)
    once = category_of(home, clip, descriptions__tags=suggested)
    both = category_of(home, clip, descriptions__tags=suggested, tags__tags=by_model)
    assert both == once
    tags = tuple(
        Tag(tag=tag, rule="high intensity", model_tags=("action",)) for tag in ("High-Intensity", "Action-Packed")
    )
    made = category_of(home, clip, descriptions__tags=(ModelTag(tag="Action"),), tags__tags=tags)
    assert (made.category, made.score) == ("Action", 1.0)


def test_results_without_a_subcategory_are_stored_with_the_versions_that_they_always_had(
    home: Path, clip: Path
) -> None:
    plain = Categories(category="A", score=1.0, reason="r", candidates=(("A", 1.0), ("B", 0.5)))
    assert list(plain.model_dump()) == ["category", "score", "reason", "candidates", "proposal"]
    assert fingerprint(GRAPH.data_versions("categories", plain)) == "3ea4d2f525ecd936"
    more = plain.model_copy(update={"subcategory": "S", "other_reasons": ("b",)})
    assert more.model_dump().items() >= {"subcategory": "S", "other_reasons": ("b",)}.items()
    assert GRAPH.data_versions("categories", more).keys() > GRAPH.data_versions("categories", plain).keys()
    assert more.key_figures() == {"category": "A", "subcategory": "S", "score": 1.0, "margin": 0.5, "reason": "r"}
