"""Text of strangers (titles, subtitles, what a model said) made harmless for a prompt, a sentence or a database.

A prompt is one text in which a model tells data from instructions by their form alone. So what is data stays on one
line, between quotation marks that it cannot close, and holds nothing that a tokenizer takes for a control token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeVar
from vidpipe.vlm.spread import spread



ItemT = TypeVar("ItemT")

#: `<|im_end|>`, `</s>`, `<image>`: every family of models writes most control tokens in angle brackets, so none stay.
_BRACKETS = str.maketrans({"<": "‹", ">": "›"})
#: `[INST]`, `[/INST]`, `[SYSTEM_PROMPT]`: the control tokens that others write so.
_SQUARE = re.compile(r"\[(/?[A-Z][A-Z_]{2,30})\]")
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]{1,60}\|>|\[/?INST\]")
#: Characters of a text that are looked at, for each one that is kept: the rest may vanish in the cleaning.
_LOOKED_AT = 8


def printable(text: str, most: int) -> str:
    """`text` without control, formatting (bidirectional, zero-width) and unassigned characters; lines stay lines.

    Cut to `most` characters, the last of which is then an ellipsis.
    """
    seen = text[: most * _LOOKED_AT]
    lines = [" ".join("".join(map(_shown, line)).split()) for line in seen.splitlines()]
    whole = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if not whole or (len(whole) <= most and len(seen) == len(text)):
        return whole
    return whole[: most - 1].rstrip() + "…"


def one_line(text: str, most: int) -> str:
    """`printable` on a single line."""
    return " ".join(printable(text, most).split())


def harmless(text: str, most: int) -> str:
    """`one_line` that holds no control token of any chat format."""
    return _SQUARE.sub(r"(\1)", one_line(text, most).translate(_BRACKETS))


def quoted(text: str, most: int) -> str:
    """`harmless` between double quotation marks, with none within; "" where nothing is left."""
    inner = harmless(text, most).replace('"', "'").replace("“", "'").replace("”", "'")
    return f'"{inner}"' if inner else ""


def without_control_tokens(text: str) -> str:
    """A whole prompt in which nothing is a control token of Qwen's: none of its texts may end the user's turn."""
    return text.replace("<|", "< |")


def control_token(text: str) -> str:
    """The first control token of a chat format in `text`, or ""."""
    found = _CONTROL_TOKEN.search(text)
    return found.group() if found else ""


def thinned(items: Sequence[ItemT], most: int, budget: int, cost: Callable[[ItemT], int]) -> list[ItemT]:
    """Items spread evenly over `items`, the first and the last among them.

    At most `most`, and together at most `budget` of `cost`.
    """
    count = min(most, len(items))
    while count > 0:
        chosen = spread(items, count)
        total = sum(map(cost, chosen))
        if total <= budget:
            return chosen
        count = min(count - 1, count * budget // total)
    return []


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] != "C":
        return character
    return " " if character == "\t" else ""
