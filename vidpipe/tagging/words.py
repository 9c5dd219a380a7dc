"""Keywords and the texts they are looked for in: whole words, whatever their case, accents' form or hyphens."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

# Scripts written without spaces have no words to split at, so each of their characters counts as a word of its own.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")
#: Bringing combining marks into order takes the square of their number, and a stranger's text may hold nothing else.
_PIECE = re.compile(r"(?s:.){1,250}\S{0,250}")
_SIBILANTS = ("s", "x", "z", "ch", "sh")


def normalise(text: str) -> str:
    """The words of `text`, folded to lower case, each with a space before and after: `" the bird's eye "`.

    `"Close-up"` and `"close up"` come out the same. "" for a text without a word.
    """
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", piece) for piece in _PIECE.findall(text))
    folded = text.casefold().replace("\u2019", "'")
    found = _WORD.findall(folded)
    return f" {' '.join(found)} " if found else ""


@dataclass(frozen=True)
class SearchedText:
    """A text that keywords are looked for in; brought into normal form when the first of them asks.

    name: what the text is. says: how evidence from it begins
    """

    name: str
    says: str
    text: str

    @cached_property
    def normal(self) -> str:
        return normalise(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.normal.split())


def _plurals(phrase: str) -> tuple[str, ...]:
    if not (phrase[-1].isascii() and phrase[-1].isalpha()):
        return ()
    if phrase.endswith(_SIBILANTS):
        return (phrase + "es",)
    if phrase.endswith("y") and phrase[-2:-1] not in tuple("aeiou "):
        return (phrase + "s", phrase[:-1] + "ies")
    return (phrase + "s",)


@dataclass(frozen=True)
class Keyword:
    """A word or phrase. It is found as a whole, also in its regular English plural: "beach" in "two beaches".

    phrase: in normal form, without the outer spaces
    forms:  what is looked for in a text from `normalise`
    """

    phrase: str
    forms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Keyword:
        """Raises ValueError for a text without a word."""
        phrase = normalise(text).strip()
        if not phrase:
            raise ValueError(f'"{text}" has no word in it')
        return cls(phrase, tuple(f" {form} " for form in (phrase, *_plurals(phrase))))
