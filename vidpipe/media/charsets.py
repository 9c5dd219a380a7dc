"""Subtitle text in whatever encoding: UTF-8, UTF-16, or a legacy encoding that has to be guessed."""

from __future__ import annotations

import codecs
import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: Encodings before Unicode, by the languages (ISO 639) whose subtitles are found in them; the usual one first.
_BY_LANGUAGES = {
    "ger deu de fre fra fr spa es por pt ita it dut nld nl swe sv nor nob nno no dan da fin fi ice isl is": ("cp1252",),
    "cat ca glg gl baq eus eu gle ga": ("cp1252",),
    "pol cze ces cs slo slk sk hun hu slv sl hrv hr bos bs rum ron ro alb sqi sq": ("cp1250", "iso8859_2"),
    "rus ru ukr uk bul bg bel be mac mkd mk srp sr": ("cp1251", "koi8_r", "cp866"),
    "gre ell el": ("cp1253",),
    "tur tr aze az": ("cp1254",),
    "heb he": ("cp1255",),
    "ara ar per fas fa urd ur": ("cp1256",),
    "lit lt lav lv est et": ("cp1257",),
    "vie vi": ("cp1258",),
    "tha th": ("cp874",),
    "jpn ja": ("cp932", "euc_jp"),
    "chi zho zh": ("gb18030", "big5"),
    "kor ko": ("cp949",),
}  # fmt: skip
_LANGUAGES = {code: charsets for codes, charsets in _BY_LANGUAGES.items() for code in codes.split()}
_LATIN = ("cp1252", "cp1250", "cp1254")
_OTHERS = (
    "cp1251", "koi8_r", "cp866", "cp1253", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1255", "cp1256", "cp874",
    *_LATIN,
)  # fmt: skip
#: Of the letters, the share beyond ASCII from which on a text is taken not to be in Latin script.
_FOREIGN_SHARE = 0.35
_SAMPLE_BYTES = 16 << 10
#: Of the cues, the share that may be damaged.
_MOST_LOST = 0.1
_MARKUP = re.compile(rb"<[^<>]*>|\{[^{}]*\}")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Decoded:
    """texts:   of the cues, in their order; None for one that could not be decoded
    charset: what was guessed, and the number of cues it was used for; None where nothing had to be guessed
    lost:    the number of cues that could not be decoded, or not whole
    """

    texts: list[str | None]
    charset: str | None
    guessed: int
    lost: int


def decode_cues(cues: Sequence[bytes], language: str | None) -> Decoded:
    """Decode the cues of one stream. What is valid UTF-8, or says by a byte order mark what it is, is decoded as that;
    the encoding of the others is guessed from all of them together.

    language: the stream's, as an ISO 639 code
    """
    texts = [_certain(cue) for cue in cues]
    unknown = [cue for cue, text in zip(cues, texts, strict=True) if text is None]
    if not unknown:
        return Decoded(texts, None, 0, 0)
    charset = _guess(_sample(unknown), language)
    guessed = lost = 0
    for index, cue in enumerate(cues):
        if texts[index] is not None:
            continue
        whole = _decoded(cue, charset) if charset else None
        texts[index] = whole if (mended := _damaged_utf8(cue)) is None else mended
        guessed += mended is None and whole is not None
        lost += mended is not None or whole is None
    return Decoded(texts, charset if guessed else None, guessed, lost)


def _certain(cue: bytes) -> str | None:
    for mark, charset in _BOMS:
        if cue.startswith(mark):
            return _decoded(cue[len(mark) :], charset)
    if b"\x1b$" in cue:
        return _decoded(cue, "iso2022_jp")
    return None if _has_wide_characters(cue) else _decoded(cue, "utf-8")


def _has_wide_characters(data: bytes) -> bool:
    """Whether there are so many zeros that it can only be UTF-16."""
    return data.rstrip(b"\0").count(0) > len(data) / 10


def _decoded(cue: bytes, charset: str) -> str | None:
    try:
        return cue.decode(charset)
    except UnicodeDecodeError:
        return None


def _damaged_utf8(cue: bytes) -> str | None:
    """The text of a cue that is UTF-8 but for a few bytes."""
    text = cue.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(character > "\x7f" for character in text) - bad
    return text.replace("\ufffd", "") if good > 2 * bad else None


def _symbols(text: str) -> float:
    """The share of symbols and controls beyond ASCII, which the letters of one encoding are in another."""
    foreign = [unicodedata.category(character)[0] for character in text if character > "\x7f"]
    return sum(kind in "SC" for kind in foreign) / max(1, len(foreign))


def _is_shouted(text: str) -> bool:
    """Whether most letters are capitals: the Cyrillic encodings, taken for one another, change the case."""
    return sum(map(str.isupper, text)) > sum(map(str.islower, text))


def _sample(cues: Sequence[bytes]) -> list[bytes]:
    """Whole cues of about `_SAMPLE_BYTES`: a character cut in two would rule its encoding out."""
    ends = itertools.accumulate(map(len, cues))
    return [cue for cue, end in zip(cues, ends, strict=True) if end - len(cue) < _SAMPLE_BYTES]


def _guess(cues: Sequence[bytes], language: str | None) -> str | None:
    from charset_normalizer import from_bytes

    sample = b"".join(cues)
    if _has_wide_characters(sample):
        return "utf-16-be" if sample[0::2].count(0) > sample[1::2].count(0) else "utf-16-le"
    cues = [_MARKUP.sub(b"", cue) for cue in cues]
    plain = b"".join(cues)
    foreign = sum(byte > 0x7F for byte in plain)
    letters = sum(bytes([byte]).isalpha() for byte in plain)
    latin = foreign < _FOREIGN_SHARE * (foreign + letters)
    charsets = _LANGUAGES.get((language or "").partition("-")[0]) or (_LATIN if latin else _OTHERS)
    ratings = []
    for order, charset in enumerate(charsets):
        # a damaged cue among many does not rule the encoding out
        whole = [cue for cue in cues if _decoded(cue, charset) is not None]
        lost = 1 - len(whole) / len(cues)
        if lost > _MOST_LOST:
            continue
        # each by itself: among several, encodings that decode to similar texts are reported as one
        match = from_bytes(b"\n".join(whole), cp_isolation=[charset], threshold=1.0).best()
        text = str(match or "")
        doubt = match.chaos + _symbols(text) + lost if match else math.inf
        ratings.append((round(doubt, 2), -match.coherence if match else 0.0, _is_shouted(text), order, charset))
    return min(ratings)[-1] if ratings else None
