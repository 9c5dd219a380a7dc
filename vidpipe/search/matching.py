"""Where a text matches what is searched for: the places of the words, and the words around the best of them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice, pairwise
from typing import Any, NamedTuple

from vidpipe.search.fields import term_key
from vidpipe.search.query import Term, Words
from vidpipe.stages.search_fields import SearchField
from vidpipe.text.stems import Word, composed, stems, tokens, words_in

#: Characters that are shown of a text.
CONTEXT = 160
#: Longer texts are looked at up to here.
LONGEST_TEXT = 100_000
#: Compound words are split in this many characters.
_MOST_SPLIT = 2_000
#: Most places of one word in a text.
_MOST_PLACES = 500


@dataclass(frozen=True)
class MatchedText:
    """A text that matches.

    Attributes:
        field: Name of its field.
        text: The words around the best place, `CONTEXT` characters or little more; "…" stands for what is left out.
            If only the meaning matches: the beginning of the words there; None: there are none.
        highlights: Start and end of each matching place in `text`.
        start_s: Start of the moment whose text it is, in seconds; None: it is about the whole video.
        end_s: End of the moment.
        different: How many different wanted words and names these are.
        sought: How many of them are wanted in any text, or in moments. `tag:x` only narrows a search: where its other
            words are says more.
        weight: How much a match in this field counts.
    """

    field: str
    text: str | None
    highlights: tuple[tuple[int, int], ...]
    start_s: float | None = None
    end_s: float | None = None
    different: int = 0
    sought: int = 0
    weight: float = 0.0

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sorts the best match first."""
        return (-self.sought, -self.different, -self.weight, self.start_s is None, self.start_s or 0.0, self.field)


class _Place(NamedTuple):
    start: int
    end: int
    wanted: int


class Matcher:
    """Finds wanted words and names in texts."""

    def __init__(self, wanted: Iterable[Words | Term]) -> None:
        self._wanted = tuple(dict.fromkeys(wanted))

    def concerns(self, field: SearchField) -> bool:
        """Return whether anything is wanted that a value of `field` may match."""
        return any(_concerns(one, field) for one in self._wanted)

    def match(
        self, field: SearchField, text: str, language: str, start_s: float | None = None, end_s: float | None = None
    ) -> MatchedText | None:
        """Return where a text matches; None: nowhere.

        Args:
            field: The field whose value the text is.
            text: The text.
            language: Its language, one of `vidpipe.text.stems.LANGUAGES`.
            start_s: Start of the moment that it belongs to, in seconds.
            end_s: End of that moment.
        """
        text = composed(text[:LONGEST_TEXT])
        places = sorted(self._places(field, text, language))
        if not places:
            return None
        context, highlights = _context(text, places[:_MOST_PLACES])
        different = {self._wanted[place.wanted] for place in places}
        sought = sum(1 for one in different if not one.field or field.kind == "moments")
        return MatchedText(field.name, context, highlights, start_s, end_s, len(different), sought, field.weight)

    def parts(self, text: str, language: str) -> list[tuple[str, bool]]:
        """Return `text` cut into what is not and what is wanted, in any field: [("a red ", False), ("bus", True)]."""
        text = composed(text)
        reading = words_in(text[:LONGEST_TEXT], language)
        by_stem, marked = _by_stem(reading), bytearray(len(text))
        for one in self._wanted:
            if isinstance(one, Words):
                row = _pattern(one.text, language, one.prefix)
                for first, last in islice(_in_a_row(reading, by_stem, *row), _MOST_PLACES):
                    marked[first.start : last.end] = b"\1" * (last.end - first.start)
        groups = groupby(enumerate(text), lambda one: bool(marked[one[0]]))
        return [("".join(character for _, character in group), is_wanted) for is_wanted, group in groups]

    def _places(self, field: SearchField, text: str, language: str) -> Iterator[_Place]:
        wanted = [(number, one) for number, one in enumerate(self._wanted) if _concerns(one, field)]
        rows = {}
        for number, one in wanted:
            if isinstance(one, Words):
                rows[number] = _pattern(one.text, language, one.prefix)
            elif one.key == term_key(field, text):
                yield _Place(0, len(text), number)
        firsts = {stems[0] for stems, _ in rows.values()}
        is_sought = bool if any(prefix for _, prefix in rows.values()) else firsts.__contains__
        for words in filter(None, _readings(text, language, is_sought, compound=field.compound)) if rows else ():
            by_stem = _by_stem(words)
            for number, row in rows.items():
                for first, last in islice(_in_a_row(words, by_stem, *row), _MOST_PLACES):
                    yield _Place(first.start, last.end, number)


