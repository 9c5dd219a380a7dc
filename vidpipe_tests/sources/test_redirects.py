"""Redirects are followed as far as they lead somewhere."""

from __future__ import annotations

import pytest

from vidpipe_tests.fault_server import FaultServer, redirect
from vidpipe_tests.sources.conftest import IngestHome, assert_stored


def test_a_redirect_is_followed_and_recorded(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/real/name.mp4", clip)
    url = server.add("/short", b"", always=redirect("/real/name.mp4?x=1#part"))
    outcome = room.add_one(url)
    assert outcome.state == "stored"
    assert outcome.source is not None
    assert outcome.source.final_url == server.url("/real/name.mp4?x=1")
    assert outcome.source.file_name == "name.mp4"


def test_a_redirect_loop_ends_with_a_sentence(room: IngestHome, server: FaultServer) -> None:
    server.add("/b", b"", always=redirect("/a"))
    outcome = room.add_one(server.add("/a", b"", always=redirect("/b")))
    assert (outcome.state, outcome.transient) == ("failed", False)
    assert "redirect loop" in str(outcome.error)
    assert len(server.requests) == room.settings.download.max_redirects + 1


def test_a_chain_of_too_many_redirects_ends(room: IngestHome, server: FaultServer) -> None:
    room.with_download(max_redirects=3)
    for number in range(9):
        server.add(f"/{number}", b"", always=redirect(f"/{number + 1}"))
    assert "more than 3 redirects" in str(room.add_one(server.url("/0")).error)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "target", ["http://[::1/x", "http://h:99999999/x", "http://\xff\xfe/", "http:///", "http://a b/"]
)
def test_a_redirect_to_nonsense_is_an_error_of_the_server(room: IngestHome, server: FaultServer, target: str) -> None:
    outcome = room.add_one(server.add("/clip.mp4", b"", always=redirect(target)))
    assert outcome.state in ("failed", "refused", "gone")
    assert not outcome.transient
    assert "unexpected" not in str(outcome.error)


def test_the_endless_body_of_a_redirect_is_not_read(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/clip.mp4", clip)
    assert_stored(room, server.add("/go", b"", always=redirect("/clip.mp4", endless_body=True)), clip)
