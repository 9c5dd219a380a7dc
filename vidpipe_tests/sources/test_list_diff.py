"""However a list is edited, cut short and gone on with: what was told of it adds up to what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists
from vidpipe.sources.list_diff import LineCache, ListCacheFiles, ListDiff, parse_list
from vidpipe.sources.list_files import decoded
from vidpipe.sources.lists import ListEntry, text_lines
from vidpipe.sources.records import ListedSource
from vidpipe.sources.source_request import request_for

Said = tuple[str | None, tuple[str, ...], int | None]


class KnownSources:
    """What a library would hold, from what it was told alone."""

    def __init__(self) -> None:
        self.sources: dict[str, Said] = {}
        self.memory = LineCache()

    def read(self, text: str, at_most: int | None = None) -> ListDiff:
        """at_most: sources that are told before time runs out."""
        reading = ListDiff(text_lines(text), self.memory)
        self._tell(islice(reading.news(), at_most))
        if at_most is None:
            self._tell(reading.edited())
            for source in reading.removed():
                self.sources.pop(source)
        self.memory = reading.cache() if at_most is None else reading.partial_cache()
        return reading

    def _tell(self, told: Iterable[ListedSource]) -> None:
        for one in told:
            said = (one.title, one.labels, one.priority)
            if not one.edited:  # what it does not say may be known from elsewhere
                title, labels, priority = self.sources.get(one.id, (None, (), None))
                said = (one.title or title, one.labels or labels, priority if one.priority is None else one.priority)
            self.sources[one.id] = said


def truth(text: str) -> dict[str, Said]:
    """What the list says: the first line of each source counts."""
    said: dict[str, Said] = {}
    for row in text_lines(text):
        if isinstance(row, ListEntry) and row.text.lower().startswith("http"):
            said.setdefault(request_for(row.text).id, (row.title, row.labels, row.priority))
    return said


LINES = st.sampled_from(
    [
        *(f"https://h/{name}.mp4{option}" for name in "abc" for option in ("", " priority=1", ' title="x"')),
        "HTTPS://H:443/a.mp4",
        "# comment",
        "",
        "gopher://h/x.mp4",
        "https://h/a.mp4 priority=high",
    ]
)
TEXTS = st.lists(LINES, max_size=8).map("\n".join)


@given(st.lists(st.tuples(TEXTS, st.none() | st.integers(0, 3)), max_size=6), TEXTS)
def test_whatever_is_edited_and_cut_short_the_last_whole_reading_is_right(
    before: list[tuple[str, int | None]], last: str
) -> None:
    known = KnownSources()
    for text, at_most in before:
        known.read(text, at_most)
    known.read(last)
    assert known.sources == truth(last)


@given(TEXTS)
def test_a_second_reading_of_the_same_has_nothing_to_tell(text: str) -> None:
    known = KnownSources()
    known.read(text)
    again = ListDiff(text_lines(text), known.memory)
    assert list(again.news()) == list(again.edited()) == again.removed() == []


@given(
    st.text(max_size=60).map(str.encode) | st.binary(max_size=60),
    st.sampled_from([b"", b"https://", b"s3://", b"file://", b"https://h/a ", b"~"]),
)
def test_no_line_whatsoever_stops_the_reading(text: bytes, before: bytes) -> None:
    data = before + text.replace(b"\0", b"") + b"\n"
    reading = ListDiff(text_lines(decoded(data, "u.txt")), LineCache())
    list(reading.news())
    for entry in reading.local:
        with contextlib.suppress(VidpipeError):
            request_for(entry.text)


def test_local_lines_are_told_apart_at_each_reading() -> None:
    known = KnownSources()
    for _ in range(2):
        reading = known.read("footage/\nhttps://h/a.mp4\nfile:///srv/b.mp4 priority=2\n")
        assert [(entry.text, entry.priority) for entry in reading.local] == [
            ("footage/", None),
            ("file:///srv/b.mp4", 2),
        ]


def test_an_empty_file_has_no_lines_not_even_where_it_should_be_a_table() -> None:
    assert [list(parse_list(Path(name), b" \n", Lists())) for name in ("a.csv", "a.txt")] == [[], []]


def test_a_memory_is_kept_for_its_owner_alone_and_not_believed_when_damaged(tmp_path: Path) -> None:
    files = ListCacheFiles(tmp_path / "lists", "db.videos")
    known = KnownSources()
    known.read("https://h/a.mp4?token=secret\nhttps://h/b.mp4")
    files.save("data/urls.txt", known.memory)
    assert files.load("data/urls.txt") == known.memory
    assert ListCacheFiles(tmp_path / "lists", "another.videos").load("data/urls.txt") == LineCache()
    (path,) = (tmp_path / "lists").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert b"secret" not in path.read_bytes()
    path.write_bytes(path.read_bytes()[:-5])
    assert files.load("data/urls.txt") == LineCache()
