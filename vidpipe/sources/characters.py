"""Characters that do not belong in a URL or path: stripped from its ends, or found and named.

They come with text copied from word processors, chats and spreadsheets, and most of them are invisible.
"""

from __future__ import annotations

import re
import unicodedata

from vidpipe.storage.containers import VIDEO_SUFFIXES

#: Quotes and brackets around a URL.
_PAIRS = {"<": ">", '"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "‹": "›"}
_CLOSING = frozenset("”’»›>\"'")
#: Parts of words in Persian and in Indian scripts, and of emoji.
JOINERS = "\u200c\u200d"
_BYTE = re.compile("[\udc80-\udcff]")


def bare(text: str) -> str:
    """Return `text` without surrounding whitespace and invisible characters.

    A URL also loses surrounding quotes and <>, and the comma or semicolon after it.
    """
    before = None
    while text != before:
        before = text
        text = _trimmed(text)
        if "://" not in text[1:40] and text[:1] != '"':
            continue
        if len(text) > 2 and _PAIRS.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
            text = text[1:-1]
        elif text[-1:] in (",", ";") and text[:-1].lower().endswith((*VIDEO_SUFFIXES, *_CLOSING)):
            text = text[:-1]
    return text


def _trimmed(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _invisible(text[start]):
        start += 1
    while start < end and _invisible(text[end - 1]):
        end -= 1
    return text[start:end]


def _invisible(character: str) -> bool:
    if character.isascii():
        return character.isspace()
    return character not in JOINERS and unicodedata.category(character) in ("Cf", "Zs", "Zl", "Zp", "Cc")


def invalid_character(url: str) -> str:
    """Return the name and position of the first character that is not allowed in a URL; empty if there is none."""
    for place, character in enumerate(url, start=1):
        if character == " " or (character.isascii() and character.isprintable()):
            continue
        if (
            _invisible(character)
            or unicodedata.category(character) in ("Cc", "Cs")
            or character == "\N{REPLACEMENT CHARACTER}"
        ):
            return f"{named(character)} at character {place}"
    last = url[-1:]
    if (
        not last.isascii()
        and last in _CLOSING
        and not any(opening in url for opening, end in _PAIRS.items() if end == last)
    ):
        return f"{named(last)} at the end"
    return ""


def misleading_character(path: str) -> str:
    """Return the name of the first character of a path that is invisible or looks like another; empty if none does."""
    return next((named(character) for character in path if _unusual(character)), "")


def _unusual(character: str) -> bool:
    if character.isascii():
        return character < " "
    return _invisible(character) or character in _CLOSING or character in _PAIRS or bool(_BYTE.match(character))


def named(character: str) -> str:
    """Return a character's code and name ("U+200B ZERO WIDTH SPACE"), or the value of a byte that is not UTF-8."""
    if _BYTE.match(character):
        return f"the byte 0x{ord(character) - 0xDC00:02X} ({windows_1252(character)} in Windows-1252; not UTF-8)"
    kinds = {"Cc": "CONTROL CHARACTER", "Cs": "LONE SURROGATE"}
    kind = kinds.get(unicodedata.category(character), "UNNAMED CHARACTER")
    return f"U+{ord(character):04X} {unicodedata.name(character, kind)}"


def windows_1252(text: str) -> str:
    """Return `text` with bytes that are not UTF-8 decoded as Windows-1252."""
    return _BYTE.sub(lambda found: bytes([ord(found.group()) - 0xDC00]).decode("cp1252", "replace"), text)


def has_bytes(text: str) -> bool:
    """Return whether `text` contains bytes that are not UTF-8 (as lone surrogates)."""
    return not text.isascii() and _BYTE.search(text) is not None
