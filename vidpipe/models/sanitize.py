"""Makes untrusted text (titles, subtitles, model output) safe for a prompt, a message or a database.

In a prompt, a model tells data from instructions by their form alone. Data therefore stays on one line, between
quotation marks that it cannot close, and contains nothing that a tokenizer reads as a control token.
"""

from __future__ import annotations

import re
import unicodedata

#: `<|im_end|>`, `</s>`, `<image>`: every family of models writes most control tokens in angle brackets.
_BRACKETS = str.maketrans({"<": "‹", ">": "›"})
#: `[INST]`, `[/INST]`, `[SYSTEM_PROMPT]`: the control tokens that others write this way.
_SQUARE = re.compile(r"\[(/?[A-Z][A-Z_]{2,30})\]")
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]{1,60}\|>|\[/?INST\]")
#: Characters read for each one that is kept; the others may all be removed.
_READ_PER_KEPT = 8


def printable(text: str, max_length: int) -> str:
    """Return `text` without control, formatting (bidirectional, zero-width) and unassigned characters.

    Lines stay lines. A text longer than `max_length` characters is cut and ends with an ellipsis.
    """
    read = text[: max_length * _READ_PER_KEPT]
    lines = [" ".join("".join(map(_printable_character, line)).split()) for line in read.splitlines()]
    whole = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if not whole or (len(whole) <= max_length and len(read) == len(text)):
        return whole
    return whole[: max_length - 1].rstrip() + "…"


def single_line(text: str, max_length: int) -> str:
    """Return `printable` text on a single line."""
    return " ".join(printable(text, max_length).split())


def sanitize(text: str, max_length: int) -> str:
    """Return `single_line` text without the control tokens of any chat format."""
    return _SQUARE.sub(r"(\1)", single_line(text, max_length).translate(_BRACKETS))


def quote(text: str, max_length: int) -> str:
    """Return sanitized text between double quotation marks, with none inside; "" if nothing is left."""
    inner = sanitize(text, max_length).replace('"', "'").replace("“", "'").replace("”", "'")
    return f'"{inner}"' if inner else ""


def without_control_tokens(text: str) -> str:
    """Return a whole prompt without control tokens of Qwen: nothing in it can end the user's turn."""
    return text.replace("<|", "< |")


def find_control_token(text: str) -> str:
    """Return the first control token of a chat format in `text`, or ""."""
    found = _CONTROL_TOKEN.search(text)
    return found.group() if found else ""


def _printable_character(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] != "C":
        return character
    return " " if character == "\t" else ""
