"""The full form: every field and modifier, three-valued results, and error messages that say what to do."""

from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.field_conditions import parse_field_condition
from vidpipe.tagging.fields import LIST_FIELDS, OWN_VOCABULARY, TEXT_FIELDS
from vidpipe.tagging.made_up_facts import made_up_facts
from vidpipe.tagging.rules import parse_rules

KNOWN = made_up_facts(
    {
        "brightness": 0.1,
        "has_audio": True,
        "resolution": "4K",
        "color": ["red", "blue"],
        "face_count": 2,
        "face_share": 0.4,
        "description": "A man drives along the Schnellstraße at night, بسرعة كبيرة.",
        "speech": "driving home, 夜间驾驶很危险",
        "title": "Été à la mer",
        "file_name": "IMG_2024-01-01.mov",
        "source": "https://videos.example/a b",
        "labels": ["Summer Holiday"],
        "model_tags": {"Night Drive": 0.7},
        "category": "Transport",
        "objects": {"car": {"count": 3, "share": 0.5, "confidence": 0.9}},
        "answers": {"weather": "Sunny", "people": 3, "indoors": False, "things": ["Dog", "Cat"]},
        "tags": ["Dark"],
        "uploader": "Some Channel",
        "source_description": "about roads",
        "licence": "CC BY",
        "site": "Videos",
    },
    OWN_VOCABULARY,
)
NOTHING = RuleFacts()


def truth(key: str, value: Any, facts: RuleFacts = KNOWN) -> bool | None:
    return parse_field_condition(key, value, OWN_VOCABULARY).truth(facts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("brightness|lt", 0.18),
        ("brightness|lte", 0.1),
        ("brightness|gt", 0.05),
        ("brightness|gte", 0.1),
        ("brightness|between", [0, 0.2]),
        ("resolution|gte", "Full HD"),
        ("resolution|in", ["HD", "UHD"]),
        ("color", "red"),
        ("color|all", ["red", "blue"]),
        ("color|any", ["green", "blue"]),
        ("color|not", "green"),
        ("has_audio", True),
        ("faces|count|gte", 2),
        ("faces|share|lt", 0.5),
        ("description|word", ["drive", "car"]),
        ("description|word", "SCHNELLSTRASSE"),
        ("description|word|all", ["man", "night"]),
        ("description|word|any", "man"),
        ("description|phrase", "at night"),
        ("description|phrase", "بسرعة كبيرة"),
        ("description|prefix", "schnell"),
        ("description|regex", r"\bman\b.*night"),
        ("description|glob", "a man*"),
        ("description", "driving"),
        ("description|count|gt", 5),
        ("description|exists", True),
        ("description|not|word", "dog"),
        ("speech|phrase", "夜间驾驶"),
        ("speech|word", "危险"),
        ("said|word", "home"),
        ("text|word", "home"),
        ("title|word", "ete"),
        ("file_name|glob", "img_*"),
        ("source|word", "videos"),
        ("labels", "summer-holiday"),
        ("labels|word", "holidays"),
        ("label|prefix", "sum"),
        ("labels|count", 1),
        ("model_tags", "night drive"),
        ("model_tags|prefix", "night"),
        ("model_tags.Night Drive|confidence|gte", 0.6),
        ("model_tags|count", 1),
        ("category", "transport"),
        ("objects|any", ["bus", "car"]),
        ("objects.car|count|gte", 2),
        ("objects.Car|share|gte", 0.5),
        ("objects.car|confidence|gt", 0.8),
        ("objects.dog|count", 0),
        ("objects|count", 1),
        ("objects|prefix", "ca"),
        ("answers.weather", "sunny"),
        ("answers.weather|word", "sunny"),
        ("answers.people|gte", 3),
        ("answers.people", 3),
        ("answers.indoors", False),
        ("answers.things", "dog"),
        ("answers.things|all", ["dog", "cat"]),
        ("answers.weather|exists", True),
        ("answers.other|exists", False),
        ("answers|word", "sunny"),
        ("answers|count", 4),
        ("tags", "dark"),
        ("tags|not", "bright"),
        ("tags|count", 1),
        ("uploader|word", "channel"),
        ("source_description|word", "road"),
        ("licence|phrase", "cc by"),
        ("site|word", "video"),
        ("sentiment|exists", False),
    ],
)
def test_a_field_with_its_modifiers_holds_where_it_should(key: str, value: Any) -> None:
    assert truth(key, value) is True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("brightness|lt", 0.05),
        ("color|all", ["red", "green"]),
        ("description|word", "dog"),
        ("answers.people|gt", 3),
        ("answers.weather|gt", 1),
        ("answers.weather", True),
        ("answers.things", 5),
        ("objects.car|share|gt", 0.5),
        ("description|glob", "man"),
        ("labels|word", "winter"),
        ("title|exists", False),
        ("subtitles|exists", True),
        ("model_tags.Dog|confidence|gt", 0.1),
        ("model_tags|exists", False),
    ],
)
def test_a_field_with_its_modifiers_does_not_hold_where_it_should_not(key: str, value: Any) -> None:
    assert truth(key, value) is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("brightness|lt", 0.18),
        ("brightness|not", 0.2),
        ("description|word", "man"),
        ("description|not|word", "man"),
        ("speech|word", "home"),
        ("said|word", "home"),
        ("objects", "car"),
        ("objects.car|count|gte", 1),
        ("faces|count", 1),
        ("answers.weather", "sunny"),
        ("answers.weather|word", "sunny"),
        ("category", "transport"),
        ("objects|prefix", "c"),
        ("category|confidence|gt", 0.5),
        ("model_tags.Night|confidence|gt", 0.5),
        ("speech|count|gt", 0),
        ("answers|not|word", "sunny"),
        ("answers|count", 0),
        ("model_tags", "night drive"),
    ],
)
def test_what_no_stage_has_found_out_is_neither_true_nor_false(key: str, value: Any) -> None:
    assert truth(key, value, NOTHING) is None


