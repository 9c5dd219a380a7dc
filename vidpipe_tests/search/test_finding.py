"""What is found in a library of known contents: words, phrases, filters, moments, URLs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidpipe.library.library import Library
from vidpipe.library.queries.show import view
from vidpipe.library.schema import MOST_KEPT
from vidpipe.search.grammar import quoted
from vidpipe.search.query import QueryError
from vidpipe.settings import Settings
from vidpipe.sources.records import SourceRecord, StoredVideo
from vidpipe_tests.library import sample_library
from vidpipe_tests.search.finding import found, page_of

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


def test_the_more_relevant_video_comes_first(library: Library) -> None:
    hits = page_of(library, "blue OR car OR race").hits
    assert [hit["video"] for hit in hits] == [RACE, HOSTILE]


@pytest.mark.parametrize("words", ["lighthouse", "harbours", "documentary", "sailor", "dawn", "Night-time", "at_dawn"])
def test_words_are_found_in_names_titles_tags_category_description_and_subtitles(library: Library, words: str) -> None:
    assert HARBOUR in found(library, words)


@pytest.mark.parametrize("words", ["motor", "grand", "prix", "2019", '"grand prix"', "GrandPrix_2019"])
def test_words_are_found_in_labels_and_within_the_titles_of_sources(library: Library, words: str) -> None:
    assert found(library, words) == [RACE]


def test_a_phrase_must_be_there_and_an_excluded_word_must_not(library: Library) -> None:
    assert found(library, '"red car"') == [RACE]
    assert found(library, "car -race") == [HOSTILE]
    assert found(library, "GrandPrix_-2019") == [RACE], "a dash within a name excludes nothing"


def test_the_beginning_of_a_word_is_found_with_an_asterisk(library: Library) -> None:
    assert found(library, "lightho*") == [HARBOUR]
    assert found(library, "lightho") == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (['tag:"fast-PACED"'], [RACE]),
        (["tag:Fast-paced", 'tag:"High Resolution"'], [RACE]),
        (["tag:Fast-paced", "tag:Night-time"], []),
        (['label:"MOTOR SPORT"', 'label:"=1+1"'], [RACE]),
        (["label:motor_sport"], [RACE]),
        (["label:motor"], []),
        (["category:(sports OR documentary)"], [HARBOUR, RACE]),
        (["duration:>=45.5", "duration:<=100"], [RACE]),
        (["resolution:UHD OR resolution:1080p"], [HARBOUR, RACE]),
        (["resolution:640x360"], [HOSTILE]),
        (["codec:H.265"], [RACE]),
        (["sentiment:Positive"], [HARBOUR]),
        (['source:"example/RAC"*'], [RACE]),
        (['source:"//videos.example/race.mkv"'], [RACE]),
        (['source:"ample/race"'], []),
        ([], [HARBOUR, RACE, HOSTILE]),
    ],
)
def test_filters_alone(library: Library, filters: list[str], expected: list[str]) -> None:
    assert found(library, "", *filters) == sorted(expected)


def test_filters_narrow_what_words_find(library: Library) -> None:
    assert found(library, "car", "codec:av1") == [HOSTILE]
    assert page_of(library, "car zeppelin", "codec:av1").matched == "any"
    assert page_of(library, "car zeppelin", "codec:vp9").total == 0


@pytest.mark.parametrize("wrong", ["resolution:9K", "sentiment:joyful"])
def test_a_filter_that_no_video_can_pass_is_an_error_that_lists_what_there_is(library: Library, wrong: str) -> None:
    with pytest.raises(QueryError) as error:
        found(library, "", wrong)
    assert "Allowed" in error.value.hint


@pytest.mark.parametrize("hostile", ['{"$gt": ""}', "$where", "((((", ".*", "\\", "\0zz\0", "[zq-", "x" * 5000])
def test_hostile_words_are_only_words(library: Library, hostile: str) -> None:
    assert found(library, f"tag:{quoted(hostile)}") == []
    assert found(library, f"car -{quoted(hostile)}") == sorted([RACE, HOSTILE])
    if any(map(str.isalnum, hostile)):
        assert found(library, quoted(hostile)) in ([], [HOSTILE])


def test_moments_say_where_in_which_video_they_are(library: Library) -> None:
    (hit,) = page_of(library, "boats leave", moments=True).hits
    assert (hit["video"], hit["matched_in"], hit["start_s"], hit["end_s"]) == (HARBOUR, "scene", 200.0, 600.0)
    assert hit["text"] == "Fishing boats leave."
    assert [hit["text"][start:end] for start, end in hit["highlights"]] == ["boats", "leave"]
    (said,) = page_of(library, "sailors").hits
    assert (said["matched_in"], said["start_s"], said["end_s"]) == ("said", 1.0, 2.0)


def test_scenes_of_older_generations_are_not_found(own_library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {"scenes": [(0.0, 600.0, "A steamer arrives.")]}
    monkeypatch.setitem(sample_library.CONTENTS, "harbour.mp4", sample_library.CONTENTS["harbour.mp4"] | again)
    own_library.states.mark_missing("scenes", [HARBOUR])
    sample_library.fill(own_library, "harbour.mp4")
    old = {"video": HARBOUR, "generation": "older", "index": 7, "description": "Fishing boats linger.", "_id": "older"}
    own_library.collections["scenes"].insert_one(old)
    assert found(own_library, "scene:boats") == []
    assert [hit["start_s"] for hit in page_of(own_library, "steamer", moments=True).hits] == [0.0]


def test_each_hit_says_how_current_it_is(own_library: Library) -> None:
    specs = sample_library.plan_of(own_library).specs
    sample_library.put(own_library, sample_library.BROKEN)
    sample_library.fill(own_library, sample_library.BROKEN)
    states = {hit["name"]: hit["state"] for hit in page_of(own_library, specs=specs).hits}
    assert states["race.mkv"] == "current"
    assert states[sample_library.BROKEN] == "failed"
    assert [hit["name"] for hit in page_of(own_library, "state:failed", specs=specs).hits] == [sample_library.BROKEN]


def test_the_decoded_duration_is_the_one_that_is_shown_and_filtered_by(own_library: Library) -> None:
    (number,) = own_library.changes.take()
    decoded = {"scenes.duration_s": 12.0, "scenes.frames_decoded": 300, "change_seq": number}
    own_library.collections["videos"].update_one({"_id": RACE}, {"$set": decoded})
    (hit,) = page_of(own_library, "duration:10..12").hits
    shown = view(own_library, RACE, {})["metadata"]
    assert (hit["video"], hit["duration_s"], shown["duration_s"], shown["frame_count"]) == (RACE, 12.0, 12.0, 300)
    assert RACE not in found(own_library, "duration:>=45")


def test_each_word_of_a_file_name_is_found(own_library: Library) -> None:
    words_by_name = {
        "night_watch-2019.mp4": ("night_watch", '"night watch"'), "MyHoliday2018.mp4": ("holiday",),
        "GOPR0042.MP4": ("gopr0042", "gopr"), "beach.at.sunset.mov": ("sunset", "beach_at_sunset"),
        "Old%20Pier.mp4": ("pier",), "HDVideo_ÉtéPlage.mkv": ("plage", "ete"), "iPhone15_clip.mov": ("iphone", "clips"),
    }  # fmt: skip
    for number, name in enumerate(words_by_name):
        _add(own_library, f"{number:064x}", f"https://h/{number}", name)
    for number, (name, several) in enumerate(words_by_name.items()):
        for words in several:
            assert found(own_library, f"file:{words}") == [f"{number:064x}"], (name, words)


def test_a_url_that_the_document_has_no_room_for_finds_the_video(own_library: Library) -> None:
    many = MOST_KEPT + 5
    for number in range(many):
        _add(own_library, "a" * 64, f"https://h/watch-{many - number}.mp4", f"watch-{many - number}.mp4")
    (document,) = own_library.collections["videos"].find({"_id": "a" * 64})
    late = next(
        number for number in range(1, many) if f"https://h/watch-{number}.mp4" not in document["ingest"]["urls"]
    )
    assert found(own_library, f'source:"h/watch-{late}.mp4"') == ["a" * 64]
    assert found(own_library, f'source:"WATCH-{late}.mp"*') == ["a" * 64]
    assert found(own_library, f'source:"watch-{late}.mp4"', "label:none") == []


def _add(library: Library, sha256: str, url: str, name: str) -> None:
    record = SourceRecord(id=url, url=url, state="stored", attempts=1, video=sha256, file_name=name)
    path = f"data/media/{sha256[:2]}/{sha256}.mp4"
    video = StoredVideo(sha256=sha256, path=path, size_bytes=1000, modified_ns=1, file_name=name, url=url)
    library.sources.record_stored(record, video)
