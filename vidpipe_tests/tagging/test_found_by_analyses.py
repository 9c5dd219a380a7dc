"""What analyses and plugins found can be asked for: words with times, objects with count and share, fields."""

import json
from dataclasses import replace
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings.home import DEFAULT_RULES
from vidpipe.tagging.categories import classify
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.explanation import explain
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.fields import FIELDS, FieldSpec, Vocabulary
from vidpipe.tagging.rules import parse_rules
from vidpipe.text.words import TimedText
from vidpipe_tests.tagging.one_file import parse_categories

SPEECH = TimedText.of(
    "speech", "someone says", [(12.4, "A rocket, in the outer"), (40, "space. Rockets!"), (61, "Rocket")]
)
SCREEN = TimedText.of("screen_text", "the screen shows", [(3.5, "拍打胃部"), (3725, "Rocket science")])
BIKES = (
    SeenObject("bicycle", 2, 0.831, 0.4, 1.25),
    SeenObject("car", 5, 0.95, 0.62),
    SeenObject("dining table", 1, 0.6, 0.05),
)
TALK = RuleFacts(
    found=(SPEECH, SCREEN), objects=BIKES, values={"speech_s": 14.5, "spoken_language": ("eng",), "has_caption": True}
)


def evidence_of(block: dict[str, Any], facts: RuleFacts = TALK) -> str | None:
    """Return the evidence of a rule with this block; None if it does not match. `explain` must agree."""
    rules = parse_rules(json.dumps([block | {"tags": "T"}]))
    (explained,) = explain(rules, facts)
    found = evaluate(rules, facts).tags
    assert explained.matched is bool(found)
    assert parse_rules(rules.text).version == rules.version
    return found[0].evidence if found else None


@pytest.mark.parametrize(
    ("block", "evidence"),
    [
        ({"speech_keywords": ["rocket"]}, 'someone says "rocket" at 0:12, 0:40 and 1:01'),
        ({"speech_keywords": ["outer space", "rocket"]},
         'someone says "outer space" at 0:12, "rocket" at 0:12, 0:40 and 1:01'),
        ({"screen_text_keywords": ["rocket"]}, 'the screen shows "rocket" at 1:02:05'),
        ({"screen_text_keywords": ["胃部"]}, 'the screen shows "胃部" at 0:03'),
        ({"subtitle_keywords": ["outer"]}, 'someone says "outer" at 0:12'),
        ({"subtitle_keywords": ["science"]}, None),
        ({"text_keywords": ["science", "outer"]},
         'someone says "outer" at 0:12, the screen shows "science" at 1:02:05'),
        ({"description_keywords": ["rocket"]}, None),
        ({"objects": ["Bicycle"]},
         "objects were detected: 2 bicycles (confidence 0.83, 40 % of the time, first at 0:01.2)"),
        ({"objects": ["person", "dining-table"]},
         "objects were detected: 1 dining table (confidence 0.60, 5 % of the time)"),
        ({"objects": {"object": ["car", "bus"], "min_count": 5, "min_share": 0.6, "min_confidence": 0.9}},
         "objects were detected: 5 cars (confidence 0.95, 62 % of the time)"),
        ({"objects": [{"object": "bicycle", "min_count": 3}, {"object": "car", "min_share": 0.63}]}, None),
        ({"objects": {"object": "bicycle", "min_confidence": 0.84}}, None),
        ({"metadata_conditions": {"speech_s_gte": 2, "spoken_language": "English"}},
         "speech is 14.5 s (asked: at least 2 s), spoken language is eng (asked: eng)"),
        ({"metadata_conditions": {"has_caption": False}}, None),
    ],
)  # fmt: skip
def test_evidence_names_words_objects_and_times(block: dict[str, Any], evidence: str | None) -> None:
    assert evidence_of(block) == evidence
    assert evidence_of(block, RuleFacts()) is None


def test_many_times_are_counted() -> None:
    often = TimedText.of("speech", "someone says", [(float(second), "go") for second in range(9)])
    assert evidence_of({"speech_keywords": "go"}, RuleFacts(found=(often,))) == (
        'someone says "go" at 0:00, 0:01, 0:02, 0:03, 0:04 and 4 more times'
    )


