"""A stored file that is gone comes back from a source that still gives these very bytes, or the error tells all."""

from __future__ import annotations

import pytest

from vidpipe.network.fetch_errors import FetchError
from vidpipe.sources.download import refetch
from vidpipe_tests.fault_server import FaultServer, status
from vidpipe_tests.sources.conftest import IngestHome, Write, sha256_of


def test_the_first_source_with_these_bytes_serves(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    gone, changed = server.url("/gone.mp4"), server.add("/changed.mp4", other_clip)
    good = server.add("/good.mp4", clip)
    file, given_by = refetch(room.settings, sha256_of(clip), [gone, changed, good])
    assert given_by == good
    assert file.path.read_bytes() == clip
    assert room.stored_files() == [file.path]  # the other bytes are not let in
    assert room.partial_files() == []


def test_a_damaged_file_of_the_right_size_is_replaced(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    (stored,) = room.stored_files()
    stored.write_bytes(clip[:-10] + b"damaged!!!")
    refetch(room.settings, sha256_of(clip), [url])
    assert stored.read_bytes() == clip


def test_a_local_source_serves(room: IngestHome, clip: bytes, file_of: Write) -> None:
    path = file_of("clip.mp4", clip)
    file, given_by = refetch(room.settings, sha256_of(clip), [path.as_uri()])
    assert file.path.read_bytes() == clip
    assert given_by == path.as_uri()


def test_the_error_tells_what_each_source_said(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes, file_of: Write
) -> None:
    urls = [
        server.url("/gone.mp4"),
        server.add("/other.mp4", other_clip),
        server.add("/busy.mp4", b"", always=status(503)),
        "https://***@example.org/x.mp4",
        file_of("away.mp4", clip).as_uri(),
    ]
    file_of("away.mp4", clip).unlink()
    with pytest.raises(FetchError) as caught:
        refetch(room.settings, sha256_of(clip), urls)
    said = str(caught.value)
    assert sha256_of(clip)[:12] in said
    for part in (
        "no such file (404",
        f"the content has changed (sha256 {sha256_of(other_clip)[:12]})",
        "503",
        "a secret",
    ):
        assert part in said
    assert "away.mp4" in said
    assert caught.value.transient


def test_without_a_source_there_is_nothing_to_fetch(room: IngestHome, clip: bytes) -> None:
    with pytest.raises(FetchError, match="no known source") as caught:
        refetch(room.settings, sha256_of(clip), [])
    assert not caught.value.transient
