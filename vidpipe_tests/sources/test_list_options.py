"""What stands behind an address in a text list."""

from __future__ import annotations

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.sources.list_files import decoded
from vidpipe.sources.lists import ListEntry, ListProblem, ListRow, text_lines


def read(line: str) -> ListRow:
    (row,) = text_lines(line)
    return row


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("https://h/a.mp4 priority=5", ListEntry(1, "https://h/a.mp4", priority=5)),
        (
            'https://h/a.mp4 priority=-2 labels=cats,dogs title="My film"',
            ListEntry(1, "https://h/a.mp4", title="My film", labels=("cats", "dogs"), priority=-2),
        ),
        (
            '/srv/two words.mp4\tLABELS="big cats, dogs|cats"  # comment',
            ListEntry(1, "/srv/two words.mp4", labels=("big cats", "dogs", "cats")),
        ),
        ('https://h/a.mp4 title="Race #3 \\"final\\""', ListEntry(1, "https://h/a.mp4", title='Race #3 "final"')),
        ("https://h/a.mp4 title=Film # title=x", ListEntry(1, "https://h/a.mp4", title="Film")),
        ("https://h/a.mp4?title=x&priority=9#t=3", ListEntry(1, "https://h/a.mp4?title=x&priority=9#t=3")),
        ("/srv/a b=c.mp4", ListEntry(1, "/srv/a b=c.mp4")),
        ("https://h/a.mp4 title= labels= priority=", ListEntry(1, "https://h/a.mp4")),
    ],
)
def test_options_stand_behind_the_address_in_any_order(line: str, entry: ListEntry) -> None:
    assert read(line) == entry


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("https://h/a.mp4 priority=high", "the priority is not an integer"),
        ("https://h/a.mp4 prio=5", "unknown option; the options are priority, labels, title"),
        ("https://h/a.mp4 priority=1 priority=2", "priority is given twice"),
        ("https://h/a.mp4 title=My film", 'the value of title must be quoted: title="…"'),
        ('https://h/a.mp4 title="open', "the value of title must be quoted"),
        ("https://h/${VIDPIPE_SOURCE_NOWHERE}", "the environment variable VIDPIPE_SOURCE_NOWHERE is not set"),
        ("https://h/" + "a" * 9000, "the longest that is read has 8192"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, said: str) -> None:
    row = read(line)
    assert isinstance(row, ListProblem)
    assert said in row.sentence


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_list_is_read_in_each_encoding_that_has_a_mark(encoding: str) -> None:
    assert decoded("https://h/ü.mp4\n".encode(encoding), "u.txt") == "https://h/ü.mp4\n"


def test_a_binary_file_is_no_list() -> None:
    with pytest.raises(VidpipeError, match=r"not a text file in UTF-8: line 2 contains U\+0000"):
        decoded(b"\x7fELF\n\0\0", "u.txt")


def test_with_another_value_of_its_variable_a_line_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "https://h/a.mp4?token=${VIDPIPE_SOURCE_KEY}"
    keys = []
    for value in ("one", "two", "one"):
        monkeypatch.setenv("VIDPIPE_SOURCE_KEY", value)
        keys += text_lines(line).keys
    assert keys[0] == keys[2] != keys[1]
