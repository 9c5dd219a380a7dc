"""The forms an answer is asked for in: how a model is told of it, and how its text is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from vidpipe.vlm.plain_text import printable
import ast
import json
import re
from typing import Any, NoReturn



_TEXT_MOST = 8_000


class WrongForm(ValueError):
    """An answer is not in the form that was asked for; the message says what is wrong with it."""


@dataclass(frozen=True)
class Form:
    """name: text, yes_no, choice, number, sentiment, tags, category, summary

    instruction: the sentence that tells a model of the form; "" for free text
    schema:      JSON Schema of the answer, for servers that can be held to one; None for what is not JSON
    parse:       raw text -> plain JSON value; raises WrongForm
    """

    name: str
    parse: Callable[[str], Any] = field(hash=False, compare=False)
    instruction: str = ""
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


def parse_text(text: str) -> str:
    """Any words, without control characters. Raises WrongForm where there are none."""
    plain = printable(text, _TEXT_MOST)
    if not plain:
        raise WrongForm("The answer is empty.")
    return plain


TEXT = Form("text", parse_text)


# DOC """Finds JSON in what a model said: between code fences, after a sentence, with a comma too many, in single quotes."""
# 


#: Characters of an answer that are looked at, and places in it where JSON may begin. Answers are far shorter; the
#: limits keep a hostile one from costing time.
_MOST_TEXT, _MOST_STARTS = 20_000, 40
#: Qwen3 and others think aloud first.
_THOUGHT = re.compile(r"^.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*")
_BEGIN = re.compile(r"[\[{]")
#: A comma before a closing bracket. Within a string it may hit too: only text that is no JSON otherwise is mended.
_STRANGE_ESCAPE = re.compile(r"\\[^\\'\"nrtbfux]")
_TRAILING_COMMA = re.compile(r",(\s*[\]}])")


def without_wrapping(text: str) -> str:
    """An answer without what a model thought aloud before it, and without code fences."""
    return _FENCE.sub("", _THOUGHT.sub("", text[:_MOST_TEXT], count=1)).strip()


def json_values(text: str) -> list[Any]:
    """Every object or list of JSON in `text`, outermost ones only, in order, equal ones once.

    Raises WrongForm where there is none.
    """
    text = without_wrapping(text)
    found: list[Any] = []
    at = starts = 0
    while (begin := _BEGIN.search(text, at)) and starts < _MOST_STARTS:
        starts += 1
        value, at = _read(text, begin.start())
        if isinstance(value, dict | list) and value not in found:
            found.append(value)
    if found:
        return found
    if not text:
        raise WrongForm("The answer is empty.")
    cut = text.rstrip()[-1] not in "]}" and _BEGIN.search(text)
    raise WrongForm("The JSON ends before it is complete." if cut else "There is no valid JSON in the answer.")


def one_object(text: str) -> dict[str, Any]:
    """The one JSON object in `text`; a list of just one object is that object. Raises WrongForm."""
    values = json_values(text)
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) > 1:
        raise WrongForm(f"There are {len(objects)} different JSON objects in the answer; one was asked for.")
    if objects:
        return objects[0]
    if len(values[0]) == 1 and isinstance(values[0][0], dict):
        return dict(values[0][0])
    raise WrongForm("The answer is a JSON list; one JSON object was asked for.")


def _read(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start` and where it ends; None and the next place where none does."""
    try:
        return json.JSONDecoder(parse_constant=_no_constant).raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = _closing(text, start)
    if end is None:
        return None, start + 1
    part = text[start:end]
    for read in (_mended, _python):
        try:
            return read(part), end
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None, start + 1


def _mended(part: str) -> Any:
    return json.loads(_TRAILING_COMMA.sub(r"\1", part), parse_constant=_no_constant)


def _python(part: str) -> Any:
    """A Python literal: many models write single quotes. Only what JSON has too counts."""
    if _STRANGE_ESCAPE.search(part):  # Python would warn of it on the terminal
        raise ValueError(part)
    value = ast.literal_eval(part)
    return json.loads(json.dumps(value, allow_nan=False))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _closing(text: str, start: int) -> int | None:
    """Where the bracket at `start` is closed, strings left aside; None where it is not."""
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
