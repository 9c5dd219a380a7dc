"""The report on rules, labels against tags, and trends: figures that were calculated by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.queries.label_evaluation import evaluate_labels, labelled_videos, read_labels
from vidpipe.library.queries.rule_report import RuleReport, rule_report
from vidpipe.library.queries.trends import trends
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.tagging.measures import wilson
from vidpipe.tagging.rules import RuleSet, build_rules, parse_rules
from vidpipe.text.words import tag_key
from vidpipe_tests.library import sample_library
from vidpipe_tests.library.sample_library import sha256_of
from vidpipe_tests.runner.tagged_library import GRAPH, NAMES, write_rules

#: Videos last 10, 11, … 51 s; every seventh is in 4K, and shows cars instead of a harbour.
RULES: list[dict[str, Any]] = [
    {
        "id": "long", "title": "Long or sharp", "formerly": ["lengthy"], "tags": ["Long"], "condition": "1 of them",
        "selections": {"lasts": {"duration_s|gt": 30}, "sharp": {"resolution": "4K"}},
    },
    {"id": "sharp", "status": "stable", "tags": ["Sharp", "Long"], "selections": {"sharp": {"resolution": "4K"}}},
    {"id": "endless", "remove": ["Long"], "selections": {"lasts": {"duration_s|gt": 48}}},
    {"id": "soft", "tags": ["Soft"], "selections": {"sharp": {"resolution": "Full HD"}, "all": {"duration_s|gt": 1}},
     "condition": "1 of them", "priority": -1},
]  # fmt: skip
VOCABULARY = {"exclusive": [["Sharp", "Soft"]], "synonyms": {"Long": ["Lengthy"]}}


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    write_rules(module_settings, [])
    rules = {"rules": RULES, "vocabulary": VOCABULARY}
    (module_settings.home / "rules" / "custom_tags.json").write_text(json.dumps(rules))
    with Library.open(module_settings, GRAPH) as opened:
        for name in NAMES:
            sample_library.put(opened, name)
        Runner(opened, Plan.make(GRAPH, module_settings, ("metadata", "scenes", "descriptions", "sentiment"))).run()
        opened.collections["videos"].update_many({}, [{"$set": {"scenes.duration_s": "$metadata.duration_s"}}])
        Runner(opened, Plan.make(GRAPH, module_settings)).run()
        yield opened


@pytest.fixture
def rules(library: Library) -> RuleSet:
    return build_rules(library.settings)


@pytest.fixture
def verdicts(library: Library) -> Iterator[Any]:
    """Stores verdicts as `vidpipe.library.verdicts` does: (number of the video, tag, answer, rule)."""

    def store(*said: tuple[int, str, str, str | None], **more: Any) -> None:
        for number, tag, verdict, rule in said:
            video = sha256_of(NAMES[number])
            library.collections["verdicts"].insert_one({
                "_id": f"{video} {tag_key(tag)}", "video": video, "tag": tag, "tag_key": tag_key(tag), "rule": rule,
                "verdict": verdict, "by": "a", "at": datetime.now(UTC), "spec": "", **more,
            })  # fmt: skip

    yield store
    library.collections["verdicts"].delete_many({})


def _of(report: RuleReport, rule: str) -> dict[str, Any]:
    return next(one for one in report.rules if one["rule"] == rule)


def test_coverage_is_that_of_the_stored_tags(library: Library, rules: RuleSet) -> None:
    report = rule_report(library, rules, ())
    # 21 are longer than 30 s, 3 more are in 4K; "endless" takes the tag from the last three
    assert {one["rule"]: one["videos"] for one in report.rules} == {"long": 21, "sharp": 6, "endless": 0, "soft": 36}
    assert {one["tag"]: one["videos"] for one in report.tags} == {"Long": 21, "Sharp": 6, "Soft": 36}
    assert {one["category"]: one["videos"] for one in report.categories} == {"Sports": 6, "Unclassified": 36}


def test_rules_that_overlap_remove_or_exclude_are_paired(library: Library, rules: RuleSet) -> None:
    report = rule_report(library, rules, ())
    pairs = {(one["kind"], one["rule"], one["other"], one["tag"]): (one["videos"], one["of"]) for one in report.pairs}
    assert pairs["overlap", "sharp", "long", "Long"] == (6, 6)
    assert pairs["overlap", "long", "sharp", "Long"][0] == 6
    assert pairs["excludes", "sharp", "soft", "Sharp"] == (6, 6)
    assert ("overlap", "soft", "long", "Soft") not in pairs


def test_verdicts_give_precision_recall_and_the_conditions_that_were_wrong(
    library: Library, rules: RuleSet, verdicts: Any
) -> None:
    # "sharp" gave it to 7, "lasts" to 22 and 23; 41 lost it to "endless"; 5 never had it
    verdicts((7, "Long", "no", "lengthy"), (14, "long", "no", "long"), (22, "Long", "yes", "long"))
    verdicts((23, "Long", "no", "long"), (41, "Long", "no", None), (5, "Long", "yes", None), (6, "Long", "no", None))
    report = rule_report(library, rules, ())
    long = _of(report, "long")
    assert (long["yes"], long["no"], long["missed"]) == (1, 4, 1)
    assert (long["precision"], long["recall"]) == (0.2, 0.5)
    assert (long["low"], long["high"]) == wilson(1, 5)
    assert [(one["condition"], one["no"], one["yes"]) for one in long["conditions"]] == [
        ("lasts", 2, 1), ("sharp", 2, 0),
    ]  # fmt: skip
    sharp = _of(report, "sharp")
    assert (sharp["yes"], sharp["no"], sharp["missed"]) == (0, 2, 2), "what other rules give, this one misses"
    (tag,) = (one for one in report.tags if one["tag"] == "Long")
    assert (tag["yes"], tag["no"], tag["missed"]) == (1, 3, 1), "as it was when the verdicts were given"
    assert report.verdicts == 7


def test_advice_states_the_numbers(library: Library, rules: RuleSet, verdicts: Any) -> None:
    verdicts(*((number, "Soft", "yes", "soft") for number in range(1, 20) if number % 7))
    verdicts(*((number, "Sharp", "no", "sharp") for number in (0, 7, 14)))
    report = rule_report(library, rules, ())
    assert _of(report, "soft")["advice"].startswith("17 of 17 are right, so 82% to 100%: can be stable; ")
    assert _of(report, "sharp")["advice"].startswith("0 of 3 are right, so 0% to 56%: should be experimental; ")
    assert _of(report, "long")["advice"].startswith("0 of 0 are right, so 0% to 100%: stays experimental; ")


def test_asks_for_the_verdicts_that_tell_the_most(library: Library, rules: RuleSet, verdicts: Any) -> None:
    judged = [number for number in range(1, 34) if number % 7]
    verdicts(*((number, "Soft", "yes", "soft") for number in judged))
    first, *_ = rule_report(library, rules, ()).ask_next
    assert (first["rule"], first["tag"], first["videos"], first["weight"]) == ("long", "Long", 21, 21.0)
    assert first["commands"] == [f"vidpipe verdict {video[:12]} Long yes" for video in first["ask"]]
    asked = {video for one in rule_report(library, rules, ()).ask_next for video in one["ask"]}
    assert asked.isdisjoint(sha256_of(NAMES[number]) for number in judged)


def test_one_rule_or_tag_is_chosen_by_an_old_name_too(library: Library, rules: RuleSet, verdicts: Any) -> None:
    verdicts((7, "Long", "no", "lengthy"))
    for report in (rule_report(library, rules, (), rule="lengthy"), rule_report(library, rules, (), rule="long")):
        assert [one["rule"] for one in report.rules] == ["long"]
        assert [one["tag"] for one in report.tags] == ["Long"]
    assert {one["rule"] for one in rule_report(library, rules, (), tag="LONG").rules} == {"long", "sharp", "endless"}
    with pytest.raises(SettingsError, match='did you mean "sharp"'):
        rule_report(library, rules, (), rule="shrap")


def test_where_results_are_missing_the_stored_rule_counts(library: Library, rules: RuleSet, verdicts: Any) -> None:
    library.collections["verdicts"].insert_one({
        "video": "0" * 64, "tag": "Long", "verdict": "no", "rule": "lengthy", "block": "lasts",
    })  # fmt: skip
    long = _of(rule_report(library, rules, ()), "long")
    assert (long["no"], [one["condition"] for one in long["conditions"]]) == (1, ["lasts"])


def test_verdicts_on_categories_and_scenes_are_kept_apart(library: Library, rules: RuleSet, verdicts: Any) -> None:
    verdicts((0, "Sports", "yes", None), (7, "Sports", "no", None), kind="category")
    verdicts((22, "Long", "no", "long"), kind="tag", start_s=3.0)
    report = rule_report(library, rules, ())
    (sports,) = (one for one in report.categories if one["category"] == "Sports")
    assert (sports["yes"], sports["no"]) == (1, 1)
    assert "Sports" not in [one["tag"] for one in report.tags]
    assert _of(report, "long")["no"] == 1


def test_keywords_are_counted_in_descriptions_and_model_tags(library: Library, rules: RuleSet) -> None:
    place = {"_id": sha256_of(NAMES[1])}
    tags = [{"tag": "Red"}, {"tag": "Cars"}, {"tag": "lighthouse"}]
    library.collections["videos"].update_one(place, {"$set": {"description.tags": tags}})
    report = rule_report(library, rules, ("Lighthouse", "fishing boat", "Zeppelin", "red car"))
    library.collections["videos"].update_one(place, {"$set": {"description.tags": []}})
    found = {one["keyword"]: (one["descriptions"], one["model_tags"]) for one in report.keywords}
    assert found == {"Lighthouse": (36, 1), "fishing boat": (36, 0), "Zeppelin": (0, 0), "red car": (6, 0)}


def test_labels_of_a_file_are_compared_and_bad_lines_named(library: Library, rules: RuleSet) -> None:
    names = [sha256_of(NAMES[number])[:12] for number in (0, 1, 22, 23)]
    text = (
        f"Video,Labels,category,checked\n{names[0]},Sharp|lengthy,Sports,\n{names[1]},,Sports,\n"
        f"{sample_library.url_of(NAMES[22])},Long,,Long\n{names[3]},Sharp;Long,,\nnowhere.mp4,Long,,\n{names[3]},Long\n"
        f"{names[0]},,Music,\na\0b,Long,,\n\n{names[3]},Night,,\n"
    )
    labels, problems = read_labels(text, library)
    assert [problem.partition(":")[0] for problem in problems] == ["line 6", "line 7", "line 9"]
    found = evaluate_labels(library, labels, rules.vocabulary.canonical)
    assert found["videos"] == 4
    assert {one["tag"]: (one["yes"], one["no"], one["missed"]) for one in found["tags"]} == {
        "Long": (3, 0, 0), "Night": (0, 0, 1), "Sharp": (1, 0, 1),
    }  # fmt: skip
    assert (found["micro"]["precision"], found["micro"]["recall"]) == (1.0, 4 / 6)
    assert found["macro"]["recall"] == 0.5
    assert found["confusion"] == {"Music or Sports": {"Sports": 1}, "Sports": {"Unclassified": 1}}
    with pytest.raises(SettingsError, match="no column of videos"):
        read_labels("url;tags\na;b\n", library)
    assert read_labels('video,tags\n"', library)[1], "a quote that is never closed"
    assert read_labels(f'"video","tags"\r\n{names[3]},"Long"\r\n', library) == read_labels(
        f"video,tags\n{names[3]},Long\n", library
    )
    with pytest.raises(SettingsError, match="not valid CSV"):
        read_labels('"video","tags', library)


def test_stored_labels_are_those_of_videos_and_of_their_parts(library: Library) -> None:
    sources, video = library.collections["sources"], sha256_of(NAMES[3])
    (before,) = sources.find({"video": video})
    part = {"start_s": 1.0, "labels": ["gull"]}
    sources.update_one({"_id": before["_id"]}, {"$set": {"labels": ["sea"], "segments": [part]}})
    assert labelled_videos(library) == {video: ({"sea", "gull"}, set(), set())}
    sources.replace_one({"_id": before["_id"]}, before)


def test_trends_by_time_and_source(library: Library) -> None:
    videos = library.collections["videos"]
    first_seven = {"_id": {"$in": [sha256_of(name) for name in NAMES[:7]]}}
    times = {"added_at": datetime(2024, 12, 30, tzinfo=UTC), "metadata.created": "2021-02-03"}
    videos.update_many(first_seven, {"$set": times})
    first, *others = trends(library, "week")
    assert (first["by"], first["videos"], first["seconds"]) == ("2025-W01", 7, sum(range(10, 17)))
    assert first["tags"] == {"Soft": 6, "Long": 1, "Sharp": 1}
    assert first["categories"] == {"Unclassified": 6, "Sports": 1}
    assert first["sentiments"] == {"positive": 6, "no basis": 1}
    assert sum(one["videos"] for one in others) == 35
    assert [(one["by"], one["videos"]) for one in trends(library, "year", created=True)] == [(None, 35), ("2021", 7)]
    assert [(one["by"], one["videos"]) for one in trends(library, "host")] == [("videos.example", 42)]
    assert [(one["by"], one["videos"]) for one in trends(library, "list")] == [(None, 42)]
    assert trends(library, "host", [sha256_of(NAMES[7])], most=1)[0]["tags"] == {"Long": 1}


def test_rules_about_scenes_are_measured_with_the_scenes(library: Library, verdicts: Any) -> None:
    rule = {"id": "shots", "scope": "scene", "tags": ["Shot"], "selections": {"any": {"duration_s|gte": 0}}}
    rules = parse_rules(json.dumps({"rules": [rule]}))
    verdicts((7, "Shot", "yes", "shots"), (8, "Shot", "no", "shots"))
    (shots,) = rule_report(library, rules, ()).model_dump()["rules"]
    assert (shots["yes"], shots["no"], shots["missed"]) == (1, 1, 0)
