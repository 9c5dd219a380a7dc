"""What users give: URLs, files, folders, lists and tables; each input is judged alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.sources.inputs import gather
from vidpipe.sources.source_request import request_for
from vidpipe_tests.sources.conftest import Write


def given(path: Path, **how: object) -> list[str]:
    return [request.url.reveal() for request in gather([path], **how).requests]  # type: ignore[arg-type]


def test_a_text_list_has_comments_blank_lines_and_duplicates(file_of: Write) -> None:
    listed = file_of(
        "urls.txt",
        b"\xef\xbb\xbf# my list\n\nhttps://example.org/a.mp4  # the first\nhttps://example.org/b.mp4#t=10\r\n"
        b"  HTTPS://EXAMPLE.org:443/a.mp4 \nhttps://example.org/b.mp4\n\tgopher://example.org/c.mp4\nnot a url\n",
    )
    gathered = gather([listed])
    assert [request.url.reveal() for request in gathered.requests] == [
        "https://example.org/a.mp4",
        "https://example.org/b.mp4",
    ]
    assert [problem.state for problem in gathered.problems] == ["refused", "refused"]
    first, second = (str(problem.error) for problem in gathered.problems)
    assert first.startswith("urls.txt, line 7: gopher:// is not supported.")
    assert "urls.txt, line 8" in second


def test_a_table_keeps_title_labels_and_priority(file_of: Write) -> None:
    table = file_of(
        "videos.csv",
        b'Title,URL,labels,priority\n"Ducks, wild",https://example.org/1.mp4,birds|water,5\n'
        b",https://example.org/2.mp4,,\n,,,\nX,https://example.org/3.mp4,,high\na,https://example.org/4.mp4,b,1,too,many\n",
    )
    gathered = gather([table])
    first, second = gathered.requests
    assert (first.title, first.labels, first.priority) == ("Ducks, wild", ("birds", "water"), 5)
    assert (second.title, second.labels, second.priority) == (None, (), None)
    errors = [str(problem.error) for problem in gathered.problems]
    assert any("6 fields" in error for error in errors)
    assert any("the priority is not an integer" in error for error in errors)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_may_be_separated_otherwise(file_of: Write, separator: str) -> None:
    lines = [separator.join(row) for row in (("id", "video_url"), ("1", "https://example.org/a,b.mp4?x=1"))]
    assert given(file_of("videos.csv", "\n".join(lines).encode())) == ["https://example.org/a,b.mp4?x=1"]


def test_a_table_of_one_column_is_read(file_of: Write) -> None:
    assert given(file_of("v.csv", b"url\nhttps://example.org/1.mp4\n")) == ["https://example.org/1.mp4"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,size\na,1\n", "has no column url; its first row has 2 other columns"),
        (b"", "not a valid table"),
        (b"url\n\xff\xfe\x00broken", "not a text file in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(file_of: Write, content: bytes, said: str) -> None:
    (problem,) = gather([file_of("v.csv", content)]).problems
    assert said in str(problem.error)


def test_a_folder_gives_every_video_below_by_name_or_content(file_of: Write, clip: bytes) -> None:
    folder = file_of("in/b/two.MKV", clip).parents[1]
    file_of("in/a/one.mp4", clip)
    file_of("in/no_suffix", clip)
    file_of("in/readme.txt", b"not a video")
    file_of("in/picture.jpg", b"\xff\xd8\xff\xe0 picture")
    file_of("in/code.ts", b"export const x = 1;")
    file_of("in/.hidden/three.mp4", clip)
    (folder / "loop").symlink_to(folder)
    assert [Path(url).name for url in given(folder)] == ["no_suffix", "one.mp4", "two.MKV"]


def test_what_a_folder_holds_besides_videos_is_counted_with_the_reason(file_of: Write, clip: bytes) -> None:
    folder = file_of("in/a/one.mp4", clip).parents[1]
    for name in ("1.jpg", "2.jpg", "a/3.JPG"):
        file_of(f"in/{name}", b"\xff\xd8\xff\xe0 picture")
    file_of("in/readme.txt", b"not a video")
    file_of("in/.DS_Store", b"x")
    file_of("in/.git/config", b"x")
    file_of("in/unknown.bin", bytes(range(256)))
    (folder / "lost.mp4").symlink_to(folder / "gone.mp4")
    (folder / "loop").symlink_to(folder)
    gathered = gather([folder])
    (note,) = gathered.notes
    assert note.skipped == {
        "JPEG picture": 3, "text file": 1, "hidden file": 1, "hidden folder": 1, "broken link": 1, "linked folder": 1,
        "file not in a video format that vidpipe knows": 1,
    }  # fmt: skip
    assert note.sentence.startswith(f"{folder}: skipped 7 files and 2 folders: 3 JPEG pictures, ")
    assert (len(gathered.requests), gathered.problems) == (1, [])


def test_lines_that_repeat_a_source_are_named(file_of: Write) -> None:
    table = file_of(
        "v.csv", b"url,label\nhttps://h/a.mp4,cat\nhttps://h/a.mp4#x,dog\nhttps://h/b.mp4,\nhttps://h/a.mp4,\n"
    )
    gathered = gather([table])
    assert [request.labels for request in gathered.requests] == [("cat",), ()]
    assert [note.sentence for note in gathered.notes] == ["v.csv: ignored lines that repeat an earlier source: 3, 5."]


def test_a_list_without_a_source_says_so(file_of: Write) -> None:
    for name, content in (("a.csv", b"url,title\n"), ("a.txt", b"# later\n")):
        (note,) = gather([file_of(name, content)]).notes
        assert note.sentence == f"{name} contains no source."


def test_a_folder_without_videos_says_so(tmp_path: Path) -> None:
    (problem,) = gather([tmp_path]).problems
    assert "no video in this folder" in str(problem.error)


def test_local_paths_in_a_list_are_taken_from_where_it_lies(
    file_of: Write, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_of("one file.mp4", clip)
    listed = file_of("list.txt", b"one file.mp4\n")
    monkeypatch.chdir(tmp_path)
    assert given(listed) == [(listed.parent / "one file.mp4").as_uri()]


def test_a_path_a_link_to_it_and_its_file_url_are_one_source(file_of: Write, clip: bytes) -> None:
    path = file_of("a b#c?.mp4", clip)
    link = path.with_name("link.mp4")
    link.symlink_to(path)
    assert len(gather([path, link, path.as_uri(), os.path.relpath(path)]).requests) == 1


@pytest.mark.parametrize(
    "text",
    [
        "nowhere.mp4", "gopher://h/x.mp4", "http://", "http://[::1/x", "http://h:99999/x", "rtsp://cam/1",
        "~no-such-user/x.mp4", "file://data", "file://[", "a" * 300 + ".mp4",
    ],
)  # fmt: skip
def test_what_is_neither_url_nor_file_is_an_error(text: str) -> None:
    with pytest.raises(VidpipeError):
        request_for(text)


def test_one_spelling_of_a_url_has_one_id() -> None:
    spellings = [
        "https://Example.ORG/a b.mp4",
        "https://example.org:443/a%20b.mp4",
        " https://example.org/a%20b.mp4#t ",
    ]
    assert len({request_for(spelling).id for spelling in spellings}) == 1
    assert request_for("https://müller.example/ü.mp4").url.reveal() == "https://xn--mller-kva.example/%C3%BC.mp4"


def test_an_address_is_not_shown_by_repr() -> None:
    assert "hunter2" not in repr(request_for("https://me:hunter2@example.org/a.mp4?token=hunter2"))


def test_the_media_store_is_not_taken_for_a_folder_of_videos(file_of: Write, clip: bytes) -> None:
    folder = file_of("home/mine.mp4", clip).parent
    file_of("home/data/media/incoming/x.part", clip)
    requests = gather([folder], exclude=[folder / "data" / "media"]).requests
    assert [request.path for request in requests] == [folder / "mine.mp4"]
