"""The base of all forms of answers, and a tolerant JSON parser for them.

JSON is found between code fences, after a sentence, with trailing commas and in single quotes.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vidpipe.models.sanitize import printable

_MAX_FREE_TEXT = 8_000


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
    """Return the only JSON object in `text`, perhaps in a list of its own. Raises AnswerFormatError."""
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
