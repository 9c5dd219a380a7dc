"""One-word answers: yes or no, one of several choices, a number. Parsed tolerantly, never guessed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from vidpipe.models.answers.form import AnswerForm, AnswerFormatError, parse_text, without_wrapping
from vidpipe.models.questions import Question
from vidpipe.models.sanitize import sanitize

_MAX_READ = 2_000
#: Largest integer that MongoDB and JSON parsers represent exactly.
_LARGEST = 2**53

_YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_YES_NO_WORD = re.compile(r"\b(yes|no|true|false)\b")
#: "yes and no", "yes, no"
_BOTH = re.compile(r"(?:yes|no)\W+(?:(?:and|or)\W+)?(?:yes|no)\b")
_ECHO = re.compile(r"\byes\s*(?:or|/)\s*no\b", re.IGNORECASE)
#: "The answer is: 3", "Answer: yes"
_ANSWER_IS = re.compile(r"\b(?:answer|result)\b(?:\s+(?:is|would be))?\s*:?\s*(?P<said>.+)", re.IGNORECASE | re.DOTALL)
_NEGATION = re.compile(r"\b(?:not|no|neither|nor|never|without)\b|n['’]t\b", re.IGNORECASE)
#: 3, -2.5, 1,234 (thousands), 2,5 (a decimal comma), 1e3; not within a word (MP4, 3D)
_NUMBER = re.compile(
    r"(?<![\w.,])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.]\d+|,\d{1,2}(?!\d))?(?:[eE][-+]?\d{1,3})?(?!\w*\d|[dD]\b)"
)
_RANGE = re.compile(r"\s*(?:[-–—~:/]|to|or|and|\.\.+)\s*[-+−]?\d", re.IGNORECASE)
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBER_WORDS: Mapping[str, int] = {word: number for number, word in enumerate(_WORDS)} | {"none": 0}


def choice_form(choices: Sequence[str]) -> AnswerForm:
    """Return the form of an answer that is one of `choices`, as written there."""
    told = "\n".join(f"- {choice}" for choice in choices)
    instruction = f"Answer with exactly one of these, word for word, and nothing else:\n{told}"
    return AnswerForm("choice", partial(parse_choice, choices=tuple(choices)), instruction)


def parse_yes_no(text: str) -> bool:
    """Return the word that an answer begins or ends with, or that follows "answer".

    Raises:
        AnswerFormatError: The answer is ambiguous.
    """
    said = _plain(text)
    if isinstance(said, bool):
        return said
    bare = _bare(_ECHO.sub(" ", str(said)))
    words = _YES_NO_WORD.findall(bare)
    values = {_YES_NO[word] for word in words}
    if words and not _BOTH.match(bare):
        begins = re.match(rf"{words[0]}\b", bare) is not None
        if len(values) == 1 and (begins or bare.endswith(words[-1])):
            return values.pop()
        if begins:
            return _YES_NO[words[0]]
        if told := _ANSWER_IS.search(bare):
            after = {_YES_NO[word] for word in _YES_NO_WORD.findall(told["said"])}
            if len(after) == 1:
                return after.pop()
    raise AnswerFormatError(f"Expected yes or no; found {_found(said)}.")


def parse_choice(text: str, choices: Sequence[str]) -> str:
    """Return the only choice that an answer names without a negation. Raises AnswerFormatError."""
    said = str(_plain(text))
    named = {_bare(choice): choice for choice in choices}
    for candidate in (said, said.splitlines()[0] if said else ""):
        if _bare(candidate) in named:
            return named[_bare(candidate)]
    if (told := _ANSWER_IS.search(said)) and _bare(told["said"]) in named:
        return named[_bare(told["said"])]
    found = choices_in(said, choices)
    if len(found) == 1 and not _NEGATION.search(_without(said, found[0])):
        return found[0]
    expected = sanitize("; ".join(choices), 300)
    raise AnswerFormatError(f"Expected one of: {expected}. Found {_found(said)}.")


def choices_in(text: str, choices: Sequence[str]) -> list[str]:
    """Return the choices in `text` as whole words, in their order; not those inside a longer one."""
    rest = text.casefold()
    found: list[str] = []
    for choice in sorted(choices, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(choice.casefold())}(?!\w)"
        if re.search(pattern, rest):
            found.append(choice)
            rest = re.sub(pattern, " ", rest)
    return [choice for choice in choices if choice in found]


def parse_number(text: str) -> int | float:
    """Return the only number in an answer, or the one that it begins with, or that follows "answer".

    Raises:
        AnswerFormatError: There is none, or it is ambiguous.
    """
    said = _plain(text)
    if isinstance(said, int | float) and not isinstance(said, bool):
        return _checked(said)
    said = str(said)
    if _bare(said) in NUMBER_WORDS:
        return NUMBER_WORDS[_bare(said)]
    for part in (said, *(told["said"] for told in [_ANSWER_IS.search(said)] if told)):
        numbers = list(_NUMBER.finditer(part))
        if not numbers or _RANGE.match(part, numbers[0].end()):
            continue
        values = {_value(number.group()) for number in numbers}
        if len(values) == 1 or not part[: numbers[0].start()].strip(" \t\n*_`\"'(:≈~$€£"):
            return _checked(_value(numbers[0].group()))
    words = [word for word in re.findall(r"[a-z]+", said.lower()) if word in NUMBER_WORDS]
    if len(words) == 1 and not _NUMBER.search(said) and words[0] not in ("one", "none"):
        return NUMBER_WORDS[words[0]]
    raise AnswerFormatError(f"Expected one number; found {_found(said)}.")


def _value(written: str) -> int | float:
    written = written.replace("−", "-")
    written = re.sub(r",(?=\d{3}(?!\d))", "", written).replace(",", ".")
    return float(written) if re.search(r"[.eE]", written) else int(written)


def _checked(number: int | float) -> int | float:
    if abs(number) > _LARGEST or not math.isfinite(number):
        raise AnswerFormatError("The number is too large to be a measurement or a count.")
    return number


def _plain(text: str) -> Any:
    """Return an answer without fences, reasoning and punctuation around it, or the value of {"answer": ...}."""
    said = without_wrapping(text)[:_MAX_READ].strip()
    if not said:
        raise AnswerFormatError("The answer is empty.")
    if said[0] == "{":
        try:
            value = json.loads(said)
        except (ValueError, RecursionError):
            return said
        if isinstance(value, dict) and len(value) == 1:
            (only,) = value.values()
            return only if isinstance(only, bool | int | float) else str(only)
    return said.strip("*_`\"' \n")


def _bare(text: str) -> str:
    """Return text for comparison: without case, punctuation around it and a bullet before it."""
    return " ".join(re.sub(r"^[-•\s]+", "", text).strip(" \t\n*_`\"'“”.,:;!()[]").casefold().split())


def _without(text: str, choice: str) -> str:
    return re.sub(re.escape(choice), " ", text, flags=re.IGNORECASE)


def _found(said: Any) -> str:
    return f"“{sanitize(str(said), 60)}”"


YES_NO = AnswerForm("yes_no", parse_yes_no, "Answer with one word: yes or no.")
NUMBER = AnswerForm("number", parse_number, "Answer with one number in digits and nothing else.")


def question_form(question: Question, language: str) -> AnswerForm:
    """Return the form of the answer to `question`; free text is requested in `language`."""
    match question.kind:
        case "yes_no":
            return YES_NO
        case "number":
            return NUMBER
        case "choice":
            return choice_form(question.choices)
    return AnswerForm("text", parse_text, f"Answer in one or two short sentences in {language}.")
