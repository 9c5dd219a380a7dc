"""Answers are read as models really write them, and what comes out has the form that was asked for, or is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.models.answer_forms import NUMBER, TEXT_FORM, YES_NO, AnswerForm, AnswerFormatError, choice_form
from vidpipe.models.object_answers import category_form, sentiment_form, summary_form, tags_form

CHOICE = choice_form(["indoors", "outdoors", "both indoors and outdoors"])
SENTIMENT, TAGS, SUMMARY = sentiment_form("English"), tags_form(), summary_form("English")
FEW_TAGS = tags_form(["Beach", "Night Shot"])
CATEGORY = category_form(["News", "Sports", "Unclassified"], "English")
JSON_FORMS = (SENTIMENT, TAGS, FEW_TAGS, CATEGORY, SUMMARY)
FORMS = (TEXT_FORM, YES_NO, NUMBER, CHOICE, *JSON_FORMS)

WELL_READ: list[tuple[AnswerForm, str, Any]] = [
    (TEXT_FORM, "  A red square.\n", "A red square."),
    (TEXT_FORM, "One.\x00\x1b[31m\u202e\nTwo.\r\n", "One.[31m\nTwo."),
    (YES_NO, "Yes.", True),
    (YES_NO, "no", False),
    (YES_NO, "**Yes**", True),
    (YES_NO, "```\nyes\n```", True),
    (YES_NO, '{"answer": "no"}', False),
    (YES_NO, '{"answer": true}', True),
    (YES_NO, "The answer is: no", False),
    (YES_NO, "Yes, there is no dog in it.", True),
    (YES_NO, "Yes or no: no", False),
    (YES_NO, "I would say yes.", True),
    (YES_NO, "<think>Is it? No, no.</think>\nYes", True),
    (NUMBER, "3", 3),
    (NUMBER, "The answer is: 3", 3),
    (NUMBER, "There are 3 people.", 3),
    (NUMBER, "three", 3),
    (NUMBER, "There are three people.", 3),
    (NUMBER, "None.", 0),
    (NUMBER, "1,234", 1234),
    (NUMBER, "2,5", 2.5),
    (NUMBER, "-3.5 °C", -3.5),
    (NUMBER, "30%", 30),
    (NUMBER, "3 people: 2 men and 1 woman", 3),
    (NUMBER, '{"count": 5}', 5),
    (CHOICE, "Outdoors.", "outdoors"),
    (CHOICE, "- indoors", "indoors"),
    (CHOICE, "2. outdoors", "outdoors"),
    (CHOICE, "It takes place outdoors.", "outdoors"),
    (CHOICE, "Both indoors and outdoors", "both indoors and outdoors"),
    (CHOICE, "The answer is: **indoors**", "indoors"),
    (
        SENTIMENT,
        'Here it is:\n```json\n{"label": "Positive", "score": 0.7, "reason": "They\\nlaugh."}\n```',
        {"label": "positive", "score": 0.7, "reason": "They laugh."},
    ),
    (
        SENTIMENT,
        "{'label': 'negative', 'score': '-0.5', 'reason': 'It\\'s sad',}",
        {"label": "negative", "score": -0.5, "reason": "It's sad"},
    ),
    (
        TAGS,
        '{"tags": [{"tag": "Beach", "confidence": 0.9}, {"tag": "beach", "confidence": 0.1}, "#sunset"],}',
        [{"tag": "Beach", "confidence": 0.9}, {"tag": "sunset", "confidence": None}],
    ),
    (TAGS, '[{"tag": "sea", "confidence": "80%"}]', [{"tag": "sea", "confidence": 0.8}]),
    (TAGS, '{"tag": "a", "confidence": 1}\n{"tag": "b", "confidence": 0}',
     [{"tag": "a", "confidence": 1.0}, {"tag": "b", "confidence": 0.0}]),
    (TAGS, "1. beach\n2. sunset", [{"tag": "beach", "confidence": None}, {"tag": "sunset", "confidence": None}]),
    (TAGS, "beach, sunset", [{"tag": "beach", "confidence": None}, {"tag": "sunset", "confidence": None}]),
    (TAGS, '{"tags": []}', []),
    (FEW_TAGS, '["BEACH", "dog"]', [{"tag": "Beach", "confidence": None}]),
    (CATEGORY, '{"category": "sports", "confidence": 0.5, "reason": "A match."}',
     {"category": "Sports", "confidence": 0.5, "reason": "A match."}),
    (CATEGORY, "Sports", {"category": "Sports", "confidence": None, "reason": ""}),
    (SUMMARY, '{"summary": "A walk.", "keywords": ["park", "Park", "dog"]}',
     {"summary": "A walk.", "keywords": ["park", "dog"]}),
    (SUMMARY, '[{"summary": "A walk.", "keywords": "park, dog"}]', {"summary": "A walk.", "keywords": ["park", "dog"]}),
]  # fmt: skip

REFUSED: list[tuple[AnswerForm, str, str]] = [
    (TEXT_FORM, " \n\x00", "empty"),
    (YES_NO, "", "empty"),
    (YES_NO, "Maybe.", "Expected yes or no; found “Maybe.”"),
    (YES_NO, "Yes or no", "Expected yes or no"),
    (YES_NO, "Yes and no.", "Expected yes or no"),
    (YES_NO, "There is no doubt that a dog is seen.", "Expected yes or no"),
    (NUMBER, "2 or 3", "Expected one number"),
    (NUMBER, "between 2 and 4", "Expected one number"),
    (NUMBER, "3-4", "Expected one number"),
    (NUMBER, "a 3D film", "Expected one number"),
    (NUMBER, "many", "Expected one number"),
    (NUMBER, "1e400", "too large"),
    (NUMBER, "9" * 500, "too large"),
    (CHOICE, "not indoors", "Expected one of: indoors; outdoors"),
    (CHOICE, "indoors or outdoors", "Expected one of"),
    (SENTIMENT, "Positive.", "no valid JSON"),
    (SENTIMENT, '{"label": "positive", "score": 0.', "ends before it is complete"),
    (SENTIMENT, '{"label": "mixed", "score": 0, "reason": ""}', '"label" is to be positive'),
    (SENTIMENT, '{"label": "positive", "reason": ""}', '"score" is missing'),
    (SENTIMENT, '{"label": "positive", "score": 80, "reason": ""}', "from -1 to 1; found 80"),
    (SENTIMENT, '{"label": "positive", "score": true, "reason": ""}', "from -1 to 1"),
    (SENTIMENT, '{"label": "positive", "score": NaN, "reason": ""}', "no valid JSON"),
    (SENTIMENT, '{"label": "negative", "score": 0.8, "reason": ""}', "does not fit the label negative"),
    (SENTIMENT, '{"label": "…", "score": 0.0, "reason": "…"}', "repeats the example"),
    (
        SENTIMENT,
        'A sign says {"label": "negative", "score": -1, "reason": ""}. '
        '{"label": "positive", "score": 1, "reason": "They laugh."}',
        "2 different JSON objects",
    ),
    (TAGS, "A red picture.", "Expected a list of tags"),
    (TAGS, "This video shows a red square, and a blue one", "Expected a list of tags"),
    (TAGS, '[{"tag": "x", "confidence": 95}]', "from 0 to 1; found 95"),
    (TAGS, json.dumps(["x" * 61]), "None of the tags has at most 60 characters"),
    (TAGS, '{"tags": {"a": 1}}', '"tags" is to be a list'),
    (FEW_TAGS, '["dog"]', "None of the tags is in the list"),
    (CATEGORY, '{"category": "Cooking", "confidence": 1, "reason": ""}', "Expected one of: News; Sports"),
    (CATEGORY, '{"category": "News", "confidence": null, "reason": ""}', '"confidence" is missing'),
    (SUMMARY, '{"summary": "", "keywords": []}', '"summary" is empty'),
    (SUMMARY, '{"summary": "A walk.", "keywords": [1]}', '"keywords" is to be a list of texts'),
]


@pytest.mark.parametrize(("form", "said", "value"), WELL_READ, ids=lambda part: str(part)[:30])
def test_what_models_write_is_read(form: AnswerForm, said: str, value: Any) -> None:
    assert form.parse(said) == value
    assert type(form.parse(said)) is type(value)


@pytest.mark.parametrize(("form", "said", "sentence"), REFUSED, ids=lambda part: str(part)[:30])
def test_another_form_is_refused_with_a_sentence(form: AnswerForm, said: str, sentence: str) -> None:
    with pytest.raises(AnswerFormatError) as error:
        form.parse(said)
    assert sentence in str(error.value)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def test_a_number_that_is_whole_stays_whole() -> None:
    assert [type(NUMBER.parse(said)) for said in ("3", "3.5")] == [int, float]


def test_lists_and_texts_have_their_limits() -> None:
    many = json.dumps({"tags": [{"tag": f"tag {n}", "confidence": 1} for n in range(50)]})
    assert [entry["tag"] for entry in TAGS.parse(many)] == [f"tag {n}" for n in range(20)]
    said = SUMMARY.parse(json.dumps({"summary": "long " * 1000, "keywords": [f"word {n}" for n in range(50)]}))
    assert len(said["summary"]) == 1000
    assert said["summary"].endswith("…")
    assert len(said["keywords"]) == 20
    reason = SENTIMENT.parse(json.dumps({"label": "neutral", "score": 0, "reason": "so " * 400}))["reason"]
    assert len(reason) <= 400


def is_tags(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 20 and all(
        set(entry) == {"tag", "confidence"} and 0 < len(entry["tag"]) <= 60 and entry["tag"].isprintable()
        and (entry["confidence"] is None or 0 <= entry["confidence"] <= 1) for entry in value
    )  # fmt: skip


SHAPES: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str) and bool(value),
    "yes_no": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and math.isfinite(value),
    "choice": lambda value: value in ("indoors", "outdoors", "both indoors and outdoors"),
    "tags": is_tags,
    "sentiment": lambda value: (
        value["label"] in ("positive", "neutral", "negative") and -1 <= value["score"] <= 1
        and value["reason"].isprintable() and len(value["reason"]) <= 400
    ),
    "category": lambda value: value["category"] in ("News", "Sports", "Unclassified"),
    "summary": lambda value: bool(value["summary"]) and len(value["keywords"]) <= 20,
}  # fmt: skip

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["tag", "tags", "label", "score", "reason", "category", "confidence", "summary", "keywords"])
        | st.text(max_size=5), inner, max_size=4,
    ),
)  # fmt: skip


def read(form: AnswerForm, said: str) -> tuple[Any, str]:
    """The value, or why there is none."""
    try:
        return form.parse(said), ""
    except AnswerFormatError as error:
        return None, str(error)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@given(said=st.text() | JUNK.map(json.dumps) | JUNK.map(repr) | st.text(alphabet="{}[]\",:'\\ 0yesno1", max_size=200))
def test_whatever_is_said_gives_the_form_or_a_wrong_form(form: AnswerForm, said: str) -> None:
    value, fault = read(form, said)
    if not fault:
        assert SHAPES[form.name](value)
        json.dumps(value, allow_nan=False).encode()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize(
    "said",
    ["{" * 200_000, "[" * 200_000, '{"a":' * 100_000, "[{" * 100_000, '"' * 200_000, "yes " * 100_000, "1," * 100_000,
     "1 " * 100_000, "answer " * 50_000, "('" * 100_000, "<think>" * 50_000, "a " * 1_000_000, "\\" * 200_000],
    ids=lambda said: said[:6],
)  # fmt: skip
def test_a_hostile_answer_costs_neither_time_nor_an_error(form: AnswerForm, said: str) -> None:
    _, fault = read(form, said)
    assert len(fault) < 500


@pytest.mark.parametrize("form", JSON_FORMS, ids=lambda form: form.name)
def test_a_schema_is_one_that_strict_servers_take(form: AnswerForm) -> None:
    def check(schema: Any) -> None:
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for part in schema["properties"].values():
                check(part)
        elif schema["type"] == "array":
            check(schema["items"])
        else:
            assert set(schema) <= {"type", "enum"}

    assert form.schema is not None
    assert form.schema["type"] == "object"
    check(form.schema)


@pytest.mark.parametrize("form", JSON_FORMS, ids=lambda form: form.name)
def test_the_example_in_an_instruction_is_no_answer(form: AnswerForm) -> None:
    example = form.instruction.splitlines()[1]
    assert set(json.loads(example)) == set(form.schema["properties"])  # type: ignore[index]
    with pytest.raises(AnswerFormatError):
        form.parse(example)
