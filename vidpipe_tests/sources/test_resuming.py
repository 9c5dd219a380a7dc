"""Parts of a file are joined only where they are certainly of one version; otherwise the download begins anew."""

from __future__ import annotations

import email.utils
import gzip
import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_response import ContentRange, PartialState, Validators
from vidpipe.sources.download import download
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.urls import SourceUrl
from vidpipe_tests.fault_server import Fault, FaultServer, Handler, Served, changes_to, cut, part, status
from vidpipe_tests.sources.conftest import IngestHome

OLD = "Mon, 01 Jan 2024 00:00:00 GMT"
NEWER = "Tue, 02 Jan 2024 00:00:00 GMT"
NOW = datetime.now(UTC)
CONTENT = b"\x00\x00\x00\x18ftypisom" + bytes(range(256)) * 40
AT = int(len(CONTENT) * 0.3)


def ago(seconds: int) -> str:
    return email.utils.format_datetime(NOW - timedelta(seconds=seconds), usegmt=True)


class Fetch:
    """Downloads one file, without the checks of the media store."""

    def __init__(self, room: IngestHome, server: FaultServer) -> None:
        self.room, self.server = room, server

    def __call__(self, *faults: Fault, content: bytes = CONTENT, always: Fault | None = None, **how: Any) -> bytes:
        self.server.requests.clear()
        url = self.server.add("/clip.mp4", content, faults=faults, always=always, **how)
        return self.again(url)

    def again(self, url: str) -> bytes:
        store = MediaStore(self.room.settings)
        file, _ = download(SourceUrl(url), settings=self.room.settings, store=store, cancelled=threading.Event())
        content = file.path.read_bytes()
        file.discard()
        return content

    @property
    def ranges(self) -> list[str | None]:
        return [seen.headers.get("range") for seen in self.server.requests]


@pytest.fixture
def fetch(room: IngestHome, server: FaultServer) -> Fetch:
    return Fetch(room, server)


def test_a_part_that_may_be_of_another_version_is_not_joined(fetch: Fetch) -> None:
    """The server ignores If-Range."""
    new = CONTENT[:-1] + b"x"
    answers: list[tuple[dict[str, str | None], dict[str, Any]]] = [
        ({"etag": None, "last_modified": OLD}, {"Last_Modified": NEWER}),
        ({"etag": None, "last_modified": OLD}, {"Last_Modified": ""}),
        ({"etag": None, "last_modified": OLD}, {"ETag": '"new"'}),
        ({"etag": '"one"'}, {"ETag": '"two"'}),
        ({"etag": '"one"'}, {"ETag": ""}),
        ({"etag": '"one"'}, {"ETag": 'W/"one"'}),
        ({"etag": '"one"', "last_modified": OLD}, {"Last_Modified": NEWER}),
        ({"etag": '"one"'}, {"total": 999_999}),
        ({"etag": '"one"'}, {"Content_Encoding": "gzip"}),
    ]
    for version, said in answers:
        tag = version["etag"] or ""

        def changed(handler: Handler, served: Served, said: dict[str, Any] = said, tag: str = tag) -> None:
            served.content, served.etag, served.last_modified = new, '"new"', NEWER
            part(AT, **{"ETag": tag, "Last_Modified": OLD, **said})(handler, served)

        assert fetch(cut(0.3), changed, **version) == new, said
        assert fetch.ranges == [None, f"bytes={AT}-", None], said


@pytest.mark.parametrize(
    "stated", ["bytes 0-9/10", "bytes 900000-900009/1000000", "bytes 9000-100/10252", "bytes 3-5", "none", ""]
)
def test_a_part_of_other_bytes_is_not_joined(fetch: Fetch, stated: str) -> None:
    assert fetch(cut(0.3), part(AT, Content_Range=stated)) == CONTENT
    assert fetch.ranges == [None, f"bytes={AT}-", None]


def test_without_a_strong_validator_a_download_begins_anew(fetch: Fetch) -> None:
    just_now = email.utils.formatdate(usegmt=True)
    for etag, modified in (
        (None, None), (None, "yesterday"), (None, just_now), ('W/"weak"', OLD), ("unquoted", OLD), ('""', OLD),
        ('"half', OLD),
    ):  # fmt: skip
        assert fetch(cut(0.3), etag=etag, last_modified=modified) == CONTENT
        assert fetch.ranges == [None, None], (etag, modified)


def test_last_modified_is_strong_a_minute_later_and_only_where_there_is_no_etag() -> None:
    for validators, if_range in (
        (Validators(last_modified=ago(59)), None),
        (Validators(last_modified=ago(61)), ago(61)),
        (Validators(etag='"a"', last_modified=ago(1)), '"a"'),
        (Validators(etag='W/"a"', last_modified=OLD), None),
    ):
        assert PartialState.of(validators, NOW, total_bytes=1).if_range == if_range


def test_what_if_range_does_not_name_need_not_be_repeated() -> None:
    state = PartialState(etag='"a"', last_modified=OLD, total_bytes=100)
    rest = ContentRange(10, 99, 100)
    assert state.joined(rest, 10, Validators(etag='"a"'), "") == state
    assert state.joined(rest, 10, Validators(last_modified=OLD), "") is None
    later = PartialState(etag='"a"').joined(rest, 10, Validators(etag='"a"', last_modified=OLD), "")
    assert later is not None
    assert later.total_bytes == 100


