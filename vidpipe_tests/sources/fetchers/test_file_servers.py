"""ftp://, ftps://, sftp:// and webdav:// URLs are sources like any other, tried with real servers on loopback."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.inputs import gather
from vidpipe.sources.urls import SourceUrl
from vidpipe_tests.library.certificates import Authority
from vidpipe_tests.sources.conftest import IngestHome, sha256_of
from vidpipe_tests.sources.remote_servers import PASSWORD, RunningServer, ftp_server, sftp_server, webdav_server
from vidpipe_tests.sources.test_credentials import everything_written

NAMES = ["a b ü+%#?.mp4", "deep/er/b.mp4"]
SCHEMES = ["ftp", pytest.param("ftps", marks=pytest.mark.soak), "sftp", "webdav"]


@pytest.fixture
def folder(tmp_path: Path, clip: bytes, other_clip: bytes) -> Path:
    served = tmp_path / "served"
    (served / "deep" / "er").mkdir(parents=True)
    (served / "locked").mkdir()
    (served / NAMES[0]).write_bytes(clip)
    (served / NAMES[1]).write_bytes(other_clip)
    (served / "notes.txt").write_bytes(b"x")
    for path in (served / name for name in NAMES):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return served


@pytest.fixture
def remote(
    request: pytest.FixtureRequest, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: IngestHome
) -> Iterator[RunningServer]:
    """A server of the scheme that is the test's parameter, allowed."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    if request.param == "ftp":
        context = ftp_server(folder)
    elif request.param == "ftps":
        authority = Authority(tmp_path, "authority")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        context = ftp_server(folder, authority.certificate("server"))
    elif request.param == "webdav":
        context = webdav_server(folder)
    else:
        with sftp_server(folder) as (server, line):
            (home / ".ssh" / "known_hosts").write_text(line)
            room.with_download(allowed_private=("localhost",))
            yield server
        return
    with context as server:
        room.with_download(allowed_private=("localhost",))
        yield server


def quoted(name: str) -> str:
    return name.replace("%", "%25").replace("#", "%23").replace("?", "%3F").replace(" ", "%20").replace("ü", "%C3%BC")


every_server = pytest.mark.parametrize("remote", SCHEMES, indirect=True)


@every_server
def test_a_folder_gives_its_videos_and_each_only_once(
    room: IngestHome, remote: RunningServer, clip: bytes, other_clip: bytes
) -> None:
    outcomes = room.add(remote.url(), settings=room.settings)
    assert {one.video: one.error for one in outcomes} == {sha256_of(clip): None, sha256_of(other_clip): None}
    assert {one.source.url.split("@")[1] for one in outcomes if one.source} == {
        f"localhost:{remote.port}/{quoted(name)}" for name in NAMES
    }
    listed = Fetchers(room.settings).of(remote.url()).listing(SourceUrl(remote.url()))
    versions = {one.url: one.version for one in listed}
    for record in room.sources.records.values():
        assert record.etag == versions[record.url.replace("***", f"film:{PASSWORD}")]
    assert PASSWORD not in everything_written(room)
    again = room.add(remote.url(), settings=room.settings, refresh=True)
    assert {one.state for one in again} == {"unchanged"}
    changed = remote.folder / NAMES[1]
    changed.write_bytes(clip)
    assert [one.state for one in room.add(remote.url(quoted(NAMES[1])), refresh=True)] == ["already stored"]


