"""The forms of answers: the base of all forms, a tolerant JSON parser, and free text, yes or no, choices and numbers.

JSON is found between code fences, after a sentence, with trailing commas and in single quotes. A one-word answer is
parsed tolerantly, but never guessed.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from vidpipe.text.messages import printable, sanitize

_MAX_FREE_TEXT, _MAX_READ = 8_000, 2_000
#: Characters of an answer that are read, and positions in it that are tried as the start of JSON. Answers are far
#: shorter; the limits bound the time that a hostile one costs.
_MAX_TEXT, _MAX_STARTS = 20_000, 40
#: Qwen3 and others write their reasoning first.
_THOUGHT = re.compile(r"^.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*")
_BEGIN = re.compile(r"[\[{]")
#: A comma before a closing bracket. It may match inside strings, so only text that is not valid JSON is repaired.
_STRANGE_ESCAPE = re.compile(r"\\[^\\'\"nrtbfux]")
_TRAILING_COMMA = re.compile(r",(\s*[\]}])")

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


class AnswerFormatError(ValueError):
    """An answer does not have the requested form; the message says why."""


@dataclass(frozen=True)
class AnswerForm:
    """One form of answers.

    Attributes:
        name: text, yes_no, choice, number, sentiment, tags, category or summary.
        parse: Returns the JSON value of a raw text; raises AnswerFormatError.
        instruction: Describes the form to the model; "" for free text.
        schema: JSON Schema for servers that support structured output; None if the answer is not JSON.
    """

    name: str
    parse: Callable[[str], Any] = field(hash=False, compare=False)
    instruction: str = ""
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


def parse_text(text: str) -> str:
    """Return any text, without control characters. Raises AnswerFormatError if it is empty."""
    plain = printable(text, _MAX_FREE_TEXT)
    if not plain:
        raise AnswerFormatError("The answer is empty.")
    return plain


TEXT_FORM = AnswerForm("text", parse_text)


def without_wrapping(text: str) -> str:
    """Return an answer without the reasoning before it and without code fences."""
    return _FENCE.sub("", _THOUGHT.sub("", text[:_MAX_TEXT], count=1)).strip()


def json_values(text: str) -> list[Any]:
    """Return the outermost JSON objects and lists in `text`, in order, without duplicates.

    Raises:
        AnswerFormatError: There is none.
    """
    text = without_wrapping(text)
    found: list[Any] = []
    at = starts = 0
    while (begin := _BEGIN.search(text, at)) and starts < _MAX_STARTS:
        starts += 1
        value, at = _read(text, begin.start())
        if isinstance(value, dict | list) and value not in found:
            found.append(value)
    if found:
        return found
    if not text:
        raise AnswerFormatError("The answer is empty.")
    cut = text.rstrip()[-1] not in "]}" and _BEGIN.search(text)
    raise AnswerFormatError("The JSON ends before it is complete." if cut else "There is no valid JSON in the answer.")


def one_object(text: str) -> dict[str, Any]:
    """Return the only JSON object in `text`, alone or as the only entry of a list. Raises AnswerFormatError."""
    values = json_values(text)
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) > 1:
        raise AnswerFormatError(f"There are {len(objects)} different JSON objects in the answer; one was asked for.")
    if objects:
        return objects[0]
    if len(values[0]) == 1 and isinstance(values[0][0], dict):
        return dict(values[0][0])
    raise AnswerFormatError("The answer is a JSON list; one JSON object was asked for.")


def _read(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at `start` and its end; None and the next position if there is none."""
    try:
        return json.JSONDecoder(parse_constant=_no_constant).raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = _closing(text, start)
    if end is None:
        return None, start + 1
    part = text[start:end]
    for read in (_without_trailing_commas, _python):
        try:
            return read(part), end
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None, start + 1


def _without_trailing_commas(part: str) -> Any:
    return json.loads(_TRAILING_COMMA.sub(r"\1", part), parse_constant=_no_constant)


def _python(part: str) -> Any:
    """Read a Python literal, since many models write single quotes; only types that JSON has are accepted."""
    if _STRANGE_ESCAPE.search(part):  # Python would print a warning
        raise ValueError(part)
    value = ast.literal_eval(part)
    return json.loads(json.dumps(value, allow_nan=False))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _closing(text: str, start: int) -> int | None:
    """Return the end of the bracket at `start`, ignoring strings; None if it is not closed."""
    depth, quote, escaped = 0, "", False
    for at in range(start, len(text)):
        character = text[at]
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = bool(quote)
        elif quote:
            if character == quote:
                quote = ""
        elif character == '"' or (character == "'" and text[at - 1] in "[{,: \n"):
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
            if depth == 0:
                return at + 1
    return None


def choice_form(choices: Sequence[str]) -> AnswerForm:
    """Return the form of an answer that is one of `choices`, as written there."""
    listed = "\n".join(f"- {choice}" for choice in choices)
    instruction = f"Answer with exactly one of these, word for word, and nothing else:\n{listed}"
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
        if stated := _ANSWER_IS.search(bare):
            after = {_YES_NO[word] for word in _YES_NO_WORD.findall(stated["said"])}
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
    if (stated := _ANSWER_IS.search(said)) and _bare(stated["said"]) in named:
        return named[_bare(stated["said"])]
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
    for part in (said, *(stated["said"] for stated in [_ANSWER_IS.search(said)] if stated)):
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
