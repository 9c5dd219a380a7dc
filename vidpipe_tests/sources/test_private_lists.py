"""A list may turn out to be a private file: its lines are reported by their number, never by their content."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from vidpipe.cli.inputs import with_stdin
from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists
from vidpipe.sources.inputs import gather
from vidpipe.sources.list_diff import LineCache, ListDiff, parse_list
from vidpipe.sources.source_request import request_for
from vidpipe.sources.watched_files import diff_watched_files

LINES = (
    "root:x:0:0:PRIVATE:/root:/bin/bash",
    "PRIVATE_KEY=abc priority=PRIVATE",
    "PRIVATE https://h/PRIVATE option=PRIVATE",
    "postgres://me:PRIVATE@PRIVATE/x",
    "https://h:PRIVATE/",
    "https://[PRIVATE/",
    "https://xn--PRIVATE\u2028/",
    "https://h/PRIVATE\u200bPRIVATE",
    "http://a/PRIVATE http://b/PRIVATE",
    "s3://PRIVATE_/x",
    "s3://bucket//PRIVATE",
    "file://PRIVATE/x",
    "~PRIVATE/x",
    "PRIVATE" * 50,
    "PRIVATE" * 2000,
    "https://h/" + "PRIVATE" * 1500,
    'x title="PRIVATE" title=PRIVATE',
    "x title=PRIVATE PRIVATE",
    "https://h/${VIDPIPE_SOURCE_NOWHERE}/PRIVATE",
)
TABLES = (
    b"root:x:0:0:PRIVATE\nx\n", b"PRIVATE,https://h/PRIVATE.mp4\n", b"PRIVATE\n", b'"PRIVATE\nPRIVATE', b"PRIVATE\0",
    b"url\nPRIVATE,PRIVATE\nPRIVATE\n", b"url,title\nhttps://h/a.mp4,PRIVAT\xc9PRIVATE\nPRIVATE,x\n",
)  # fmt: skip


def test_a_line_that_is_no_source_is_not_repeated(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes("\n".join(LINES).encode() + b"\nPRIVAT\xc9 title=PRIVAT\xc9\x81\n")
    gathered = gather([listed])
    assert gathered.requests == []
    assert [problem.input for problem in gathered.problems] == [f"list.txt, line {n}" for n in range(1, len(LINES) + 2)]
    assert "PRIVAT" not in repr(gathered)

    reading = ListDiff(parse_list(listed, listed.read_bytes(), Lists()), LineCache())
    assert list(reading.news()) == []
    assert "PRIVAT" not in repr(reading.problems)
    assert "PRIVAT" not in repr(diff_watched_files(reading.local, {}, listed, ()).problems)


@pytest.mark.parametrize("content", TABLES)
def test_cells_of_a_table_are_not_repeated(content: bytes, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_bytes(content)
    gathered = gather([listed])
    assert gathered.problems
    assert "PRIVAT" not in repr((gathered.problems, gathered.notes))


def test_lines_of_stdin_are_reported_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "film.mp4 "
    named.touch()
    given = f"{LINES[0]}\n# comment\n{named}\nknown\n".encode() + b"PRIVATE" * 20_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    found, refused = with_stdin(["-", "last"], known=lambda line: line == "known")
    assert found == [str(named), "known", "last"]
    assert [outcome.input for outcome in refused] == ["stdin, line 1", "stdin, line 5"]
    assert "PRIVATE" not in repr(refused)


def test_a_url_beyond_8_kb_is_rejected_in_a_short_sentence() -> None:
    url = "https://h/" + "a" * 9000
    with pytest.raises(VidpipeError, match="the URL has 9010 characters; at most 8192 are allowed") as error:
        request_for(url)
    assert len(str(error.value)) < 500
    assert request_for(url[:8192]).url.reveal() == url[:8192]
