"""A file may be called anything that the disk allows: it is taken, found again, and shown escaped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.errors import VidpipeError, readable
from vidpipe.settings import Settings
from vidpipe.sources import media_store
from vidpipe.sources.download import refetch
from vidpipe.sources.due_sources import known_request
from vidpipe.sources.inputs import gather
from vidpipe.sources.lists import ListEntry
from vidpipe.sources.source_request import request_for
from vidpipe.sources.urls import bare
from vidpipe.sources.watched_files import diff_watched_files
from vidpipe_tests.sources.conftest import IngestHome, Write, sha256_of

CAFE = os.fsdecode(b"caf\xe9.mp4")


@pytest.mark.parametrize("mode", ["copy", "hardlink", "reference"])
def test_a_name_that_is_not_utf_8_is_taken_like_any_other(
    room: IngestHome, file_of: Write, clip: bytes, mode: Literal["copy", "hardlink", "reference"]
) -> None:
    path = file_of(os.fsdecode(b"b\xe4d/caf\xe9.mp4"), clip)
    (outcome,) = room.add(path.parent, mode=mode)
    assert outcome.stored is not None, outcome.error
    assert (outcome.state, outcome.stored.file_name) == ("stored", r"caf\xe9.mp4")
    assert outcome.input.endswith(r"b\xe4d/caf\xe9.mp4")
    assert outcome.stored.url.endswith("/b%E4d/caf%E9.mp4")
    assert room.settings.resolve(outcome.stored.path).read_bytes() == clip
    assert outcome.stored.model_dump_json()
    (record,) = room.sources.records.values()
    known = known_request(record, mode)
    assert known is not None
    assert (known.path, known.id) == (path, record.id)
    assert room.add(path.as_uri(), mode=mode)[0].state == "already stored"
    shutil.rmtree(room.media)
    assert refetch(room.settings, sha256_of(clip), [record.url])[0].path.read_bytes() == clip


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe.mp4", b"-i x.mp4", b"two\nlines\t.mp4", b"\x1b[31mred.mp4", b" blanks .mp4 ", b"a%E9#?&.mp4",
        "\u202egpj.mp4".encode(), b"quote\"'.mp4", b"\xed\xa0\x80.mp4", b"C:\\x.mp4", "\ufeff\u200b.mp4".encode(),
        b"x" * 251 + b".mp4", b"*?[a].mp4", b"${HOME}.mp4", b"%d.mp4", b"caf\\xe9.mp4",
    ],
)  # fmt: skip
def test_an_odd_name_leads_to_its_file_by_path_and_by_url(file_of: Write, name: bytes) -> None:
    path = file_of(os.fsdecode(name), b"x")
    assert request_for(str(path)).path == request_for(path.as_uri()).path == path
    assert request_for(path.name, base=path.parent).path == path


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 0x2F} & set(name) and name.strip(b".")))
def test_a_stored_path_is_text_and_leads_back_to_the_file(name: bytes) -> None:
    settings = Settings(home=Path("/srv/home"))
    for folder in ("/srv/home/data", "/elsewhere"):
        path = Path(folder, os.fsdecode(name))
        stored = settings.relative(path)
        assert stored.encode()
        assert settings.resolve(stored) == path


@given(st.text(st.characters(), max_size=20))
def test_readable_text_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    shown = readable(text)
    assert shown.encode().decode() == readable(shown) == shown


def test_an_error_about_such_a_file_can_be_written_down(room: IngestHome, file_of: Write) -> None:
    outcome = room.add_one(file_of(CAFE, b"no video\n" * 50))
    assert outcome.state == "refused"
    assert r"files/caf\xe9.mp4 is" in str(outcome.error)
    assert str(VidpipeError(CAFE, CAFE)) == r"caf\xe9.mp4 caf\xe9.mp4"


def test_lines_of_lists_may_hold_such_names(file_of: Write, clip: bytes) -> None:
    path = file_of(CAFE, clip)
    umlaut = file_of("Grüße.mp4", clip)
    text = file_of("find.txt", 'caf\xe9.mp4 title="Gr\xfc\xdfe"\nGr\xfc\xdfe.mp4\n'.encode("latin-1"))
    table = file_of("find.csv", "url,title\ncaf\xe9.mp4,Gr\xfc\xdfe\nGr\xfc\xdfe.mp4,\n".encode("latin-1"))
    for listed in (text, table):
        gathered = gather([listed])
        assert gathered.problems == []
        assert [(one.path, one.title) for one in gathered.requests] == [(path, "Grüße"), (umlaut, None)]
        assert "Windows-1252" in gathered.notes[0].sentence


def test_a_watched_folder_tells_of_such_files(file_of: Write, clip: bytes) -> None:
    path = file_of(f"in/{CAFE}", clip)
    os.utime(path, (1, 1))
    news = diff_watched_files([ListEntry(1, "in")], {}, path.parents[1] / "urls.txt", ())
    assert [problem for _, problem in news.problems] == []
    assert news.sources == []  # its inode has just changed
    (request,) = gather([path.parent]).requests
    state = (len(clip), 0, "")
    again = diff_watched_files([ListEntry(1, "in")], {request.id: state}, path.parents[1] / "urls.txt", ())
    assert again.files == {request.id: state}


def test_one_source_that_the_library_cannot_take_stops_no_other(
    room: IngestHome, file_of: Write, clip: bytes, other_clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_stored = room.sources.record_stored

    def refuse(record: object, video: object) -> None:
        if "bad" in str(record):
            raise UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")
        record_stored(record, video)  # type: ignore[arg-type]

    monkeypatch.setattr(room.sources, "record_stored", refuse)
    good, bad = file_of("good.mp4", clip), file_of("bad.mp4", other_clip)
    states = {Path(outcome.input).name: outcome for outcome in room.add(good, bad)}
    assert states["good.mp4"].state == "stored"
    assert (states["bad.mp4"].state, states["bad.mp4"].transient) == ("failed", True)
    assert "unexpected error (UnicodeEncodeError" in str(states["bad.mp4"].error)
    assert {record.state for record in room.sources.records.values()} == {"stored", "failed"}


def test_an_unexpected_error_is_not_transient_for_ever(
    room: IngestHome, file_of: Write, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> str:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(media_store, "check_decodable", fail)
    path = file_of("film.mp4", clip)
    tries = [outcome for _ in range(5) for outcome in room.add(path)]
    assert [outcome.transient for outcome in tries] == [True] * 4 + [False]
    (record,) = room.sources.records.values()
    assert (record.last_error_kind, record.next_try_at) == ("permanent", None)


U = "https://h/a.mp4"


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{U}", f"\u200b{U}\u200b", f"\u00a0{U} \u00a0", f"“{U}”", f"„{U}“", f"<{U}>", f'"{U}"', f"'{U}',",
        f"« {U} »", f"{U},", f" {U};\u2028", f"\u202a{U}\u202c",
    ],
)  # fmt: skip
def test_what_stands_around_a_url_is_taken_off(text: str) -> None:
    assert bare(text) == U


@pytest.mark.parametrize("text", ["https://h/“x”.mp4", "https://h/x.mp4?a,", "/srv/«x»", "'x'", "https://h/(x)", '"'])
def test_what_may_belong_to_an_address_stays(text: str) -> None:
    assert bare(text) == text


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://h/a\u200b.mp4", "U+200B ZERO WIDTH SPACE at character 12"),
        ("https://h/a\ufeff.mp4", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("https://h/a\u00a0b.mp4", "U+00A0 NO-BREAK SPACE"),
        ("https://h/a\u202eb.mp4", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("https://h/a.mp4”", "U+201D RIGHT DOUBLE QUOTATION MARK at the end"),
        ("https://h/a\tb.mp4", "U+0009 CONTROL CHARACTER"),
        ("https://h/a\udce9.mp4", "the byte 0xE9 (é in Windows-1252; not UTF-8)"),
        ("https://h/a\ud83d.mp4", "U+D83D LONE SURROGATE"),
        ("https://h/a\ufffd.mp4", "U+FFFD REPLACEMENT CHARACTER"),
        ("s3://b/a\u2060.mp4", "U+2060 WORD JOINER"),
        ("no\u00a0file.mp4", "U+00A0 NO-BREAK SPACE"),
        ("https://h/a.mp4 https://h/b.mp4", "this contains two URLs"),
        ("“no file.mp4”", "U+201C LEFT DOUBLE QUOTATION MARK"),
    ],
)
def test_a_character_that_belongs_to_no_address_is_named(address: str, named: str) -> None:
    with pytest.raises(VidpipeError) as error:
        request_for(address)
    assert named in str(error.value)


def test_letters_and_emoji_belong_to_addresses() -> None:
    family = "\U0001f468\u200d\U0001f469.mp4"
    assert request_for(f"https://h/{family}").url.reveal().endswith("%E2%80%8D%F0%9F%91%A9.mp4")
    assert request_for("https://h/می\u200cخواهم é.mp4").url.reveal().startswith("https://h/%D9")
