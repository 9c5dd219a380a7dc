"""What results contribute to search: the fields of the query language and where their values come from.

The model of a result declares them (`StageResult.search_fields`), also in a plugin; `vidpipe.search` does the rest.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from vidpipe.errors import readable
from vidpipe.settings import Settings
from vidpipe.sources.urls import url_spellings
from vidpipe.text.words import label_key

Kind = Literal["text", "moments", "term", "number", "vector"]


@dataclass(frozen=True)
class Moment:
    """A text that belongs to a part of a video.

    Attributes:
        start_s: Where the part starts, in seconds.
        end_s: Where it ends.
        text: The text.
        language: Its language as a code or English name; "": detected.
    """

    start_s: float
    end_s: float
    text: str
    language: str = ""


class Embedding(NamedTuple):
    """The meaning of a video, or of a part of it.

    Attributes:
        vector: Its direction counts, not its length.
        start_s: Where the part starts, in seconds; None: it is of the whole video.
        end_s: Where it ends.
        text: What is shown of it: the words it is of; None: there are none.
    """

    vector: Sequence[float]
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class SearchField:
    """A field of the query language, `name:value`. One of kind vector has no such form: any words are compared with it.

    Several declarations may share a name and kind: their values are combined, but of numbers the last one counts.

    Attributes:
        name: Lower-case letters and underscores.
        kind: text: words about the whole video. moments: words about parts of it (`Moment`). term: a name that matches
            as a whole. number: compared. vector: found by similarity to the words of a query (`Embedding`).
        values: The stored result (for a stage with scenes: its document with the scenes' documents as "scenes") -> the
            values: strings, numbers, `Moment`s or `Embedding`s. It may be of an older version: what is missing gives
            no value.
        help: One sentence for users.
        weight: How much a word found here counts; 0: found only by `name:word`.
        key: Of a term: what is compared. Raises ValueError, which says what is allowed, for what no video can have.
        facet: Of a term: whether results are counted by its values.
        unit: Of a number: "s" (also written 1:30, 2m, 1h), "date" (seconds since 1970, written 2026-11-01) or "".
        compound: Whether the text joins words ("MyHoliday2019_v2"), which are found one by one, too.
        language: Language of its words, by whose rules they are reduced to stems; "": detected; "plain": they are not
            reduced. Words of a term are English.
        encode: Of a vector: a query's words -> the vector they are compared by, under the library's settings. It loads
            its model when it is first called, and raises UnavailableError if it cannot.
        min_similarity: Of a vector: least cosine of what is similar; it depends on the model.
        only_by_meaning: Of a vector: it is left out where words were searched for and not found.
    """

    name: str
    kind: Kind
    values: Callable[[Any], Iterable[Any]]
    help: str
    weight: float = 4.0
    key: Callable[[str], str] = label_key
    facet: bool = False
    unit: Literal["", "s", "date"] = ""
    compound: bool = False
    language: str = ""
    encode: Callable[[str, Settings], Sequence[float]] | None = None
    min_similarity: float = 0.3
    only_by_meaning: bool = False

    @property
    def stated_language(self) -> str:
        """The language that all its texts have; "": detected."""
        return self.language or ("en" if self.kind == "term" else "")


def stored(*names: str) -> Callable[[Mapping[str, Any]], Iterable[Any]]:
    """Return a function for `SearchField.values`: the values of these keys of a result, lists one by one."""

    def values(result: Mapping[str, Any]) -> Iterable[Any]:
        for name in names:
            value = result.get(name)
            yield from value if isinstance(value, list | tuple) else () if value is None or value == "" else (value,)

    return values


def spelled(url: str) -> Iterable[str]:
    """Return a stored URL, and its decoded spellings if they have other words."""
    return map(readable, url_spellings(url)) if "%" in url else (url,)