def _concerns(wanted: Words | Term, field: SearchField) -> bool:
    return wanted.field == field.name or (isinstance(wanted, Words) and not wanted.field and bool(field.weight))


@lru_cache(1000)
def _pattern(text: str, language: str, continued: bool) -> tuple[tuple[str, ...], str]:
    """Return the stems of wanted words, and what the last stem may begin with instead."""
    return stems(text, language), tokens(text)[-1] if continued else ""


def _by_stem(words: Sequence[Word]) -> dict[str, list[int]]:
    """Return stem -> the places of the words with it."""
    by_stem: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        by_stem.setdefault(word.stem, []).append(at)
    return by_stem


def _in_a_row(
    words: Sequence[Word], by_stem: Mapping[str, Sequence[int]], stems: Sequence[str], prefix: str
) -> Iterator[tuple[Word, Word]]:
    """Yield the first and last of each sequence of `words` with these stems; the last one may begin with `prefix`."""
    *before, last = stems
    lasts = {last, *(stem for stem in by_stem if stem.startswith(prefix))} if prefix else {last}
    for first in sorted(at for stem in (before[:1] or lasts) for at in by_stem.get(stem, ())):
        row = [word.stem for word in words[first : first + len(stems)]]
        if row[:-1] == before and row[-1] in lasts:
            yield words[first], words[first + len(before)]


def _readings(
    text: str, language: str, is_sought: Callable[[str], bool], *, compound: bool
) -> Iterator[Sequence[Word]]:
    """Yield the words of a text; of one with compound words, also their parts. None, if the stem of none is sought."""
    yield words_in(text, language, is_sought)
    for by_case in (False, True) if compound else ():
        if borders := _borders(text[:_MOST_SPLIT], by_case=by_case):
            split = " ".join(text[start:end] for start, end in pairwise((0, *borders, min(len(text), _MOST_SPLIT))))
            spaces = [number + border for number, border in enumerate(borders)]
            words = words_in(split, language, is_sought)
            yield [Word(at - bisect_left(spaces, at), end - bisect_left(spaces, end), stem) for at, end, stem in words]


def _borders(text: str, *, by_case: bool) -> list[int]:
    """Return where letters meet digits, and, if `by_case`, where capitals begin words, as `search_forms` splits."""
    return [
        place
        for place, (before, here, after) in enumerate(zip(f" {text}", text, f"{text[1:]} ", strict=False))
        if (before.isalpha() and here.isnumeric())
        or (before.isnumeric() and here.isalpha())
        or (by_case and here.isupper() and (before.islower() or (before.isupper() and after.islower())))
    ]


def _context(text: str, places: Sequence[_Place]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the part of `text` with the most different words, and the places in it."""
    first, last = _best_window(places)
    start, end = 0, len(text)
    if len(text) > CONTEXT:
        spare = max(0, CONTEXT - (last.end - first.start)) // 2
        start, end = max(0, first.start - spare), min(len(text), last.end + spare)
        # Up to the next space, but not into what matches.
        start = start and max(text.find(" ", start, first.start), start - 1) + 1
        end = end if end == len(text) else max(text.rfind(" ", last.end, end), last.end)
        end = min(end, start + 2 * CONTEXT)  # a single word may be longer
    before = "…" if start else ""
    shown: list[tuple[int, int]] = []
    for place in places:
        if start <= place.start < end:
            here = (place.start - start + len(before), min(place.end, end) - start + len(before))
            if shown and here[0] < shown[-1][1]:
                here = (shown[-1][0], max(here[1], shown.pop()[1]))
            shown.append(here)
    return f"{before}{text[start:end]}{'…' if end < len(text) else ''}", tuple(shown)


def _best_window(places: Sequence[_Place]) -> tuple[_Place, _Place]:
    """Return the first and last of those places within `CONTEXT` characters that are of the most different words."""
    best, most = (places[0], places[0]), 0
    for number, first in enumerate(places):
        inside = [first]
        for place in places[number + 1 :]:
            if place.end - first.start > CONTEXT:
                break
            inside.append(place)
        different = len({place.wanted for place in inside})
        if different > most:
            best, most = (first, max(inside, key=lambda place: place.end)), different
    return best
