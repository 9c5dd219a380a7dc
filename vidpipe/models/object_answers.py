"""Answers as JSON objects: sentiment, tags, category, summary. Parsed tolerantly, checked strictly."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vidpipe.models.answer_forms import (
    AnswerForm,
    AnswerFormatError,
    json_values,
    one_object,
    parse_choice,
    without_wrapping,
)
from vidpipe.text.messages import sanitize, single_line

LABELS = ("positive", "neutral", "negative")
_REASON, _SUMMARY, _WORD = 400, 1_000, 60
MAX_TAGS = MAX_KEYWORDS = 20
#: Largest absolute score that is neutral.
_NEUTRAL_UP_TO = 0.5
#: Maximum words of a tag in a plain-text list; more make a sentence.
_TAG_WORDS = 4

#: Placeholders in the examples in prompts.
_EXAMPLE = ("…", "...")
_STRING, _NUMBER = {"type": "string"}, {"type": "number"}


def sentiment_form(language: str) -> AnswerForm:
    """Return the form {"label", "score", "reason"}: score from -1 to 1, with the sign of the label."""
    properties = {"label": {"type": "string", "enum": list(LABELS)}, "score": _NUMBER, "reason": _STRING}
    asked = (
        "label: positive, neutral or negative. score: from -1 (very negative) through 0 (neutral) to 1 (very "
        f"positive). reason: one short sentence in {language}."
    )
    example = {"label": "…", "score": 0.0, "reason": "…"}
    return AnswerForm("sentiment", parse_sentiment, _instruction(asked, example), _object(properties))


def tags_form(vocabulary: Sequence[str] = ()) -> AnswerForm:
    """Return the form [{"tag", "confidence"}]: at most 20 distinct tags, only those of `vocabulary` if it is not empty.

    The confidence is None if the model states none.
    """
    tag: Mapping[str, Any] = {"type": "string", "enum": list(vocabulary)} if vocabulary else _STRING
    items = {"type": "array", "items": _object({"tag": tag, "confidence": _NUMBER})}
    asked = "confidence: from 0 (a guess) to 1 (certain)."
    example = {"tags": [{"tag": "…", "confidence": 0.9}, {"tag": "…", "confidence": 0.6}]}
    parse = partial(parse_tags, vocabulary=tuple(vocabulary))
    return AnswerForm("tags", parse, _instruction(asked, example), _object({"tags": items}))


def category_form(names: Sequence[str], language: str, accepted: Sequence[str] = ()) -> AnswerForm:
    """Return the form {"category", "confidence", "reason"} with one of `names`; a bare name has confidence None.

    Names that are `accepted` are not offered.
    """
    properties = {"category": {"type": "string", "enum": list(names)}, "confidence": _NUMBER, "reason": _STRING}
    asked = (
        "category: one of the names above, word for word. confidence: from 0 (a guess) to 1 (certain). "
        f"reason: one short sentence in {language}."
    )
    example = {"category": "…", "confidence": 0.8, "reason": "…"}
    parse = partial(parse_category, names=(*names, *accepted))
    return AnswerForm("category", parse, _instruction(asked, example), _object(properties))


def summary_form(language: str) -> AnswerForm:
    """Return the form {"summary", "keywords"} with at most 20 distinct keywords."""
    properties = {"summary": _STRING, "keywords": {"type": "array", "items": _STRING}}
    example = {"summary": "…", "keywords": ["…", "…"]}
    return AnswerForm("summary", parse_summary, _instruction(f"Both in {language}.", example), _object(properties))


def parse_sentiment(text: str) -> dict[str, Any]:
    """Parse a sentiment. Raises AnswerFormatError."""
    said = one_object(text)
    label = _string(said, "label").casefold()
    if label not in LABELS:
        raise AnswerFormatError(f'"label" is to be positive, neutral or negative; found “{sanitize(label, 40)}”.')
    score = _number(said, "score", -1)
    wrong_sign = score < 0 if label == "positive" else score > 0 if label == "negative" else abs(score) > _NEUTRAL_UP_TO
    if wrong_sign:
        raise AnswerFormatError(f"The score {score:g} does not fit the label {label}.")
    return {"label": label, "score": score, "reason": single_line(_string(said, "reason"), _REASON)}


def parse_tags(text: str, vocabulary: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Parse tags. Raises AnswerFormatError."""
    spelled = {tag.casefold(): tag for tag in vocabulary}
    given = [_tag(entry) for entry in _entries(text)]
    found: dict[str, dict[str, Any]] = {}
    for tag, confidence in given:
        name = spelled.get(tag.casefold(), "") if vocabulary else tag
        if name and len(name) <= _WORD:
            found.setdefault(name.casefold(), {"tag": name, "confidence": confidence})
    if given and not found:
        example = sanitize(given[0][0], 40)
        what = "is in the list of tags that was given" if vocabulary else f"has at most {_WORD} characters"
        raise AnswerFormatError(f"None of the tags {what}; found “{example}”.")
    return list(found.values())[:MAX_TAGS]


