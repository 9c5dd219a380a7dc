"""Words and keys of texts: how keywords, labels, titles and file names are normalized, compared and hashed.

Keywords match whole words; case, hyphens and the encoding of accents do not matter.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Self
from urllib.parse import unquote

import re2

from vidpipe.text.stems import composed, language_of, stem_words, tokens

#: Scripts written without spaces have no words to split at, so each of their characters counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+(?:'[^\W_{UNSPACED}]+)*")
_SPACED_OUT = re.compile(rf"(?<=[{UNSPACED}]) (?=[{UNSPACED}])")
_SIBILANTS = ("s", "x", "z", "ch", "sh")
_JOINT = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
#: Where a digit meets a letter, and where a capital begins a word ("myHoliday", "HDVideo").
_DIGIT_BORDERS = (re2.compile(r"(\p{L})(\p{N})"), re2.compile(r"(\p{N})(\p{L})"))
_CASE_BORDERS = (re2.compile(r"(\p{Ll})(\p{Lu})"), re2.compile(r"(\p{Lu})(\p{Lu}\p{Ll})"))
#: Words before and after those found.
_AROUND = 8
#: Longer titles are indexed by their first words.
_MOST_SEARCHED = 2000


def normalize(text: str) -> str:
    """Return the words of `text` in lower case, with a space around each: `" the bird's eye "`.

    `"Close-up"` and `"close up"` give the same result. A text without words gives "".
    """
    found = _WORD.findall(_folded(text).replace("\u2019", "'"))
    return f" {' '.join(found)} " if found else ""


def spaced(words: Sequence[str]) -> str:
    """Return words with a space around each; "" without any."""
    return f" {' '.join(words)} " if words else ""


def as_written(form: str) -> str:
    """Return a normalized phrase without the spaces between characters of scripts that have none."""
    return _SPACED_OUT.sub("", form)


def _folded(text: str) -> str:
    return composed(text, "NFKC").casefold()


@lru_cache(4096)  # rules give the same tags to every video
def tag_key(tag: str) -> str:
    """Return what tags are compared by: case, hyphens and spaces do not matter."""
    return normalize(tag).strip() or tag.casefold()


def label_key(label: str) -> str:
    """Return what two labels are compared by.

    Case does not matter, nor whether a space, hyphen or underscore joins the words. Other characters do: "-1" is not
    "1", and "C++" is not "C".
    """
    return _JOINT.sub(" ", _folded(label).strip())


def search_forms(texts: Iterable[str], file_names: Iterable[str] = ()) -> tuple[str, ...]:
    """Return what a text index needs to find every word of `texts` and `file_names`.

    The index splits at whitespace and punctuation only; with these forms, "MyHoliday2019_v2.mp4" is also found by my,
    holiday and 2019.

    Returns:
        Each text split in several ways, sorted. A phrase is found within one of them.
    """
    forms: set[str] = set()
    for text in (*texts, *(_SUFFIX.sub("", unquote(name)) for name in file_names)):
        split = text[:_MOST_SEARCHED].encode("utf-8", "replace").decode()  # RE2 takes no halves of surrogate pairs
        forms.add(normalize(split))
        for borders in (_DIGIT_BORDERS, _CASE_BORDERS):
            for border in borders:
                split = border.sub(r"\1 \2", split)
            forms.add(normalize(split))
    return tuple(sorted({form.strip() for form in forms} - {""}))


def digest(*parts: str) -> str:
    """Return 16 hex digits of the sha256 of `parts`, which also depend on where one part ends and the next begins."""
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode()
        joined.update(len(data).to_bytes(8, "big") + data)
    return joined.hexdigest()[:16]


@dataclass(frozen=True)
class SearchedText:
    """A text in which keywords are searched; it is normalized on first use.

    Attributes:
        name: What the text is, such as "subtitles".
        says: How evidence from it begins: "the subtitles say".
        text: The text as written.
    """

    name: str
    says: str
    text: str

    @cached_property
    def normal(self) -> str:
        """The text as `normalize` returns it."""
        return normalize(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its normalized words."""
        return frozenset(self.normal.split())

    @cached_property
    def language(self) -> str:
        """What its words are reduced to stems by: one of `vidpipe.text.stems.LANGUAGES`."""
        return language_of([self.text])

    @cached_property
    def stemmed(self) -> str:
        """The stems of its words, with a space around each, as `normal` has the words."""
        return spaced(stem_words(tokens(self.text), self.language))

    def time_s(self, place: int, *, stemmed: bool = False) -> float | None:
        """Return the time of what is at this place of `normal` or `stemmed`; None: it has none."""
        return None

    def extracts(self, form: str, *, stemmed: bool = False) -> Iterator[tuple[str, str, str, float | None]]:
        """Yield (words before, words found, words after, time in seconds) of each place in which `form` occurs.

        The words are normalized, so that nothing in them is a control character.
        """
        whole = self.stemmed if stemmed else self.normal
        words = tokens(self.text) if stemmed else whole.split()
        for found in self._places(form, stemmed=stemmed):
            first = whole.count(" ", 0, found)
            last = first + len(form.split())
            parts = (words[max(0, first - _AROUND) : first], words[first:last], words[last : last + _AROUND])
            before, there, after = (as_written(" ".join(part)) for part in parts)
            yield before, there, after, self.time_s(found, stemmed=stemmed)

    def times_s(self, form: str, *, stemmed: bool = False) -> list[float]:
        """Return where each part starts in which `form` begins, in seconds; empty if the text has no times."""
        times_s = (self.time_s(place, stemmed=stemmed) for place in self._places(form, stemmed=stemmed))
        return list(dict.fromkeys(time_s for time_s in times_s if time_s is not None))

    def _places(self, form: str, *, stemmed: bool) -> Iterator[int]:
        whole = self.stemmed if stemmed else self.normal
        found = whole.find(form)
        while found >= 0:
            yield found
            found = whole.find(form, found + 1)

    def as_found(self, form: str) -> str:
        """Return the words of the text whose stems are `form`, which `stemmed` contains."""
        first = self.stemmed[: self.stemmed.index(form)].count(" ")
        return " ".join(tokens(self.text)[first : first + form.count(" ") - 1])


