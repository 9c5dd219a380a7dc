"""The words of texts: keywords and where they are looked for (whole words, whatever their case, accents' form or
hyphens), labels, and what file names and titles are searched by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

import re2

# Scripts written without spaces have no words to split at, so each of their characters counts as a word of its own.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")
#: Bringing combining marks into order takes the square of their number, and a stranger's text may hold nothing else.
_PIECE = re.compile(r"(?s:.){1,250}\S{0,250}")
_SIBILANTS = ("s", "x", "z", "ch", "sh")
_JOINT = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
#: Where a digit meets a letter, and where a capital begins a word ("myHoliday", "HDVideo").
_DIGIT_BORDERS = (r"(\p{L})(\p{N})", r"(\p{N})(\p{L})")
_CASE_BORDERS = (r"(\p{Ll})(\p{Lu})", r"(\p{Lu})(\p{Lu}\p{Ll})")
#: A title beyond that is no title, and is found by its first words.
_MOST_SEARCHED = 2000


def normalise(text: str) -> str:
    """The words of `text`, folded to lower case, each with a space before and after: `" the bird's eye "`.

    `"Close-up"` and `"close up"` come out the same. "" for a text without a word.
    """
    found = _WORD.findall(_folded(text).replace("\u2019", "'"))
    return f" {' '.join(found)} " if found else ""


def _folded(text: str) -> str:
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", piece) for piece in _PIECE.findall(text))
    return text.casefold()


def label_key(label: str) -> str:
    """Labels with the same key are one: case does not count, nor whether a space, hyphen or underscore joins the words.

    Other signs do: "-1" is not "1", and "C++" is not "C".
    """
    return _JOINT.sub(" ", _folded(label).strip())


def label_pattern(label: str) -> str:
    """A regular expression, to be used without regard to case, for the labels that are the same as `label`."""
    return r"[\s_-]+".join(map(re.escape, _JOINT.split(label.strip())))


def search_forms(texts: Iterable[str], file_names: Iterable[str] = ()) -> tuple[str, ...]:
    """What a text index, which splits at blanks and punctuation only, needs to find every word of `texts` and
    `file_names`: "MyHoliday2019_v2.mp4" is also found by my, holiday and 2019.

    Each form is one text split one way; a phrase is found within it. Sorted.
    """
    forms: set[str] = set()
    for text in (*texts, *(_SUFFIX.sub("", unquote(name)) for name in file_names)):
        split = text[:_MOST_SEARCHED].encode("utf-8", "replace").decode()  # RE2 takes no halves of surrogate pairs
        forms.add(normalise(split))
        for borders in (_DIGIT_BORDERS, _CASE_BORDERS):
            for border in borders:
                split = re2.sub(border, r"\1 \2", split)
            forms.add(normalise(split))
    return tuple(sorted({form.strip() for form in forms} - {""}))


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
