"""Rule files that nobody meant well: each is read, or refused with a sentence, in time proportional to its size."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.errors import SettingsError
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.field_conditions import MODIFIERS
from vidpipe.tagging.fields import FIELDS, LIST_FIELDS, OWN_VOCABULARY, TEXT_FIELDS
from vidpipe.tagging.made_up_facts import made_up_facts
from vidpipe.tagging.rule_check import check_rules
from vidpipe.tagging.rules import parse_rules


def error_of(text: str, shown: str = "a.yaml") -> str:
    with pytest.raises(SettingsError) as error:
        parse_rules(text, shown)
    assert len(error.value.message) < 3000
    str(error.value).encode()
    return str(error.value)


def rule(selections: str, more: str = "tags: [x]") -> str:
    return f"rules: [{{id: a, selections: {selections}, {more}}}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x, x]\nb: [*a, *a]", "aliases"),
        ("[" * 100_000, "too many levels"),
        ("{" * 100_000, "too many levels"),
        ("- " * 5000, "too many levels"),
        ("rules:\n\t- id: a", "Indent with spaces"),
        ("rules:\n- id: a\n  id: b", "duplicate key"),
        ("{1: 2}", "a key must be text"),
        ("!!python/object/apply:os.system ['true']", "could not determine"),
        ("rules: [{<<: {id: a}, tags: [x]}]", "is not a known key"),
        ("--- {}\n--- {}", "another document"),
        ("\0", "control characters"),
        ("x" * 1_000_001, "more than 1,000,000"),
        ("", "expected"),
        (rule("{a: {'description|word': 1.5}}"), "found 1.5: put it between quotation marks"),
        (rule("{a: {'year|gt': 2024-01-01}}"), 'takes a number, without quotes; found "2024-01-01"'),
        (rule("{a: {'brightness|lt': .nan}}"), "takes a number"),
        (rule("{a: {'brightness|lt': 1e999}}"), "finite number"),
        (rule("{a: {year: 2024}}", "tags: [2024]"), '"tags", entry 1 should be text; found 2024: put it between'),
        (rule("{a: {year: 2024}}", "tags: [x], hold: {share|gt: 1}, scope: scene"), 'did you mean "share|gte"?'),
        (rule("{a: {year: 2024}}", "tags: [x], tests: [{fact: {}, expect: []}]"), 'did you mean "facts"?'),
        (rule("{a: {year: 2024}}", "tags: [x], scope: scenes"), "scope"),
        (rule("{a: {year: 2024}}", f"tags: [x], condition: {'(' * 50}a{')' * 50}"), "nested more than 40 levels"),
        (rule("{a: {year: 2024}}", f"tags: [x], condition: {'not ' * 50}a"), "nested more than 40 levels"),
        (rule("{a: {year: 2024}}", f"tags: [x], condition: a{' and a' * 1000}"), "at most 2000 characters"),
        (rule("{a: {year: 2024}}", "tags: [x], condition: 1 of a_*"), 'no selection is called "a_*"'),
        (rule("{dark: {year: 2024}}", "tags: [x], condition: drak"), 'did you mean "dark"?'),
        (rule("{" + ", ".join(f"a{n}: {{year: 1}}" for n in range(101)) + "}"), "at most 100"),
    ],
    ids=lambda text: text[:40],
)
def test_a_hostile_or_mistaken_yaml_file_is_refused_with_a_reason(text: str, said: str) -> None:
    assert said in error_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "recursion"),
        ('{"rules": [], "rules": []}', "duplicate key"),
        (f'{{"{"k" * 100_000}": 1, "{"k" * 100_000}": 1}}', "duplicate key"),
        ('{"rules": [{"id": "a", "selections": {"a": {"title|word": "\\ud800"}}, "tags": ["x"]}]}', "surrogate"),
        ('{"rules": [{"id": "a", "selections": {"a": {"year": NaN}}, "tags": ["x"]}]}', "NaN"),
        (json.dumps({"r" * 3_000_000: 1}), "not a known key"),
        (
            json.dumps([{"id": "a", "selections": {"a": {"k" * 3_000_000: 1}}, "tags": ["x"]}]),
            "more than 500 characters",
        ),
    ],
    ids=lambda text: text[:40],
)
def test_a_hostile_json_file_is_refused_with_a_reason(text: str, said: str) -> None:
    assert said in error_of(text, "a.json")


def test_words_that_older_yaml_takes_for_something_else_are_words() -> None:
    text = rule("{a: {'audio_language': no, 'title|word': [yes, on, 2024-01-01, 1:30]}}", "tags: [off]")
    (one,) = parse_rules(text, "a.yaml").rules
    assert one.tags == ("off",)
    assert parse_rules("\ufeff" + text, "a.yaml").version == parse_rules(text, "a.yaml").version


def test_a_vocabulary_with_many_ways_up_is_read_in_linear_time() -> None:
    levels = {f"t{n} {side}": [f"t{n + 1} a", f"t{n + 1} b"] for n in range(40) for side in "ab"}
    parse_rules(json.dumps({"vocabulary": {"hierarchy": levels}}), "a.json")
    chain = {f"t{n}": [f"t{n + 1}"] for n in range(5000)}
    assert "more than 100 broader tags" in error_of(json.dumps({"vocabulary": {"hierarchy": chain}}), "a.json")


@pytest.mark.parametrize(
    "key", ["description|regex", "description|glob", "description|word", "description|phrase", "description|prefix"]
)
def test_a_text_of_a_megabyte_is_searched_in_linear_time(key: str) -> None:
    value = {"description|regex": "(a*)*(a|aa)+$|(x+x+)+y", "description|glob": "*a*a*a*a*b"}.get(key, "a b c")
    rules = parse_rules(json.dumps([{"id": "a", "selections": {"a": {key: value}}, "tags": ["x"]}]), "a.json")
    texts = ("a" * 500_000 + " b" * 250_000, "夜e\u0301" * 50_000)
    found = [evaluate(rules, made_up_facts({"description": text}, OWN_VOCABULARY)).tags for text in texts]
    assert list(map(bool, found)) == [key == "description|glob", False]


NAMES = st.sampled_from([*FIELDS, *LIST_FIELDS, *TEXT_FIELDS, "objects.car", "answers.q", "model_tags.x", "nothing"])
KEYS = st.builds(lambda name, how: "|".join([name, *how]), NAMES, st.lists(st.sampled_from(MODIFIERS), max_size=3))
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.text(max_size=8),
    st.booleans(),
    st.none(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.just("שלום"),
    st.just("夜"),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))
SELECTIONS = st.dictionaries(
    st.sampled_from(["a", "b_1", "b_2"]), st.dictionaries(KEYS, VALUES, max_size=2), max_size=3
)
CONDITIONS = st.lists(
    st.sampled_from(["a", "b_1", "b_2", "and", "or", "not", "(", ")", "1 of b_*", "all of them", "2 of", "?"]),
    max_size=7,
).map(" ".join)
RULES = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "B", ""]), "selections": SELECTIONS, "tags": st.lists(SCALARS, max_size=2)},
    optional={
        "condition": CONDITIONS,
        "scope": st.sampled_from(["video", "scene", "x"]),
        "remove": VALUES,
        "priority": SCALARS,
        "hold": st.dictionaries(st.sampled_from(["share|gte", "count|gte", "then", "within_s"]), VALUES, max_size=2),
        "tests": st.lists(
            st.fixed_dictionaries({"facts": st.dictionaries(NAMES, VALUES, max_size=3), "expect": VALUES})
        ),
        "exclusions": VALUES,
        "x": SCALARS,
    },
)
FILES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "rules": st.one_of(st.lists(RULES, max_size=3), VALUES),
            "exclusions": VALUES,
            "categories": VALUES,
            "vocabulary": st.dictionaries(st.sampled_from(["synonyms", "hierarchy", "exclusive"]), VALUES, max_size=3),
        },
    ),
)


@settings(max_examples=40)
@given(FILES)
def test_whatever_a_file_holds_it_is_checked_without_a_crash(document: Any) -> None:
    texts = {"a.json": json.dumps(document), "b.yaml": yaml.safe_dump(document, allow_unicode=True)}
    for shown, text in texts.items():
        found = check_rules({shown: text}, {}, OWN_VOCABULARY, {})
        try:
            rules = parse_rules(text, shown)
        except SettingsError:
            assert any(one.level == "error" for one in found)
            continue
        assert parse_rules(rules.text, "again.json").version == rules.version
        evaluate(
            rules, made_up_facts({"description": "a", "answers": {"q": ["x"]}, "objects": ["car"]}, OWN_VOCABULARY)
        )


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for shown in ("a.json", "a.yaml"):
        try:
            parse_rules(text, shown)
        except SettingsError as error:
            named = error.message.startswith(shown)
        else:
            named = True
        assert named
