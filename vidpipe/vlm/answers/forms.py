"""The forms an answer is asked for in: how a model is told of it, and how its text is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidpipe.vlm.plain_text import printable

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
