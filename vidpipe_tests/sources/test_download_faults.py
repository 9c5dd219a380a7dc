"""Servers misbehave; what can be had is had, whole, and what cannot ends in a sentence."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from vidpipe.media.probe import probe
from vidpipe.network.http_response import PartialState
from vidpipe.sources.inputs import gather
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.partial_file import PartialFile
from vidpipe_tests.fault_server import (
    FaultServer,
    Handler,
    Served,
    changes_to,
    chunked,
    cut,
    endless,
    gzipped,
    hang,
    page,
    serve,
    slow,
    slow_headers,
    status,
    wrong_length,
)
from vidpipe_tests.sources.conftest import IngestHome, assert_stored


def test_a_good_file_is_stored_under_its_hash_with_what_the_library_needs(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/films/My%20clip.mp4", clip, last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
    outcome = room.add_one(url)
    stored, source = outcome.stored, outcome.source
    assert stored is not None
    assert source is not None
    assert stored.path == f"data/media/{stored.sha256[:2]}/{stored.sha256}.mp4"
    assert stored.size_bytes == len(clip)
    assert stored.modified_ns == (room.home / stored.path).stat().st_mtime_ns
    assert stored.file_name == "My clip.mp4"
    info = probe(room.home / stored.path)
    assert (info.width, info.height) == (320, 180)
    assert (source.state, source.attempts, source.etag) == ("stored", 1, '"one"')
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_a_transfer_cut_at_30_percent_goes_on_where_it_broke(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, faults=[cut(0.3)])
    assert_stored(room, url, clip)
    first, second = server.seen("/clip.mp4")
    assert first.sent == int(len(clip) * 0.3)
    assert second.headers["range"] == f"bytes={first.sent}-"
    assert second.headers["if-range"] == '"one"'
    assert second.status == 206
    assert first.sent + second.sent == len(clip)


def test_a_connection_reset_goes_on_as_well(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, faults=[cut(0.6, reset=True)]), clip)


def test_last_modified_joins_the_parts_where_there_is_no_etag(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    assert_stored(room, server.add("/clip.mp4", clip, etag=None, last_modified=modified, faults=[cut(0.3)]), clip)
    assert server.requests[1].headers["if-range"] == modified


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_parts_that_nothing_vouches_for_are_not_joined(
    room: IngestHome, server: FaultServer, clip: bytes, tag: str | None
) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, etag=tag, faults=[cut(0.3)]), clip)
    assert "range" not in server.requests[1].headers


def test_a_server_without_ranges_is_asked_for_everything_again(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, ranges=False, faults=[cut(0.3), cut(0.9)]), clip)
    assert [seen.status for seen in server.requests] == [200, 200, 200]


def test_a_file_that_changed_between_attempts_is_never_a_mixture(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, faults=[cut(0.3), changes_to(other_clip, '"two"')]), other_clip)


def test_a_server_that_joins_versions_against_if_range_is_found_out(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    def ignores_if_range(handler, served) -> None:  # type: ignore[no-untyped-def]
        served.content, served.etag = other_clip, '"two"'
        del handler.headers["If-Range"]
        serve(handler, served)

    url = server.add("/clip.mp4", clip, faults=[cut(0.01), ignores_if_range])
    assert_stored(room, url, other_clip)
    assert [seen.status for seen in server.requests] == [200, 206, 200]


def test_a_length_that_is_too_long_is_noticed_and_the_end_confirmed(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, faults=[wrong_length(+1000)]), clip)
    assert server.requests[1].status == 416


def test_a_whole_part_is_known_as_whole_although_416_does_not_say_the_size(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, always=status(416))
    part = PartialFile(MediaStore(room.settings).incoming, gather([url]).requests[0].id)
    part.start(PartialState(etag='"one"', total_bytes=len(clip)))
    part.append(clip)
    part.close()
    assert_stored(room, url, clip)
    assert [seen.status for seen in server.requests] == [416]


def test_a_length_that_is_always_too_long_fails_and_says_so(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    outcome = room.add_one(server.add("/clip.mp4", clip, ranges=False, etag=None, always=wrong_length(+1000)))
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert f"after {len(clip)} of {len(clip) + 1000} bytes (4 attempts)" in str(outcome.error)
    assert room.stored_files() == []


def test_a_length_that_is_too_short_gives_a_cut_file_which_is_refused(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    outcome = room.add_one(server.add("/clip.mp4", clip, always=wrong_length(-len(clip) + 2000)))
    assert outcome.state == "refused"
    assert room.stored_files() == []
    assert room.partial_files() == []


def test_503_with_retry_after_is_waited_for(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip, faults=[status(503, retry_after="1")])
    start = time.monotonic()
    assert_stored(room, url, clip)
    assert time.monotonic() - start >= 1.0


def test_a_longer_retry_after_than_max_wait_is_kept_for_the_next_run(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    room.with_download(max_wait=1.0)
    url = server.add("/clip.mp4", clip, faults=[status(503, retry_after="7200")])
    outcome = room.add_one(url)
    assert outcome.state == "failed"
    assert outcome.source is not None
    assert outcome.source.next_try_at is not None
    assert outcome.source.next_try_at - datetime.now(UTC) > timedelta(seconds=7100)
    assert len(server.requests) == 1
    again = room.add_one(url, retry=False)  # as a sensor asks
    assert (again.state, again.error) == ("failed", outcome.error)
    assert len(server.requests) == 1
    assert_stored(room, url, clip)  # as a person asks


@pytest.mark.parametrize("code", [500, 502, 504, 408, 429])
def test_passing_faults_are_tried_again(room: IngestHome, server: FaultServer, clip: bytes, code: int) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, faults=[status(code), status(code)]), clip)


def test_what_does_not_pass_fails_after_the_allowed_retries(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    outcome = room.add_one(server.add("/clip.mp4", clip, always=status(503)))
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert "is temporarily unavailable (503 Service Unavailable) (4 attempts)" in str(outcome.error)
    assert outcome.source is not None
    assert (outcome.source.attempts, outcome.source.failures) == (4, 1)
    assert outcome.source.next_try_at is not None


@pytest.mark.parametrize(
    ("code", "said"),
    [(404, "no such file"), (410, "no such file"), (403, "denies access"), (401, "denies access"), (400, "400")],
)
def test_lasting_faults_are_not_tried_again(room: IngestHome, server: FaultServer, code: int, said: str) -> None:
    outcome = room.add_one(server.add("/clip.mp4", b"", always=status(code)))
    assert (outcome.state, outcome.transient) == ("gone" if code in (404, 410) else "failed", False)
    assert said in str(outcome.error)
    assert len(server.requests) == 1
    assert outcome.source is not None
    assert outcome.source.next_try_at is None


def test_a_web_page_with_status_200_is_refused_with_what_to_do(room: IngestHome, server: FaultServer) -> None:
    outcome = room.add_one(server.add("/watch/clip.mp4", b"", always=page))
    assert outcome.state == "refused"
    assert "this is a web page (HTML), “Watch”, in which no video was found" in str(outcome.error)
    assert "Use the direct link to the video" in str(outcome.error)
    assert room.partial_files() == []


def test_a_video_that_is_labelled_as_a_page_is_still_a_video(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    assert_stored(room, server.add("/clip", clip, content_type="text/html"), clip)


def test_raw_video_that_reads_like_text_is_still_a_video(room: IngestHome, server: FaultServer) -> None:
    grey = b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + b"~" * (64 * 64 * 3 // 2)) * 5
    outcome = room.add_one(server.add("/grey.y4m", grey))
    assert outcome.state == "stored", outcome.error


def test_a_playlist_leads_to_nothing_that_may_not_be_reached(room: IngestHome, server: FaultServer) -> None:
    playlist = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nhttp://169.254.169.254/latest/meta-data\n"
    outcome = room.add_one(server.add("/clip.mp4", playlist))
    assert outcome.state in ("refused", "failed")
    assert room.stored_files() == []


def test_a_file_that_is_no_video_is_refused_by_its_content(room: IngestHome, server: FaultServer) -> None:
    outcome = room.add_one(server.add("/clip.mp4", b"\x00\x01\x02 random bytes, no container" * 500))
    assert outcome.state == "refused"
    assert server.url("/clip.mp4") in str(outcome.error)
    assert room.stored_files() == room.partial_files() == []


@pytest.mark.parametrize("in_chunks", [False, True])
def test_an_endless_body_is_stopped_at_the_size_limit(
    room: IngestHome, server: FaultServer, clip: bytes, in_chunks: bool
) -> None:
    room.with_download(max_size_mb=2)
    outcome = room.add_one(server.add("/clip.mp4", clip, always=endless(chunked=in_chunks)))
    assert outcome.state == "refused"
    assert "larger than 2 MB" in str(outcome.error)
    assert room.partial_files() == []


def test_an_announced_size_above_the_limit_is_not_fetched_at_all(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    room.with_download(max_size_mb=1)
    outcome = room.add_one(server.add("/clip.mp4", clip, always=wrong_length(5 << 20)))
    assert outcome.state == "refused"
    assert "larger than 1 MB" in str(outcome.error)


def test_a_trickle_is_given_up(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    """Each byte comes within the read timeout, so that only the average shows it."""
    room.with_download(read_timeout=1.0, retries=0)
    outcome = room.add_one(server.add("/clip.mp4", clip, always=slow(10, 0.1)))
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert "stalled (less than 1024 bytes/s for 1 s)" in str(outcome.error)


def test_headers_that_trickle_without_end_are_given_up(room: IngestHome, server: FaultServer) -> None:
    room.with_download(read_timeout=1.0, retries=0)
    outcome = room.add_one(server.add("/clip.mp4", b"", always=slow_headers(0.1)))
    assert "stalled" in str(outcome.error)


def test_silence_before_the_headers_is_given_up_and_tried_again(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    room.with_download(read_timeout=0.5)
    assert_stored(room, server.add("/clip.mp4", clip, faults=[hang]), clip)


def test_a_slow_but_steady_transfer_is_left_alone(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    room.with_download(read_timeout=0.5)
    assert_stored(room, server.add("/clip.mp4", clip, always=slow(len(clip) // 12, 0.15)), clip)


def test_a_body_in_chunks_without_a_length_is_fetched(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, always=chunked), clip)


def test_an_encoding_nobody_asked_for_is_undone(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, always=gzipped), clip)


@pytest.mark.parametrize("encoding", ["aws-chunked", "none", "utf-8", ""])
def test_an_encoding_that_is_none_is_passed_over(
    room: IngestHome, server: FaultServer, clip: bytes, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding}
    assert_stored(room, server.add("/clip.mp4", clip, headers=headers, faults=[cut(0.3)]), clip)
    assert server.requests[1].status == 206


def test_a_compressed_bomb_counts_by_what_it_becomes(room: IngestHome, server: FaultServer) -> None:
    room.with_download(max_size_mb=2)
    outcome = room.add_one(server.add("/clip.mp4", b"\x00\x00\x00\x18ftypisom" + b"\0" * (8 << 20), always=gzipped))
    assert outcome.state == "refused"
    assert "larger than 2 MB" in str(outcome.error)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"' + "x" * 60_000 + '"', "Content-Disposition": "attachment; filename*=x-unknown'%ff; filename"},
        {"Content-Disposition": "inline; filename*0*=utf-8''%e2; filename*1=\xff", "Last-Modified": "yesterday"},
        {"Content-Range": "bytes 5-9/3", "Retry-After": "1e999", "Content-Type": ""},
    ],
)
def test_senseless_headers_do_no_harm(
    room: IngestHome, server: FaultServer, clip: bytes, headers: dict[str, str]
) -> None:
    assert_stored(room, server.add("/clip.mp4", clip, headers=headers, etag=None, faults=[cut(0.5)]), clip)


def test_a_name_from_content_disposition_is_used_without_its_folders(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    headers = {"Content-Disposition": "attachment; filename=\"x.mp4\"; filename*=UTF-8''..%2F..%2Fetc%2FF%C3%BCnf.mp4"}
    outcome = room.add_one(server.add("/get?id=7", clip, headers=headers))
    assert outcome.source is not None
    assert outcome.source.file_name == "Fünf.mp4"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection without a response"),
        (b"\x16\x03\x01\x00\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcdef", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip", "compressed body is corrupt"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", "interrupted after 5 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "the connection was interrupted"),
    ],
)
def test_what_is_no_proper_answer_is_told_apart(
    room: IngestHome, server: FaultServer, answer: bytes, said: str
) -> None:
    def raw(handler: Handler, served: Served) -> None:
        handler.wfile.write(answer)
        handler.hang_up()

    room.with_download(retries=0)
    outcome = room.add_one(server.add("/clip.mp4", b"", always=raw))
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert said in str(outcome.error)


def test_nothing_listening_is_a_passing_fault(room: IngestHome, server: FaultServer) -> None:
    room.with_download(retries=1, allowed_private=("127.0.0.1",))
    outcome = room.add_one("http://127.0.0.1:9/clip.mp4")
    assert (outcome.state, outcome.transient) == ("failed", True)
    assert "connection refused" in str(outcome.error)