def test_what_no_analysis_found_never_matches() -> None:
    for spec in (spec for spec in FIELDS.values() if spec.name != "label" and not spec.allowed):
        value = {"number": 0, "flag": True}.get(spec.kind, "x")
        rules = parse_rules(json.dumps([{"metadata_conditions": {spec.name + "_not": value}, "tags": "T"}]))
        assert evaluate(rules, RuleFacts()).tags == ()
    (rule,) = explain(parse_rules('[{"objects": ["car"], "speech_keywords": ["x"], "tags": "T"}]'), RuleFacts())
    assert [part.found for block in rule.blocks for part in block.parts] == ["not known", "no speech"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"objects": {"objekt": "car"}}, '"objekt" is not a known key; did you mean "object"'),
        ({"objects": {"object": "car", "min_share": 40}}, '"min_share" should be less than or equal to 1'),
        ({"objects": {"object": "car", "min_count": 1.5}}, '"min_count" should be a whole number; found 1.5'),
        ({"objects": ["?"]}, 'rule 1, objects: "?" contains no word'),
        ({"speech_keyword": ["x"]}, 'did you mean "speech_keywords"'),
        ({"metadata_conditions": {"face_counts": 1}}, 'did you mean "face_count"'),
    ],
)
def test_a_wrong_block_is_refused_with_what_is_allowed(block: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_rules(json.dumps([block | {"tags": "T"}]))
    assert said in str(error.value)


def test_plugins_add_fields_and_texts() -> None:
    plugin = Vocabulary((FieldSpec("sharpness", "number", "", aliases=("focus",)),), ("logo",))
    text = '[{"metadata_conditions": {"focus_gt": 3}, "logo_keywords": ["acme"], "match": "all", "tags": "T"}]'
    with pytest.raises(SettingsError):
        parse_rules(text)
    facts = RuleFacts(values={"sharpness": 4}, found=(TimedText.of("logo", "a logo reads", [(2, "ACME")]),))
    (given,) = evaluate(parse_rules(text, vocabulary=plugin), facts).tags
    assert given.evidence == 'sharpness is 4 (asked: above 3); a logo reads "acme" at 0:02'
    categories = parse_categories('{"Brand": {"logo_keywords": "acme", "weights": {"logo_keywords": 3}}}', "", plugin)
    assert classify(categories, facts).score == 3
    taken = Vocabulary((FieldSpec("duration_s", "name", ""), FieldSpec("face_count", "name", "")))
    assert taken.names["duration_s"] is FIELDS["duration_s"]
    assert taken.names["face_count"] is FIELDS["face_count"]


def test_a_word_that_is_spoken_and_captioned_counts_once() -> None:
    categories = parse_categories('{"Space": {"text_keywords": "rocket", "objects": ["car", "bicycle"]}}')
    verdict = classify(categories, replace(TALK, subtitles="The rocket"))
    assert (verdict.score, verdict.reason[:27]) == (1.5, 'the subtitles say "rocket";')


@pytest.mark.parametrize(
    ("facts", "tags"),
    [
        ({"values": {"moderation_score": 0.79}}, set()),
        ({"values": {"moderation_score": 0.8}}, {"Needs review"}),
        ({"objects": (SeenObject("cat", 1, 0.94, 0.9), SeenObject("cake", 1, 0.92, 1.0))}, set()),
        ({"objects": (SeenObject("person", 2, 0.89, 0.21),)}, set()),
        ({"values": {"speech_s": 3.2, "face_share": 0.05, "has_caption": False}}, set()),
        ({"objects": (SeenObject("person", 1, 0.66, 0.75),), "values": {"speech_s": 8.0}}, {"People", "Speech"}),
        ({"values": {"face_count": 2, "face_share": 0.9, "has_caption": True}}, {"People", "Faces", "Captions"}),
        ({"objects": BIKES}, {"Vehicles"}),
    ],
)
def test_the_default_rules_claim_what_was_found_for_a_while(facts: dict[str, Any], tags: set[str]) -> None:
    rules = parse_rules((DEFAULT_RULES / "custom_tags.json").read_text(encoding="utf-8"))
    assert {match.tag for match in evaluate(rules, RuleFacts(**facts)).tags if not match.facet} == tags