@pytest.mark.soak
@every_server
def test_a_broken_transfer_is_gone_on_with(room: IngestHome, remote: RunningServer, clip: bytes) -> None:
    room.with_download(allowed_private=("localhost",), read_timeout=2.0)  # an FTP server may cut the data alone
    remote.cut_at = [len(clip) // 2]
    outcome = room.add_one(remote.url(quoted(NAMES[0])))
    assert (outcome.video, outcome.error) == (sha256_of(clip), None)
    assert any(one.startswith(("REST", "read", "GET")) and not one.endswith(" 0") for one in remote.requests)
    assert not remote.cut_at


@pytest.mark.soak
@every_server
def test_missing_and_denied(room: IngestHome, remote: RunningServer) -> None:
    missing = room.add_one(remote.url("none.mp4"))
    assert "no such file" in str(missing.error), missing.error
    assert missing.source is not None
    assert missing.source.last_error_kind == "permanent"
    denied = room.add_one(remote.url(NAMES[1], user="film:wrong-word@"))
    assert "denies access" in str(denied.error), denied.error
    assert "wrong-word" not in str(denied.error)


@pytest.mark.soak
@every_server
def test_a_hanging_server_is_given_up(room: IngestHome, remote: RunningServer) -> None:
    room.with_download(allowed_private=("localhost",), read_timeout=0.6, min_speed=1000, retries=0)
    remote.hang_at = [50_000]
    outcome = room.add_one(remote.url(quoted(NAMES[0])))
    assert re.search(r"localhost:\d+/\S+: (the server stalled|read timed out)", str(outcome.error)), outcome.error
    assert outcome.source is not None
    assert outcome.source.last_error_kind == "transient"


@pytest.mark.soak
@every_server
def test_a_forbidden_address_gets_no_byte(room: IngestHome, remote: RunningServer) -> None:
    room.with_download(allowed_private=())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        remote.port = listening.getsockname()[1]
        (listing,) = room.add(remote.url(), settings=room.settings)
        for error in (listing.error, room.add_one(remote.url("a.mp4")).error):
            assert "loopback address" in str(error)
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.soak
def test_data_connections_go_to_the_ftp_server_itself(room: IngestHome, folder: Path, clip: bytes) -> None:
    with ftp_server(folder, pasv_address="169.254.169.254") as server:
        room.with_download(allowed_private=("localhost",))
        assert room.add_one(server.url(quoted(NAMES[0]))).video == sha256_of(clip)


@pytest.mark.soak
def test_line_breaks_are_no_ftp_commands(room: IngestHome, folder: Path) -> None:
    with ftp_server(folder) as server:
        room.with_download(allowed_private=("localhost",))
        refused = room.add_one(server.url("a.mp4%0D%0ADELE%20notes.txt"))
        assert "control character" in str(refused.error)
        assert server.requests == []


@pytest.mark.soak
@pytest.mark.parametrize("remote", ["sftp"], indirect=True)
def test_the_key_of_an_ssh_host_must_be_known(room: IngestHome, remote: RunningServer) -> None:
    known = Path.home() / ".ssh" / "known_hosts"
    host, kind, _ = known.read_text().split()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[1]
    known.write_text(f"{host} {kind} {other}\n")
    assert "denies access (BadHostKey" in str(room.add_one(remote.url(NAMES[1])).error)
    known.write_text("")
    unknown = room.add_one(remote.url(NAMES[1]), retry=True)
    assert "is not in ~/.ssh/known_hosts" in str(unknown.error)


@pytest.mark.soak
@pytest.mark.parametrize("remote", ["sftp", "ftp"], indirect=True)
def test_a_slow_server_is_given_up(room: IngestHome, remote: RunningServer) -> None:
    room.with_download(allowed_private=("localhost",), read_timeout=1.0, min_speed=10**9, retries=0)
    remote.hang_at = [50_000]
    assert room.add_one(remote.url(quoted(NAMES[0]))).state == "failed"


@pytest.mark.soak
def test_a_server_without_mlsd_is_asked_file_by_file(
    room: IngestHome, folder: Path, clip: bytes, other_clip: bytes
) -> None:
    with ftp_server(folder, mlsd=False) as server:
        room.with_download(allowed_private=("localhost",))
        outcomes = room.add(server.url(), settings=room.settings)
        assert {one.video for one in outcomes} == {sha256_of(clip), sha256_of(other_clip)}
        assert any(line.startswith("NLST") for line in server.requests)
        listed = Fetchers(room.settings).of(server.url()).listing(SourceUrl(server.url()))
        versions = {one.version for one in listed}
        assert {record.etag for record in room.sources.records.values()} <= versions


def test_a_limit_counts_videos(room: IngestHome, folder: Path) -> None:
    with ftp_server(folder) as server:
        room.with_download(allowed_private=("localhost",))
        (folder / "0.txt").write_bytes(b"x")
        for given in (server.url(), folder):
            found = gather([given], settings=room.settings, limit=1)
            assert (len(found.requests), found.problems) == (1, [])
