"""Secrets go to the server they are for, and nowhere else: not to other hosts, records, errors, logs."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.network.fetch_errors import FetchError
from vidpipe.sources.download import refetch
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe_tests.fault_server import FaultServer, redirect, slow, slow_headers, status
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

PASSWORD = "s3cr3t-pass"  # noqa: S105 - made up
BASIC = "Basic " + base64.b64encode(f"anna:{PASSWORD}".encode()).decode()


def with_login(url: str) -> str:
    return url.replace("http://", f"http://anna:{PASSWORD}@")


def everything_written(room: IngestHome) -> str:
    kept = [record.model_dump_json() for record in room.sources.saved]
    kept += [video.model_dump_json() for videos in room.sources.videos.values() for video in videos]
    kept += [path.read_text(errors="replace") for path in (room.media / "incoming").glob("*.json")]
    return "\n".join(kept)


def test_a_login_in_the_url_is_used_and_never_kept(
    room: IngestHome, server: FaultServer, clip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = with_login(server.add("/clip.mp4", clip, authorization=BASIC))
    outcome = room.add_one(url)
    assert outcome.state == "stored"
    assert outcome.source is not None
    assert outcome.source.url == f"http://***@127.0.0.1:{server.port}/clip.mp4"
    assert outcome.source.has_secret
    assert PASSWORD not in repr(outcome) + everything_written(room) + caplog.text


def test_a_login_may_hold_any_character(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    login = "Basic " + base64.b64encode("jörg:pä:ss/wörd€".encode()).decode()
    url = server.add("/clip.mp4", clip, authorization=login)
    assert room.add_one(url.replace("http://", "http://j%C3%B6rg:pä:ss%2Fw%C3%B6rd%E2%82%AC@")).state == "stored"


def test_a_secret_parameter_is_sent_and_never_kept(
    room: IngestHome, server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.add("/clip.mp4", b"", always=status(403))
    query = f"id=7&X-Amz-Signature={PASSWORD}&hdnts={PASSWORD}&access_token={PASSWORD}"
    outcome = room.add_one(server.url(f"/clip.mp4?{query}"))
    assert server.requests[0].path.endswith(query)
    assert outcome.state == "failed"
    assert "id=7&X-Amz-Signature=***" in str(outcome.error)
    assert PASSWORD not in repr(outcome) + everything_written(room) + caplog.text


def test_two_urls_that_differ_in_the_secret_only_are_two_sources(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    server.add("/get?token=aaaa", clip)
    server.add("/get?token=bbbb", other_clip)
    first, second = room.add(server.url("/get?token=aaaa"), server.url("/get?token=bbbb"))
    assert first.video == sha256_of(clip)
    assert second.video == sha256_of(other_clip)


def test_a_login_does_not_follow_a_redirect_to_another_host(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    with FaultServer() as other:
        room.with_download(allowed_private=("127.0.0.1",))
        other.add("/clip.mp4", clip)
        target = other.url("/clip.mp4").replace("http://", "http://mallory:x@")
        url = server.add("/go", b"", always=redirect(target), authorization=None)
        assert room.add_one(with_login(url)).state == "stored"
        assert server.requests[0].headers["authorization"] == BASIC
        assert "authorization" not in other.requests[0].headers


def test_a_login_stays_on_its_own_host_through_redirects(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/clip.mp4", clip, authorization=BASIC)
    assert room.add_one(with_login(server.add("/go", b"", always=redirect("/clip.mp4")))).state == "stored"


def test_passwords_of_netrc_are_not_sent(
    room: IngestHome, server: FaultServer, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login anna password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert room.add_one(server.add("/clip.mp4", clip)).state == "stored"
    assert "authorization" not in server.requests[0].headers


def test_a_proxy_of_the_environment_is_used_only_when_asked_for(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        url = server.add("/clip.mp4", clip)
        assert room.add_one(url).state == "stored"
        assert proxy.requests == []
        room.with_download(use_proxy=True)
        proxy.files[f"{url}?2"] = server.files["/clip.mp4"]
        assert room.add_one(f"{url}?2").state == "already stored"
        assert [seen.path for seen in proxy.requests] == [f"{url}?2"]
        assert room.add_one("http://10.0.0.1/clip.mp4").state == "refused"


def test_a_proxy_that_hangs_is_given_up(room: IngestHome, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        proxy.add("http://203.0.114.7/clip.mp4", b"", always=slow_headers(0.1))
        room.with_download(use_proxy=True, read_timeout=0.6, retries=0)
        assert "stalled" in str(room.add_one("http://203.0.114.7/clip.mp4").error)


def test_a_list_takes_its_secrets_from_the_environment(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_PASSWORD", PASSWORD)
    monkeypatch.setenv("OTHER_SECRET", "other-secret")
    server.add("/clip.mp4", clip, authorization=BASIC)
    listed = room.home / "data" / "urls.txt"
    listed.parent.mkdir(exist_ok=True)
    listed.write_text(
        f"http://anna:${{VIDPIPE_SOURCE_PASSWORD}}@127.0.0.1:{server.port}/clip.mp4\n"
        f"http://127.0.0.1:{server.port}/x?y=${{OTHER_SECRET}}\nhttp://x/${{VIDPIPE_SOURCE_MISSING}}\n"
    )
    first, second, third = room.add(listed)
    assert first.state == "stored"
    assert second.state == "gone"
    assert not any("other-secret" in seen.path for seen in server.requests)
    assert "variable VIDPIPE_SOURCE_MISSING is not set" in str(third.error)

    assert first.source is not None
    room.stored_files()[0].unlink()
    with pytest.raises(FetchError, match="run `vidpipe add` with the full URL, or with the list that contains it"):
        refetch(room.settings, sha256_of(clip), [first.source.url])
    again = room.add(listed)[0]
    assert again.source is not None
    assert again.source.url == first.source.url
    assert room.stored_files()[0].read_bytes() == clip


@pytest.fixture
def tls_server(server: FaultServer, tmp_path: Path) -> Iterator[tuple[FaultServer, Path]]:
    """A second server that speaks TLS with a certificate of its own for `localhost`."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("openssl cannot make a certificate here")
    secure = FaultServer()
    secure.encrypt(certificate, key)
    with secure:
        yield secure, certificate


