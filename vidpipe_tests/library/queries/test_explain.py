"""What explains a video's tags: the same for command, page and API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.queries.explain import Reasons, reasons
from vidpipe.library.queries.history import history
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe_tests.library import sample_library
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, SHARP, write_rules

HARBOUR: list[dict[str, Any]] = [
    {"id": "boats", "tags": ["Boats"], "scope": "scene", "status": "stable",
     "selections": {"boat": {"description|word": "boat"}}},
    {"id": "sailing", "tags": ["Sailing"], "selections": {"boats": {"tags": ["Boats"]},
                                                         "sail": {"description|word": "sail"}}},
    {"id": "spoken-sail", "tags": ["Sailing"], "selections": {"sea": {"description|word": "harbour"},
                                                             "said": {"speech|word": ["sail"]}}},
    {"id": "no-night", "remove": ["Night"], "selections": {"bright": {"brightness|gt": 0.3}}, "priority": 1},
    {"id": "night", "tags": ["Night"], "selections": {"dark": {"brightness|lt": 0.9}}},
    {"id": "calm", "tags": ["Calm"], "selections": {"morning": {"subtitles|phrase": "good morning"}}},
]  # fmt: skip
VOCABULARY = {"synonyms": {"Boats": ["Ships"]}, "hierarchy": {"Water": ["Boats"]}, "exclusive": [["Calm", "Storm"]]}


def _explained(library: Library, video: str, tag: str | None = None) -> Reasons:
    return reasons(library, video, Plan.make(library.graph, library.settings).specs, tag)


def _filled(library: Library, name: str) -> str:
    video = sample_library.put(library, name)
    Runner(library, Plan.make(GRAPH, library.settings)).run()
    return video


def _write(settings: Settings, rules: list[dict[str, Any]], **more: Any) -> None:
    write_rules(settings, [])
    Path(settings.home / "rules" / "custom_tags.json").write_text(json.dumps({"rules": rules, **more}))


def test_an_explanation_tells_since_when_by_which_rules_where_and_how_often_the_rule_was_right(
    settings: Settings,
) -> None:
    _write(settings, [*HARBOUR, {"name": "storm", "tags": ["Storm"], "labels": ["none"]}], vocabulary=VOCABULARY)
    with Library.open(settings, GRAPH) as library:
        video = _filled(library, "harbour.mp4")
        library.collections["verdicts"].insert_one({"_id": "x boats", "video": "x", "rule": "boats", "verdict": "no"})

        found = _explained(library, video, "Ships")
        (boats,) = found.tags
        assert (boats.stored, boats.rule, boats.right, boats.wrong) == (True, "boats", 0, 1)
        assert boats.since is not None
        assert boats.rules_version == found.rules_version
        assert boats.effects == ("“Ships” is a synonym of “Boats”",)
        assert [tag.spans for tag in found.scene_tags] == [((200.0, 600.0),)]
        (rule,) = found.rules
        assert (rule.status, [scene.matched for scene in rule.scenes]) == ("stable", [False, True])
        ((part,),) = [block.parts for block in rule.blocks]
        assert [(one.before, one.found, one.after) for one in part.extracts] == [("fishing", "boats", "leave")]
        assert found.made_by["description"]["models"] == ["sample-model"]
        assert [scene["thumbnail"] for scene in found.scenes] == ["data/derived/0.jpg", "data/derived/1.jpg"]

        (water,) = _explained(library, video, "Water").tags
        assert water.effects == ("“Boats” is a kind of “Water”",)
        (night,) = _explained(library, video, "Night").tags
        assert (night.stored, night.effects) == (False, ("the rule “no-night” (priority 1) removes it",))
        (storm,) = _explained(library, video, "storm").tags
        assert storm.effects == ("“Calm” excludes it",)


def test_of_a_tag_that_is_not_there_the_closest_rule_is_named_and_what_would_have_to_run(settings: Settings) -> None:
    _write(settings, HARBOUR)
    with Library.open(settings, GRAPH) as library:
        video = _filled(library, "harbour.mp4")
        found = _explained(library, video, "Sailing")
        (tag,) = found.tags
        assert (tag.stored, tag.rule, tag.since) == (False, "spoken-sail", None)
        closest = next(rule for rule in found.rules if rule.rule == "spoken-sail")
        assert [(part.asks, part.unknown) for part in closest.lacking] == [('speech: word "sail"', ("speech",))]
        command = f"`vidpipe run {video[:12]} --stages speech`"
        assert found.missing["speech"] == (
            f"the stage speech has not run: add speech to Enabled in [Analyses], then {command}"
        )
        other = next(rule for rule in found.rules if rule.rule == "sailing")
        assert [part.matched for part in other.lacking] == [False]
        with pytest.raises(SettingsError) as unknown:
            _explained(library, video, "Sailling")
        assert "Did you mean Sailing" in unknown.value.hint


def test_words_in_context_are_safe_and_hold_no_more_than_their_neighbours(settings: Settings) -> None:
    hostile = "<script>\x1b[2J\u202e" + "word " * 50_000 + "boat" + " wave" * 50_000
    _write(settings, [{"name": "boat", "tags": ["Boat"], "description_keywords": ["boat"]}])
    with Library.open(settings, GRAPH) as library:
        video = _filled(library, "harbour.mp4")
        library.collections["videos"].update_one({"_id": video}, {"$set": {"description.text": hostile}})
        ((extract,),) = [part.extracts for part in _explained(library, video, "Boat").rules[0].blocks[0].parts]
        assert (extract.before, extract.found, extract.after) == (
            " ".join(["word"] * 8),
            "boat",
            " ".join(["wave"] * 8),
        )


def test_a_history_tells_changes_of_tags_and_category_and_verdicts_from_the_newest(settings: Settings) -> None:
    write_rules(settings, [{**LONG}, {**SHARP}])
    with Library.open(settings, GRAPH) as library:
        video = _filled(library, "race.mkv")
        write_rules(settings, [{**LONG}])
        Runner(library, Plan.make(GRAPH, settings)).run()
        library.verdicts.put(video, "Long", "yes", "Kim")
        entries, following = history(library, video, limit=500)
        assert following is None
        told = [
            (one["kind"], one.get("change") or one.get("was")) for one in entries if one["kind"] in ("tag", "category")
        ]
        (said,) = [one for one in entries if one["kind"] == "verdict"]
        assert (said["tag"], said["by"], said["change"]) == ("Long", "Kim", "verdict yes")
        assert told == [
            ("category", "Sports"),
            ("tag", "removed"),
            ("category", ""),
            ("tag", "added"),
        ]
        assert all(one["rules_version"] and one["run"] for one in entries if one["kind"] in ("tag", "category"))
        pages, after = [], None
        while True:
            page, after = history(library, video, limit=2, after=after)
            pages += page
            if after is None:
                break
        assert pages == entries
        before_all = "0001-01-01T00:00:00+14:00~x"  # earlier in UTC than any time can be
        assert history(library, video, after=before_all) == ([], None)