def parse_category(text: str, names: Sequence[str]) -> dict[str, Any]:
    """Parse a category. Raises AnswerFormatError."""
    try:
        said = one_object(text)
    except AnswerFormatError:
        if any(bracket in text for bracket in "{["):
            raise
        return {"category": parse_choice(text, names), "confidence": None, "reason": ""}
    name = parse_choice(_string(said, "category"), names)
    reason = single_line(_string(said, "reason"), _REASON)
    return {"category": name, "confidence": _number(said, "confidence", 0), "reason": reason}


def parse_summary(text: str) -> dict[str, Any]:
    """Parse a summary. Raises AnswerFormatError."""
    said = one_object(text)
    summary = single_line(_string(said, "summary"), _SUMMARY)
    if not summary:
        raise AnswerFormatError('"summary" is empty.')
    keywords = said.get("keywords")
    if isinstance(keywords, str):
        keywords = re.split(r"[,;\n]", keywords)
    if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
        raise AnswerFormatError('"keywords" is to be a list of texts.')
    found: dict[str, str] = {}
    for word in map(_word, keywords):
        if word and len(word) <= _WORD:
            found.setdefault(word.casefold(), word)
    return {"summary": summary, "keywords": list(found.values())[:MAX_KEYWORDS]}


def _entries(text: str) -> list[Any]:
    """Return the entries of a tag list: the list in "tags", a bare list, one object per line, or words with commas."""
    try:
        values = json_values(text)
    except AnswerFormatError:
        if any(bracket in text for bracket in "{["):
            raise
        return _listed_words(without_wrapping(text))
    if all(isinstance(value, dict) and "tag" in value for value in values):
        return values
    if len(values) > 1:
        raise AnswerFormatError(f"There are {len(values)} different JSON values in the answer; one was asked for.")
    value = values[0]["tags"] if isinstance(values[0], dict) and "tags" in values[0] else values[0]
    if not isinstance(value, list):
        raise AnswerFormatError('"tags" is to be a list.')
    return value


def _listed_words(text: str) -> list[str]:
    """Return words separated by commas or lines, with bullets or numbers. Raises AnswerFormatError for sentences."""
    parts = [re.sub(r"^\s*\d{1,2}[.)]\s", "", part).strip() for part in re.split(r"[,;\n]", text)]
    words = [part for part in parts if part]
    sentence = len(words) == 1 and words[0].endswith(".")
    if not words or sentence or any(len(word.split()) > _TAG_WORDS or ". " in word for word in words):
        raise AnswerFormatError(f"Expected a list of tags; found “{sanitize(text, 60)}”.")
    return words


def _tag(entry: Any) -> tuple[str, float | None]:
    if isinstance(entry, str):
        return _named(entry), None
    if not isinstance(entry, dict):
        raise AnswerFormatError('Each tag is to be {"tag": …, "confidence": …}.')
    tag = _named(_string(entry, "tag"))
    return tag, None if entry.get("confidence") is None else _number(entry, "confidence", 0)


def _named(text: str) -> str:
    tag = _word(text)
    if not tag:
        raise AnswerFormatError("A tag is empty.")
    return tag


def _word(text: str) -> str:
    """Return a tag or keyword without punctuation around it; one that is cut stays longer than allowed."""
    return single_line(text, _WORD * 4).strip(" \t-–•*#\"'“”`.,;:…")


def _string(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str):
        raise AnswerFormatError(f'"{key}" is to be text.' if key in said else f'"{key}" is missing.')
    if value.strip() in _EXAMPLE:
        raise AnswerFormatError(f'"{key}" repeats the example instead of an answer.')
    return value.strip()


def _number(said: Mapping[str, Any], key: str, low: int) -> float:
    """Return a number from `low` to 1. "0.8" and "80%" are accepted, 80 is not: a list may hold both 1 and 80."""
    value = said.get(key)
    if key not in said or value is None:
        raise AnswerFormatError(f'"{key}" is missing.')
    if isinstance(value, str) and (written := re.fullmatch(r"\s*([-+]?\d{1,9}(?:\.\d{1,9})?)\s*(%?)\s*", value)):
        value = float(written[1]) / (100 if written[2] else 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1:
        raise AnswerFormatError(f'"{key}" is to be a number from {low} to 1; found {sanitize(json.dumps(value), 20)}.')
    return round(float(value), 4)


def _instruction(asked: str, example: Mapping[str, Any]) -> str:
    shown = json.dumps(example, ensure_ascii=False)
    return f"Answer with one JSON object of this form and nothing else:\n{shown}\n{asked}"


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which every key is required and no other is allowed, as strict modes of servers demand.

    Limits of numbers and lengths are left to the parser: many servers reject a schema that contains them.
    """
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
