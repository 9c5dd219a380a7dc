"""Answers as JSON objects: sentiment, tags, category, summary. Read tolerantly, checked strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from vidpipe.vlm.answers.forms import Form, WrongForm
from vidpipe.vlm.answers.json_answers import json_values, one_object, without_wrapping
from vidpipe.vlm.answers.short_answers import parse_choice
from vidpipe.vlm.plain_text import harmless, one_line

LABELS = ("positive", "neutral", "negative")
_REASON, _SUMMARY, _WORD = 400, 1_000, 60
MOST_TAGS = MOST_KEYWORDS = 20
#: More than this of feeling is not neutral.
_NEUTRAL_UP_TO = 0.5
#: Words of one tag, where a model gives them as plain text: more make a sentence.
_TAG_WORDS = 4

#: What stands for words in the examples that a model is shown.
_EXAMPLE = ("…", "...")
_STRING, _NUMBER = {"type": "string"}, {"type": "number"}


def sentiment_form(language: str) -> Form:
    """{"label", "score", "reason"}: score from -1 to 1, its sign that of the label."""
    properties = {"label": {"type": "string", "enum": list(LABELS)}, "score": _NUMBER, "reason": _STRING}
    asked = (
        "label: positive, neutral or negative. score: from -1 (very negative) through 0 (neutral) to 1 (very "
        f"positive). reason: one short sentence in {language}."
    )
    example = {"label": "…", "score": 0.0, "reason": "…"}
    return Form("sentiment", parse_sentiment, _instruction(asked, example), _object(properties))


def tags_form(vocabulary: Sequence[str] = ()) -> Form:
    """[{"tag", "confidence"}]: at most 20, none twice; of `vocabulary` alone where there is one.

    confidence is None where the model gave tags without one.
    """
    tag: Mapping[str, Any] = {"type": "string", "enum": list(vocabulary)} if vocabulary else _STRING
    items = {"type": "array", "items": _object({"tag": tag, "confidence": _NUMBER})}
    asked = "confidence: from 0 (a guess) to 1 (certain)."
    example = {"tags": [{"tag": "…", "confidence": 0.9}, {"tag": "…", "confidence": 0.6}]}
    parse = partial(parse_tags, vocabulary=tuple(vocabulary))
    return Form("tags", parse, _instruction(asked, example), _object({"tags": items}))


def category_form(names: Sequence[str], language: str) -> Form:
    """{"category", "confidence", "reason"}: category is one of `names`; a bare name has confidence None."""
    properties = {"category": {"type": "string", "enum": list(names)}, "confidence": _NUMBER, "reason": _STRING}
    asked = (
        "category: one of the names above, word for word. confidence: from 0 (a guess) to 1 (certain). "
        f"reason: one short sentence in {language}."
    )
    example = {"category": "…", "confidence": 0.8, "reason": "…"}
    parse = partial(parse_category, names=tuple(names))
    return Form("category", parse, _instruction(asked, example), _object(properties))


def summary_form(language: str) -> Form:
    """{"summary", "keywords"}: keywords at most 20, none twice."""
    properties = {"summary": _STRING, "keywords": {"type": "array", "items": _STRING}}
    example = {"summary": "…", "keywords": ["…", "…"]}
    return Form("summary", parse_summary, _instruction(f"Both in {language}.", example), _object(properties))


def parse_sentiment(text: str) -> dict[str, Any]:
    said = one_object(text)
    label = _string(said, "label").casefold()
    if label not in LABELS:
        raise WrongForm(f'"label" is to be positive, neutral or negative; found “{harmless(label, 40)}”.')
    score = _number(said, "score", -1)
    wrong_sign = score < 0 if label == "positive" else score > 0 if label == "negative" else abs(score) > _NEUTRAL_UP_TO
    if wrong_sign:
        raise WrongForm(f"The score {score:g} does not fit the label {label}.")
    return {"label": label, "score": score, "reason": one_line(_string(said, "reason"), _REASON)}


def parse_tags(text: str, vocabulary: Sequence[str] = ()) -> list[dict[str, Any]]:
    spelled = {tag.casefold(): tag for tag in vocabulary}
    given = [_tag(entry) for entry in _entries(text)]
    found: dict[str, dict[str, Any]] = {}
    for tag, confidence in given:
        name = spelled.get(tag.casefold(), "") if vocabulary else tag
        if name and len(name) <= _WORD:
            found.setdefault(name.casefold(), {"tag": name, "confidence": confidence})
    if given and not found:
        example = harmless(given[0][0], 40)
        what = "is in the list of tags that was given" if vocabulary else f"has at most {_WORD} characters"
        raise WrongForm(f"None of the tags {what}; found “{example}”.")
    return list(found.values())[:MOST_TAGS]


def parse_category(text: str, names: Sequence[str]) -> dict[str, Any]:
    try:
        said = one_object(text)
    except WrongForm:
        if any(bracket in text for bracket in "{["):
            raise
        return {"category": parse_choice(text, names), "confidence": None, "reason": ""}
    name = parse_choice(_string(said, "category"), names)
    reason = one_line(_string(said, "reason"), _REASON)
    return {"category": name, "confidence": _number(said, "confidence", 0), "reason": reason}


def parse_summary(text: str) -> dict[str, Any]:
    said = one_object(text)
    summary = one_line(_string(said, "summary"), _SUMMARY)
    if not summary:
        raise WrongForm('"summary" is empty.')
    keywords = said.get("keywords")
    if isinstance(keywords, str):
        keywords = re.split(r"[,;\n]", keywords)
    if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
        raise WrongForm('"keywords" is to be a list of texts.')
    return {"summary": summary, "keywords": _unique(map(_word, keywords))[:MOST_KEYWORDS]}


def _entries(text: str) -> list[Any]:
    """What an answer lists as tags: the list in "tags", a list alone, an object a line, or words with commas."""
    try:
        values = json_values(text)
    except WrongForm:
        if any(bracket in text for bracket in "{["):
            raise
        return _listed_words(without_wrapping(text))
    if all(isinstance(value, dict) and "tag" in value for value in values):
        return values
    if len(values) > 1:
        raise WrongForm(f"There are {len(values)} different JSON values in the answer; one was asked for.")
    value = values[0]["tags"] if isinstance(values[0], dict) and "tags" in values[0] else values[0]
    if not isinstance(value, list):
        raise WrongForm('"tags" is to be a list.')
    return value


def _listed_words(text: str) -> list[str]:
    """Words with commas between them, or a word a line, with dashes or numbers. Raises WrongForm for sentences."""
    parts = [re.sub(r"^\s*\d{1,2}[.)]\s", "", part).strip() for part in re.split(r"[,;\n]", text)]
    words = [part for part in parts if part]
    sentence = len(words) == 1 and words[0].endswith(".")
    if not words or sentence or any(len(word.split()) > _TAG_WORDS or ". " in word for word in words):
        raise WrongForm(f"Expected a list of tags; found “{harmless(text, 60)}”.")
    return words


def _tag(entry: Any) -> tuple[str, float | None]:
    if isinstance(entry, str):
        return _named(entry), None
    if not isinstance(entry, dict):
        raise WrongForm('Each tag is to be {"tag": …, "confidence": …}.')
    tag = _named(_string(entry, "tag"))
    return tag, None if entry.get("confidence") is None else _number(entry, "confidence", 0)


def _named(text: str) -> str:
    tag = _word(text)
    if not tag:
        raise WrongForm("A tag is empty.")
    return tag


def _word(text: str) -> str:
    """One tag or keyword on one line, without marks around it; longer than allowed by at least a character if cut."""
    return one_line(text, _WORD * 4).strip(" \t-–•*#\"'“”`.,;:…")


def _unique(words: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for word in words:
        if word and len(word) <= _WORD:
            found.setdefault(word.casefold(), word)
    return list(found.values())


def _string(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str):
        raise WrongForm(f'"{key}" is to be text.' if key in said else f'"{key}" is missing.')
    if value.strip() in _EXAMPLE:
        raise WrongForm(f'"{key}" repeats the example instead of an answer.')
    return value.strip()


def _number(said: Mapping[str, Any], key: str, low: int) -> float:
    """A number from `low` to 1. "0.8" and "80%" are one; 80 is none, since a list may hold 1 and 80 at once."""
    value = said.get(key)
    if key not in said or value is None:
        raise WrongForm(f'"{key}" is missing.')
    if isinstance(value, str) and (written := re.fullmatch(r"\s*([-+]?\d{1,9}(?:\.\d{1,9})?)\s*(%?)\s*", value)):
        value = float(written[1]) / (100 if written[2] else 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1:
        raise WrongForm(f'"{key}" is to be a number from {low} to 1; found {harmless(json.dumps(value), 20)}.')
    return round(float(value), 4)


def _instruction(asked: str, example: Mapping[str, Any]) -> str:
    shown = json.dumps(example, ensure_ascii=False)
    return f"Answer with one JSON object of this form and nothing else:\n{shown}\n{asked}"


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Every key required and no other one, as servers' strict modes want it. Limits of numbers and lengths are left to
    the parse: many servers know them not, and refuse the whole schema."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
