"""Text for messages and prompts: untrusted text made safe, durations, lists of words, and suggestions.

In a prompt, a model tells data from instructions by their form alone. Data therefore stays on one line, between
quotation marks that it cannot close, and contains nothing that a tokenizer reads as a control token.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

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


def duration_in_words(duration_s: float) -> str:
    """Return a duration in words: "9.7 seconds", "3 minutes 20 seconds", "1 hour 12 minutes"."""
    rounded_s = round(duration_s, 1) or round(duration_s, 2)
    if rounded_s < 60:
        return _count(rounded_s, "second")
    whole = round(duration_s)
    hours, minutes, seconds = whole // 3600, whole % 3600 // 60, whole % 60
    parts = (
        [_count(hours, "hour"), _count(minutes, "minute")]
        if hours
        else [_count(minutes, "minute"), _count(seconds, "second")]
    )
    return " ".join(part for part in parts if not part.startswith("0 "))


def clock_time(time_s: float, decimals: int = 0) -> str:
    """Return a time in a video as "0:12" or "1:02:03"; with one decimal, "0:12.3". Not rounded up."""
    unit = 10**decimals
    whole, rest = divmod(int(time_s * unit + 1e-6), unit)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{clock}.{rest:0{decimals}}" if decimals else clock


def join_words(words: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?`, or "" if no known name is similar to `found`."""
    near = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6) if len(found) <= 200 else []
    return f'; did you mean "{near[0]}"?' if near else ""


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"