@dataclass(frozen=True)
class TimedText(SearchedText):
    """A text whose parts have times; a phrase may reach from one part into the next.

    Attributes:
        parts: (start in seconds, text) of each part, in order of time.
    """

    parts: tuple[tuple[float, str], ...] = ()

    @classmethod
    def of(cls, name: str, says: str, parts: Iterable[tuple[float, str]]) -> Self:
        """Return the text of these parts."""
        timed = tuple(parts)
        return cls(name, says, "\n".join(text for _, text in timed), timed)

    @cached_property
    def _normal_parts(self) -> tuple[str, ...]:
        return tuple(normalize(text).rstrip() for _, text in self.parts)

    @cached_property
    def normal(self) -> str:
        """The text as `normalize` returns it."""
        return f"{''.join(self._normal_parts)} "

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Length of `normal` up to the end of each part."""
        return tuple(accumulate(map(len, self._normal_parts)))

    @cached_property
    def _stemmed_parts(self) -> tuple[str, ...]:
        return tuple(spaced(stem_words(tokens(text), self.language)).rstrip() for _, text in self.parts)

    @cached_property
    def stemmed(self) -> str:
        """The stems of its words, with a space around each."""
        return f"{''.join(self._stemmed_parts)} "

    @cached_property
    def _stemmed_ends(self) -> tuple[int, ...]:
        return tuple(accumulate(map(len, self._stemmed_parts)))

    def time_s(self, place: int, *, stemmed: bool = False) -> float | None:
        """Return the start of the part that this place of `normal` or `stemmed` is in, in seconds."""
        return self.parts[bisect_right(self._stemmed_ends if stemmed else self._ends, place)][0]


_IRREGULAR = {"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice",
              "sheep": "sheep", "knife": "knives", "scissors": "scissors", "skis": "skis"}  # fmt: skip


def plural(noun: str) -> str:
    """Return the usual English plural of a noun, which may consist of several words."""
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_IRREGULAR.get(last) or (plurals(last) or (last,))[-1]}"


def plurals(phrase: str) -> tuple[str, ...]:
    """Return the regular English plurals of a word, the usual one last; none if it does not end in a letter."""
    if not (phrase[-1].isascii() and phrase[-1].isalpha()):
        return ()
    if phrase.endswith(_SIBILANTS):
        return (phrase + "es",)
    if phrase.endswith("y") and phrase[-2:-1] not in tuple("aeiou "):
        return (phrase + "s", phrase[:-1] + "ies")
    return (phrase + "s",)


@dataclass(frozen=True)
class Keyword:
    """A word or phrase that matches as a whole, also in its regular English plural: "beach" in "two beaches".

    Attributes:
        phrase: The normalized phrase, without the outer spaces.
        forms: What is searched in a normalized text.
    """

    phrase: str
    forms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Keyword":
        """Return the keyword that `text` spells.

        Raises:
            ValueError: There is no word in it.
        """
        phrase = normalize(text).strip()
        if not phrase:
            raise ValueError(f'"{text}" contains no word')
        return cls(phrase, tuple(f" {form} " for form in (phrase, *plurals(phrase))))
