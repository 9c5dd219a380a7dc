"""Characters that do not belong to an address: taken off its ends, or found and named.

They come with copying from word processors, chats and spreadsheets, and most of them cannot be seen.
"""

from __future__ import annotations

import re
import unicodedata

from vidpipe.ingest.containers import VIDEO_SUFFIXES

#: What may enclose an address.
_PAIRS = {"<": ">", '"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "‹": "›"}
_CLOSING = frozenset("”’»›>\"'")
#: Parts of words in Persian and in Indian scripts, and of emoji.
JOINERS = "\u200c\u200d"
_BYTE = re.compile("[\udc80-\udcff]")


def bare(text: str) -> str:
    """`text` without blanks and invisible characters around it; a URL also without quotes, <> and the comma of a
    sentence."""
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


def foreign(address: str) -> str:
    """The first character that belongs to no URL, named, with its place; empty where there is none."""
    for place, character in enumerate(address, start=1):
        if character == " " or (character.isascii() and character.isprintable()):
            continue
        if (
            _invisible(character)
            or unicodedata.category(character) in ("Cc", "Cs")
            or character == "\N{REPLACEMENT CHARACTER}"
        ):
            return f"{named(character)} at character {place}"
    last = address[-1:]
    if (
        not last.isascii()
        and last in _CLOSING
        and not any(opening in address for opening, end in _PAIRS.items() if end == last)
    ):
        return f"{named(last)} at its end"
    return ""


def unusual(path: str) -> str:
    """The first character of a path that is easily taken for another one or for none, named; empty where there is
    none."""
    return next((named(character) for character in path if _unusual(character)), "")


def _unusual(character: str) -> bool:
    if character.isascii():
        return character < " "
    return _invisible(character) or character in _CLOSING or character in _PAIRS or bool(_BYTE.match(character))


def named(character: str) -> str:
    """U+200B ZERO WIDTH SPACE; a byte that is not UTF-8 by its value."""
    if _BYTE.match(character):
        return f"the byte 0x{ord(character) - 0xDC00:02X} ({windows_1252(character)} in Windows-1252; not UTF-8)"
    kinds = {"Cc": "CONTROL CHARACTER", "Cs": "HALF OF A SURROGATE PAIR"}
    kind = kinds.get(unicodedata.category(character), "CHARACTER WITHOUT A NAME")
    return f"U+{ord(character):04X} {unicodedata.name(character, kind)}"


def windows_1252(text: str) -> str:
    """`text` with bytes that are not UTF-8 read as Windows-1252."""
    return _BYTE.sub(lambda found: bytes([ord(found.group()) - 0xDC00]).decode("cp1252", "replace"), text)


def has_bytes(text: str) -> bool:
    """Whether bytes that are not UTF-8 are in `text`."""
    return not text.isascii() and _BYTE.search(text) is not None
