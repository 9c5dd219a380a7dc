"""Decodes subtitle text in any encoding: UTF-8, UTF-16, or a legacy encoding that has to be guessed."""

import codecs
import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: Languages (ISO 639) and their legacy encodings, the most common one first.
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
#: A text with this share of non-ASCII letters is not in Latin script.
_MIN_FOREIGN_SHARE = 0.35
_SAMPLE_BYTES = 16 << 10
#: Share of the cues that may be damaged.
_MAX_LOST_SHARE = 0.1
_MARKUP = re.compile(rb"<[^<>]*>|\{[^{}]*\}")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class DecodedCues:
    """The decoded cues of one subtitle stream.

    Attributes:
        texts: Text of each cue; None if it could not be decoded.
        charset: The guessed encoding; None if nothing had to be guessed.
        guessed: Number of cues decoded with the guessed encoding.
        lost: Number of cues that could not be decoded, or only in part.
    """

    texts: list[str | None]
    charset: str | None
    guessed: int
    lost: int


def decode_cues(cues: Sequence[bytes], language: str | None) -> DecodedCues:
    """Decode the cues of one stream.

    Cues that are valid UTF-8 or have a byte order mark are decoded as such; the encoding of the others is guessed from
    all of them together.

    Args:
        cues: The encoded cues.
        language: Language of the stream, as an ISO 639 code.
    """
    texts = [_decode_certain(cue) for cue in cues]
    unknown = [cue for cue, text in zip(cues, texts, strict=True) if text is None]
    if not unknown:
        return DecodedCues(texts, None, 0, 0)
    charset = _guess_charset(_sample(unknown), language)
    guessed = lost = 0
    for index, cue in enumerate(cues):
        if texts[index] is not None:
            continue
        decoded = _decode(cue, charset) if charset else None
        texts[index] = decoded if (repaired := _repair_utf8(cue)) is None else repaired
        guessed += repaired is None and decoded is not None
        lost += repaired is not None or decoded is None
    return DecodedCues(texts, charset if guessed else None, guessed, lost)


def _decode_certain(cue: bytes) -> str | None:
    for mark, charset in _BOMS:
        if cue.startswith(mark):
            return _decode(cue[len(mark) :], charset)
    if b"\x1b$" in cue:
        return _decode(cue, "iso2022_jp")
    return None if _has_wide_characters(cue) else _decode(cue, "utf-8")


def _has_wide_characters(data: bytes) -> bool:
    """Return whether there are so many zero bytes that the text must be UTF-16."""
    return data.rstrip(b"\0").count(0) > len(data) / 10


def _decode(cue: bytes, charset: str) -> str | None:
    try:
        return cue.decode(charset)
    except UnicodeDecodeError:
        return None


def _repair_utf8(cue: bytes) -> str | None:
    """Return the text of a cue that is UTF-8 except for a few bytes; None for any other cue."""
    text = cue.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(character > "\x7f" for character in text) - bad
    return text.replace("\ufffd", "") if good > 2 * bad else None


def _symbol_share(text: str) -> float:
    """Return the share of symbols and controls among non-ASCII characters, a sign of the wrong encoding."""
    foreign = [unicodedata.category(character)[0] for character in text if character > "\x7f"]
    return sum(kind in "SC" for kind in foreign) / max(1, len(foreign))


def _is_shouted(text: str) -> bool:
    """Return whether most letters are capitals: one Cyrillic encoding read as another swaps the case."""
    return sum(map(str.isupper, text)) > sum(map(str.islower, text))


def _sample(cues: Sequence[bytes]) -> list[bytes]:
    """Return complete cues of about `_SAMPLE_BYTES`: a character cut in two would rule out its encoding."""
    ends = itertools.accumulate(map(len, cues))
    return [cue for cue, end in zip(cues, ends, strict=True) if end - len(cue) < _SAMPLE_BYTES]


def _guess_charset(cues: Sequence[bytes], language: str | None) -> str | None:
    from charset_normalizer import from_bytes  # slow to import, rarely needed

    sample = b"".join(cues)
    if _has_wide_characters(sample):
        return "utf-16-be" if sample[0::2].count(0) > sample[1::2].count(0) else "utf-16-le"
    cues = [_MARKUP.sub(b"", cue) for cue in cues]
    plain = b"".join(cues)
    foreign = sum(byte > 0x7F for byte in plain)
    letters = sum(bytes([byte]).isalpha() for byte in plain)
    latin = foreign < _MIN_FOREIGN_SHARE * (foreign + letters)
    charsets = _LANGUAGES.get((language or "").partition("-")[0]) or (_LATIN if latin else _OTHERS)
    ratings = []
    for order, charset in enumerate(charsets):
        # a few damaged cues do not rule out the encoding
        decodable = [cue for cue in cues if _decode(cue, charset) is not None]
        lost = 1 - len(decodable) / len(cues)
        if lost > _MAX_LOST_SHARE:
            continue
        # one at a time: encodings that decode to similar texts would be merged
        match = from_bytes(b"\n".join(decodable), cp_isolation=[charset], threshold=1.0).best()
        text = str(match or "")
        doubt = match.chaos + _symbol_share(text) + lost if match else math.inf
        ratings.append((round(doubt, 2), -match.coherence if match else 0.0, _is_shouted(text), order, charset))
    return min(ratings)[-1] if ratings else None