def test_accept_ranges_none_is_believed(fetch: Fetch) -> None:
    assert fetch(cut(0.3), headers={"Accept-Ranges": "none"}, ranges=False) == CONTENT
    assert fetch.ranges == [None, None]


def test_a_part_that_begins_before_the_asked_byte_is_joined_there(fetch: Fetch) -> None:
    assert fetch(cut(0.3), part(AT - AT % 512)) == CONTENT
    assert fetch.ranges == [None, f"bytes={AT}-"]


@pytest.mark.parametrize("total", [None, "*"])
def test_a_server_that_gives_a_little_at_a_time_is_asked_for_more(fetch: Fetch, total: str | None) -> None:
    """More parts than retries are allowed: they are no faults."""
    parts = [part(at, at + 1500, total=total) for at in range(AT, len(CONTENT), 1500)]
    assert fetch(cut(0.3), *parts) == CONTENT


def test_parts_are_joined_over_several_processes(room: IngestHome, fetch: Fetch) -> None:
    room.with_download(retries=0)
    how: dict[str, Any] = {"etag": None, "last_modified": OLD}
    with pytest.raises(FetchError):
        fetch(cut(0.3), cut(0.5), cut(0.5), **how)
    url = fetch.server.url("/clip.mp4")
    for _ in range(2):
        with pytest.raises(FetchError):
            fetch.again(url)
    assert fetch.again(url) == CONTENT
    assert sum(seen.sent for seen in fetch.server.requests) == len(CONTENT)


@pytest.mark.parametrize("state", ['{"etag": "\\"one\\""}', f'{{"etag": null, "last_modified": "{OLD}"}}'])
def test_what_an_older_version_left_is_gone_on_with(room: IngestHome, fetch: Fetch, state: str) -> None:
    url = SourceUrl(fetch.server.url("/clip.mp4"))
    file = PartialFile(MediaStore(room.settings).incoming, url.id)
    file.start(PartialState())
    file.append(CONTENT[:5000])
    file.close()
    file.path.with_suffix(".json").write_text(state)
    assert fetch(etag='"one"' if "one" in state else None, last_modified=OLD) == CONTENT
    assert fetch.ranges == ["bytes=5000-"]


def test_the_end_of_a_file_of_unknown_length_is_confirmed(fetch: Fetch) -> None:
    def unknown(handler: Handler, served: Served) -> None:
        handler.head(200, served.standard_headers() | {"Transfer-Encoding": "chunked"})
        handler.write(b"%x\r\n%s\r\n" % (AT, served.content[:AT]))
        handler.hang_up()

    assert fetch(unknown, part(AT, total="*"), status(416)) == CONTENT
    assert fetch.ranges == [None, f"bytes={AT}-", f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_longer_than_it_says_is_not_built_upon(fetch: Fetch) -> None:
    lies = part(AT, Content_Range=f"bytes {AT}-{AT + 99}/{len(CONTENT)}")
    assert fetch(cut(0.3), lies) == CONTENT
    assert fetch.ranges == [None, f"bytes={AT}-", None]


def test_a_server_whose_parts_never_fit_is_given_up(room: IngestHome, fetch: Fetch) -> None:
    tags = itertools.count()

    def never_fits(handler: Handler, served: Served) -> None:
        del handler.headers["If-Range"]
        changes_to(CONTENT, f'"{next(tags)}"', cut(0.3))(handler, served)

    room.with_download(retries=2)
    with pytest.raises(FetchError, match=r"\(3 attempts\)"):
        fetch(always=never_fits)
    assert len(fetch.ranges) == 4


@pytest.mark.parametrize(("code", "total"), [(203, None), (206, None), (206, "*")])
def test_a_whole_file_is_taken_whatever_the_status_calls_it(fetch: Fetch, code: int, total: str | None) -> None:
    assert fetch(always=part(0, total=total, code=code)) == CONTENT
    assert fetch.ranges == [None]


def test_the_rest_of_a_file_under_status_200_is_not_taken_for_all_of_it(fetch: Fetch) -> None:
    assert fetch(cut(0.3), part(AT, code=200)) == CONTENT
    assert fetch.ranges == [None, f"bytes={AT}-", None]


def test_a_whole_compressed_file_under_206_is_undone(fetch: Fetch) -> None:
    packed = gzip.compress(CONTENT)
    assert fetch(content=packed, always=part(0, Content_Encoding="gzip")) == CONTENT


def test_a_part_that_nobody_asked_for_is_completed(fetch: Fetch) -> None:
    assert fetch(part(0, 5000)) == CONTENT
    assert fetch.ranges == [None, "bytes=5000-"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (part(0, 5000, ETag=""), "only the first 5000 of"),
        (part(5000), "a partial response to a full request"),
        (part(0, Content_Range=""), "a partial response to a full request"),
        (status(302), "a redirect without a target"),
    ],
)
def test_a_file_that_cannot_be_completed_is_an_error(fetch: Fetch, answer: Fault, said: str) -> None:
    with pytest.raises(FetchError, match=said) as caught:
        fetch(always=answer)
    assert not caught.value.transient
    assert fetch.ranges == [None]
    assert fetch.room.partial_files() == []


def test_a_server_that_sends_the_beginning_again_and_again_ends(fetch: Fetch) -> None:
    with pytest.raises(FetchError):
        fetch(always=part(0, 5000))
    assert len(fetch.ranges) == 3