def test_certificates_are_checked_against_the_name_and_cannot_be_waved_through(
    room: IngestHome, tls_server: tuple[FaultServer, Path], clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure, certificate = tls_server
    secure.add("/clip.mp4", clip)
    room.with_download(allowed_private=("localhost", "127.0.0.1"))
    by_name, by_address = (f"https://{host}:{secure.port}/clip.mp4" for host in ("localhost", "127.0.0.1"))
    refused = room.add_one(by_name)
    assert (refused.state, refused.transient) == ("failed", False)
    assert "certificate is not valid" in str(refused.error)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.fspath(certificate))
    assert "certificate is not valid" in str(room.add_one(by_address).error)
    assert room.add_one(by_name).state == "stored"


def test_a_bundle_that_is_not_there_is_named(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    assert "REQUESTS_CA_BUNDLE names /nowhere/ca.pem" in str(room.add_one(server.add("/clip.mp4", clip)).error)


def test_https_is_not_given_up_for_http_by_a_redirect(
    room: IngestHome,
    server: FaultServer,
    tls_server: tuple[FaultServer, Path],
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secure, certificate = tls_server
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.fspath(certificate))
    room.with_download(allowed_private=("localhost", "127.0.0.1"))
    server.add("/clip.mp4", clip)
    secure.add("/go", b"", always=redirect(server.url("/clip.mp4")))
    outcome = room.add_one(f"https://localhost:{secure.port}/go")
    assert outcome.state == "refused"
    assert "not encrypted" in str(outcome.error)
    assert server.requests == []


def test_a_tls_transfer_that_hangs_can_be_cancelled(
    room: IngestHome, tls_server: tuple[FaultServer, Path], clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure, certificate = tls_server
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.fspath(certificate))
    room.with_download(allowed_private=("localhost",), read_timeout=60.0)
    secure.add("/clip.mp4", clip, always=slow(20_000, 30))
    cancelled = threading.Event()
    threading.Timer(0.7, cancelled.set).start()
    requests = gather([f"https://localhost:{secure.port}/clip.mp4"]).requests
    (outcome,) = Ingest(room.settings, room.sources, cancelled=cancelled).run(requests)
    assert outcome.state == "cancelled"
    assert [path.stat().st_size for path in room.partial_files()] == [20_000]
