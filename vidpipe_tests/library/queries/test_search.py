"""Words by relevance, phrases, exclusions, filters and pages, on a real MongoDB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.queries.search import Filters, SearchPage, find_scenes, find_videos
from vidpipe.library.queries.show import view
from vidpipe.settings import Settings
from vidpipe_tests.library import sample_library

HARBOUR, RACE, HOSTILE = (sample_library.sha256_of(name) for name in sample_library.CONTENTS)


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    """For tests that only look."""
    with Library.open(module_settings, sample_library.GRAPH) as opened:
        sample_library.fill(opened)
        yield opened


@pytest.fixture
def own_library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        sample_library.fill(opened)
        yield opened


def found(page: SearchPage) -> list[str]:
    return [hit["video"] for hit in page.hits]


def test_the_more_relevant_video_comes_first(library: Library) -> None:
    page = find_videos(library, "blue car race")
    assert found(page) == [RACE, HOSTILE]
    assert page.how == "words"
    assert page.hits[0]["score"] > page.hits[1]["score"] > 0


@pytest.mark.parametrize("words", ["lighthouse", "harbour", "documentary", "sailors", "dawn", "Night-time"])
def test_words_are_looked_for_in_names_titles_tags_category_description_and_subtitles(
    library: Library, words: str
) -> None:
    assert HARBOUR in found(find_videos(library, words))


@pytest.mark.parametrize("words", ["motor", "grand", "prix", "2019", '"grand prix"', "GrandPrix_2019"])
def test_words_are_looked_for_in_labels_and_within_the_titles_of_sources(library: Library, words: str) -> None:
    page = find_videos(library, words)
    assert (found(page), page.how) == ([RACE], "words")


def test_a_phrase_must_be_there_and_an_excluded_word_must_not(library: Library) -> None:
    assert found(find_videos(library, '"red car"')) == [RACE]
    assert found(find_videos(library, "car -race")) == [HOSTILE]


def test_where_no_word_matches_parts_of_words_do(library: Library) -> None:
    page = find_videos(library, "lightho")
    assert (found(page), page.how) == ([HARBOUR], "parts of words")
    assert found(find_videos(library, "ghthou harb")) == [HARBOUR]
    assert found(find_videos(library, "ghthou -harb")) == []


def test_parts_of_words_have_pages_too(library: Library) -> None:
    pages = [find_videos(library, "example", limit=2, offset=offset) for offset in (0, 2)]
    assert [page.more for page in pages] == [True, False]
    assert sorted(found(pages[0]) + found(pages[1])) == sorted([HARBOUR, RACE, HOSTILE])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(tags=("fast-PACED",)), [RACE]),
        (Filters(tags=("Fast-paced", "High Resolution")), [RACE]),
        (Filters(tags=("Fast-paced", "Night-time")), []),
        (Filters(labels=("MOTOR SPORT", "=1+1")), [RACE]),
        (Filters(labels=("motor_sport",)), [RACE]),
        (Filters(labels=("motor",)), []),
        (Filters(categories=("sports", "documentary")), [HARBOUR, RACE]),
        (Filters(min_duration_s=45.5, max_duration_s=100), [RACE]),
        (Filters(resolutions=("UHD", "1080p")), [HARBOUR, RACE]),
        (Filters(resolutions=("640x360",)), [HOSTILE]),
        (Filters(codecs=("H.265",)), [RACE]),
        (Filters(sentiments=("Positive",)), [HARBOUR]),
        (Filters(sources=("example/RACE",)), [RACE]),
        (Filters(sources=("example.race",)), []),
        (Filters(), [HARBOUR, RACE, HOSTILE]),
    ],
)
def test_filters_alone(library: Library, filters: Filters, expected: list[str]) -> None:
    assert sorted(found(find_videos(library, "", filters))) == sorted(expected)


def test_filters_narrow_what_words_find(library: Library) -> None:
    assert found(find_videos(library, "car", Filters(codecs=("av1",)))) == [HOSTILE]


@pytest.mark.parametrize("wrong", [Filters(resolutions=("9K",)), Filters(sentiments=("joyful",))])
def test_a_filter_no_video_can_pass_is_an_error_that_names_what_there_is(library: Library, wrong: Filters) -> None:
    with pytest.raises(SettingsError, match="is no"):
        find_videos(library, "", wrong)


@pytest.mark.parametrize("hostile", ['{"$gt": ""}', "$where", '"', "((((", ".*", "\\", "\0zz\0", "[a-", "x" * 5000])
def test_hostile_words_are_only_words(library: Library, hostile: str) -> None:
    assert found(find_videos(library, hostile)) == []
    assert find_scenes(library, hostile).hits == []
    assert found(find_videos(library, "", Filters(tags=(hostile,), sources=(hostile,)))) == []


@pytest.mark.parametrize("words", ["-(", '-"', "-", "--", "- -", "-x"])
def test_exclusions_alone_exclude_nothing_else(library: Library, words: str) -> None:
    assert set(found(find_videos(library, words))) <= {HARBOUR, RACE, HOSTILE}


def test_a_filter_cannot_hold_an_operator() -> None:
    with pytest.raises(ValidationError):
        Filters.model_validate({"tags": ({"$ne": None},)})


def test_scenes_say_where_in_which_video_they_are(library: Library) -> None:
    hits = find_scenes(library, "boats").hits
    assert [(hit["video"], hit["index"], hit["start_s"], hit["end_s"]) for hit in hits] == [(HARBOUR, 1, 200.0, 600.0)]
    assert hits[0]["description"] == "Fishing boats leave."


def test_scenes_of_older_generations_are_not_found(own_library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {"scenes": [(0.0, 600.0, "A steamer arrives.")]}
    monkeypatch.setitem(sample_library.CONTENTS, "harbour.mp4", sample_library.CONTENTS["harbour.mp4"] | again)
    own_library.states.mark_missing("scenes", [HARBOUR])
    sample_library.fill(own_library, "harbour.mp4")
    old = {"video": HARBOUR, "generation": "older", "index": 7, "description": "Fishing boats linger.", "_id": "older"}
    own_library.collections["scenes"].insert_one(old)
    assert find_scenes(own_library, "boats").hits == []
    assert [hit["index"] for hit in find_scenes(own_library, "steamer").hits] == [0]


def test_scenes_of_filtered_videos_and_their_pages(library: Library) -> None:
    assert [hit["index"] for hit in find_scenes(library, "", Filters(categories=("Documentary",))).hits] == [0, 1]
    first = find_scenes(library, "car", limit=1)
    second = find_scenes(library, "car", limit=1, offset=1)
    assert (first.more, second.more) == (True, False)
    assert {first.hits[0]["video"], second.hits[0]["video"]} == {RACE, HOSTILE}
    assert find_scenes(library, "car", Filters(codecs=("hevc",))).hits[0]["video"] == RACE


def test_each_hit_says_how_current_it_is(own_library: Library) -> None:
    specs = sample_library.plan_of(own_library).specs
    sample_library.put(own_library, sample_library.BROKEN)
    sample_library.fill(own_library, sample_library.BROKEN)
    states = {hit["name"]: hit["state"] for hit in find_videos(own_library, specs=specs).hits}
    assert states["race.mkv"] == "current"
    assert states[sample_library.BROKEN] == "failed"


def test_the_decoded_duration_is_the_one_that_is_shown_and_filtered_by(own_library: Library) -> None:
    decoded = {"scenes.duration_s": 12.0, "scenes.frames_decoded": 300}
    own_library.collections["videos"].update_one({"_id": RACE}, {"$set": decoded})
    (hit,) = find_videos(own_library, "", Filters(max_duration_s=12.0, min_duration_s=10.0)).hits
    shown = view(own_library, RACE, {})["metadata"]
    assert (hit["video"], hit["duration_s"], shown["duration_s"], shown["frame_count"]) == (RACE, 12.0, 12.0, 300)
    assert RACE not in found(find_videos(own_library, "", Filters(min_duration_s=45.0)))


def test_a_dash_within_a_name_excludes_nothing(library: Library) -> None:
    assert found(find_videos(library, "GrandPrix_-2019")) == [RACE]
