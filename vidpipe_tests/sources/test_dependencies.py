"""A source that failed because of a setting, a module or a full disk is due again when that has changed, not before."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vidpipe.sources.failures import Dependencies
from vidpipe.sources.records import IngestOutcome, SourceRecord
from vidpipe_tests import clips
from vidpipe_tests.fault_server import FaultServer, endless, redirect, status
from vidpipe_tests.sources.conftest import IngestHome, Write, sha256_of


def again(room: IngestHome, url: str) -> IngestOutcome:
    """As `vidpipe add` and the sensor ask."""
    return room.add_one(url, retry=False)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"allowed_private": ()}, "is a loopback address"),
        ({"max_size_mb": 1}, "larger than 1 MB"),
        ({"max_redirects": 0}, "more than 0 redirects"),
    ],
)
def test_what_a_setting_refused_is_asked_for_when_the_setting_has_changed(
    room: IngestHome, server: FaultServer, clip: bytes, before: dict[str, Any], said: str
) -> None:
    target = server.add("/target.mp4", clip + bytes(1 << 20))
    url = server.add("/clip.mp4", clip, always=redirect(target))
    room.with_download(**before)
    refused = room.add_one(url)
    assert said in str(refused.error)
    asked = len(server.requests)
    room.with_download(**before, parallel=2)
    known = again(room, url)
    assert (known.known, known.error, len(server.requests)) == (True, refused.error, asked)
    room.with_download()
    outcome = again(room, url)
    assert (outcome.state, outcome.known) == ("stored", False)
    assert outcome.source is not None
    assert (outcome.source.blocked_by, outcome.source.failed_at, outcome.source.last_error) == ((), None, None)


def test_what_is_still_refused_under_another_setting_is_new_once(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    room.with_download(allowed_private=())
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    room.with_download(allowed_private=("10.0.0.0/8",))
    assert [again(room, url).known for _ in range(2)] == [False, True]


def test_what_did_not_fit_is_asked_for_when_there_is_room(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 << 20

    def disk_usage(path: Path) -> Any:
        return shutil._ntuple_diskusage(1 << 40, 0, free)  # type: ignore[attr-defined]

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    room.with_download(min_free_mb=10)
    url = server.add("/clip.mp4", clip)
    first = room.add_one(url)
    assert first.transient
    assert str(first.error).startswith(f"{url}: Not enough free space")
    room.with_download(min_free_mb=11)
    assert [again(room, url).known for _ in range(2)] == [False, True]
    room.with_download(min_free_mb=10)
    assert [again(room, url).known for _ in range(2)] == [False, True]
    free += len(clip) - 1
    assert again(room, url).known
    free += 1
    assert again(room, url).state == "stored"


def test_what_grew_until_the_disk_was_full_needs_more_than_that(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of unknown length: what it leaves when it is given up is no room for it."""
    real = shutil.disk_usage(room.home).free
    incoming = room.media / "incoming"

    def disk_usage(path: Path) -> Any:
        used = sum(part.stat().st_size for part in incoming.glob("*.part"))
        return shutil._ntuple_diskusage(real, 0, (20 << 20) - used)  # type: ignore[attr-defined]

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    room.with_download(min_free_mb=1)
    url = server.add("/clip.mp4", clip, always=endless(chunked=True))
    assert "Not enough free space" in str(room.add_one(url).error)
    assert again(room, url).known


def test_a_missing_module_is_waited_for(room: IngestHome, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    hidden = {"boto3"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in hidden else find_spec(name))
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    url = "s3://films/a.mp4"
    missing = "s3:// URLs need boto3, which is not installed."
    assert str(room.add_one(url).error).startswith(f"{url}: {missing}")
    assert str(room.add_one("s3://films/").error).startswith(f"s3://films/: {missing}")
    assert again(room, url).known
    hidden.clear()
    assert not again(room, url).known


def test_a_missing_program_is_waited_for(
    room: IngestHome, server: FaultServer, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a container that the quick check leaves to ffprobe
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip)
    stream = clips.ffmpeg(tmp_path / "clip.ts", "-i", str(file), "-c", "copy")
    url = server.add("/clip.ts", stream.read_bytes())
    with monkeypatch.context() as without:
        without.setenv("FFPROBE_BINARY", "/nowhere/ffprobe")
        assert "not a program" in str(room.add_one(url).error)
        assert again(room, url).known
    assert again(room, url).state == "stored"


@pytest.mark.parametrize("mode", ["copy", "hardlink", "reference"])
def test_a_rejected_file_is_looked_at_again_when_it_has_changed(
    room: IngestHome, clip: bytes, file_of: Write, mode: str
) -> None:
    path = file_of("a.mp4", b"no video")
    assert room.add_one(path, mode=mode).state == "refused"
    assert room.add_one(path, mode=mode, retry=False).known
    time.sleep(0.05)  # the clock that dates files lags behind
    path.write_bytes(clip)
    assert room.add_one(path, mode=mode, retry=False).state == "stored"


def test_of_secrets_only_their_presence_counts(room: IngestHome, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    seen = []
    for secret in (None, "one", "two"):
        if secret:
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        seen.append(Dependencies.of(room.settings).values["variable:AWS_SECRET_ACCESS_KEY"])
    assert seen[0] != seen[1] == seen[2]


def test_every_name_that_an_error_depends_on_is_watched(room: IngestHome) -> None:
    from vidpipe.sources.fetchers.s3 import ACCESS

    names = (*ACCESS, "download.use_proxy", "paths.download_directory", "variable:REQUESTS_CA_BUNDLE")
    assert len(Dependencies.of(room.settings).named(names)) == len(names)


def test_a_known_failure_says_when_it_was_found_and_how_to_ask_again(room: IngestHome, server: FaultServer) -> None:
    url = server.add("/clip.mp4", b"", always=status(404))
    first = room.add_one(url)
    assert (first.known, first.sentence) == (False, first.error)
    known = again(room, url)
    assert known.source is not None
    assert known.source.failed_at is not None
    assert datetime.now(UTC) - known.source.failed_at < timedelta(minutes=1)
    day = known.source.failed_at.astimezone()
    assert known.sentence == f"Failed on {day:%Y-%m-%d %H:%M}: {first.error} Use `vidpipe add --retry` to retry."
    assert len(server.requests) == 1


def test_a_record_of_an_older_version_waits_for_retry(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    from vidpipe.sources.source_request import request_for

    request = request_for(server.add("/clip.mp4", clip))
    old = {"id": request.id, "url": request.url.display_url, "state": "refused", "last_error": "It is not allowed."}
    room.sources.save(SourceRecord.model_validate(old))
    known = again(room, request.url.reveal())
    assert known.sentence == "Rejected earlier: It is not allowed. Use `vidpipe add --retry` to retry."
    assert room.add_one(request.url.reveal()).state == "stored"


def test_a_dropped_fragment_is_said_of_what_fails_and_noted_of_what_does_not(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    server.add("/whole", clip)
    server.add("/timed", clip)
    wrong, noted, timed = room.add(*(server.url(path) for path in ("/a#b.mp4", "/whole#b.mp4", "/timed#t=10")))
    hint = "The part after # is not sent to servers; if the # is part of the name, write it as %23."
    assert str(wrong.error).endswith(f"Check the URL for a typo. {hint}")
    assert (noted.note, noted.video) == (hint, sha256_of(clip))
    assert (timed.note, timed.error) == ("", None)