def test_a_video_without_sound_has_no_known_speech_though_the_analysis_ran() -> None:
    silent = made_up_facts({"has_audio": False, "speech": ""}, OWN_VOCABULARY)
    assert truth("speech|not|word", "dog", silent) is None
    assert truth("speech|exists", True, silent) is False
    heard = made_up_facts({"has_audio": True, "speech": ""}, OWN_VOCABULARY)
    assert truth("speech|not|word", "dog", heard) is True
    assert truth("speech|exists", True, heard) is True


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("brightnes|lt", 1, 'did you mean "brightness"?'),
        ("brightness|lower", 1, "is not a modifier"),
        ("brightness|lt", "0.1", "takes a number, without quotes"),
        ("brightness|word", "x", "is not a text"),
        ("brightness|between", [1], "two numbers"),
        ("brightness|lt", float("nan"), "finite number"),
        ("year", 10**400, "finite number"),
        ("description|word", 1984, "put it between quotation marks"),
        ("description|lt", "x", "is a text; modifiers are word, phrase"),
        ("description|word", "!?", "contains no word"),
        ("description|regex", "(", "not a valid RE2"),
        ("description|regex", r"(?=x)", "no look-ahead"),
        ("description|regex", "(x{1000}){1000}", "not a valid RE2"),
        ("description|word|phrase", "x", "cannot be combined"),
        ("color|all|any", "x", "cannot be combined"),
        ("color|not|not", "x", "is repeated"),
        ("tags.Night|share|gte", 0.3, '"hold"'),
        ("objects|share|gte", 0.3, "write objects.NAME|share"),
        ("description|word", [], "1 to 1000 values"),
        ("description|word", ["x"] * 1001, "1 to 1000 values"),
        ("speech|exists", "yes", "true or false"),
        ("x" * 100_000, 1, "more than 500 characters"),
        ("resolution", "8k video", "is not a known resolution"),
    ],
)
def test_an_error_says_what_was_found_and_what_is_meant(key: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is checked
        parse_field_condition(key, value, OWN_VOCABULARY)
    assert said in str(error.value)
    assert len(str(error.value)) < 2000


def test_every_text_and_list_field_can_be_asked_for() -> None:
    for name in TEXT_FIELDS:
        assert truth(f"{name}|word", "zebra") in (False, None)
    for name in LIST_FIELDS:
        assert truth(name, "zebra") in (False, None)


def test_a_condition_of_what_is_not_there_has_evidence() -> None:
    text = "rules: [{id: a, selections: {a: {color: red}}, condition: not a, tags: [No Red]}]"
    (tag,) = evaluate(parse_rules(text, "a.yaml"), made_up_facts({"color": "blue"}, OWN_VOCABULARY)).tags
    assert tag.evidence == "not color: red (found: blue)"


def test_the_category_that_the_model_chose_is_known_to_tag_rules() -> None:
    text = "rules: [{id: a, selections: {a: {category: News}}, tags: [Seen as News]}]"
    assert evaluate(parse_rules(text, "a.yaml"), made_up_facts({"category": "News"}, OWN_VOCABULARY)).tags


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        ("hierarchy: {a: [b], b: [c], c: [a]}", "cycle"),
        ("synonyms: {a: [b], b: [c]}", "itself a synonym"),
        ("{hierarchy: {a: [b]}, exclusive: [[a, b]]}", "cannot exclude"),
        ("exclusive: [[a]]", "at least"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_an_error(vocabulary: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_rules(f"vocabulary: {vocabulary if vocabulary.startswith('{') else '{' + vocabulary + '}'}", "a.yaml")


def test_synonyms_count_in_the_hierarchy_and_among_exclusive_tags() -> None:
    text = """
    vocabulary: {synonyms: {Drone Footage: [Drone Shot]}, hierarchy: {Aerial Shot: [Drone Shot]}}
    rules: [{id: a, selections: {a: {title|word: drone}}, tags: [Drone Shot]}]
    """
    tags = evaluate(parse_rules(text, "a.yaml"), made_up_facts({"title": "drone"}, OWN_VOCABULARY)).tags
    assert {tag.tag for tag in tags} == {"Drone Footage", "Aerial Shot"}


def test_a_synonym_is_its_tag_wherever_a_rule_names_it() -> None:
    text = """
    vocabulary: {synonyms: {Car: [Automobile]}}
    rules:
      - {id: gives, selections: {a: {title|word: car}}, tags: [Car]}
      - {id: checks, selections: {a: {tags: Automobile}}, tags: [Seen]}
      - {id: removes, selections: {a: {title|word: toy}}, remove: [Automobile]}
    """
    rules = parse_rules(text, "a.yaml")
    found = [
        [tag.tag for tag in evaluate(rules, made_up_facts({"title": title}, OWN_VOCABULARY)).tags]
        for title in ("car", "toy car")
    ]
    assert found == [["Car", "Seen"], []]


def test_scenes_that_an_exclusion_names_do_not_follow_one_another() -> None:
    text = """
    exclusions: [{rules: [a], selections: {game: {title|word: game}}}]
    rules:
      - id: a
        scope: scene
        selections: {goal: {speech|word: goal}, crowd: {speech|word: crowd}}
        hold: {then: [goal, crowd], within_s: 10}
        tags: [Cheer]
    """
    scenes = [{"speech": "goal"}, {"speech": "goal"}, {"speech": "crowd"}]
    rules = parse_rules(text, "a.yaml")
    held = [
        evaluate(rules, made_up_facts({"title": title, "scenes": scenes}, OWN_VOCABULARY)).tags
        for title in ("match", "game")
    ]
    assert [len(tags) for tags in held] == [1, 0]


@pytest.mark.parametrize("key", ["answers.weather|word", "answers|prefix", "uploader|word", "model_tags|word"])
def test_rules_are_tried_wherever_their_words_occur(key: str) -> None:
    word = {"uploader|word": "channel", "model_tags|word": "night"}.get(key, "sunny")
    text = f"rules: [{{id: a, selections: {{a: {{{key}: {word}}}}}, tags: [Found]}}]"
    assert evaluate(parse_rules(text, "a.yaml"), KNOWN).tags
