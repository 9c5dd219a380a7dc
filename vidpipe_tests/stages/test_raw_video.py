"""The stored file is checked cheaply, hashed where in doubt, fetched again where lost, and missed with a sentence."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vidpipe.settings import Settings
from vidpipe.settings.operation import Download
from vidpipe.stages import raw_video
from vidpipe.stages.contract import Cancelled, Item, Outcome, StageContext
from vidpipe.stages.results import RawVideo
from vidpipe_tests import clips


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home, download=Download(allowed_private=("127.0.0.0/8",), retries=0, min_free_mb=0))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return clips.moving(tmp_path / "source" / "clip.mp4", seconds=0.5)


@pytest.fixture
def server(source: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(source.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def stored(settings: Settings, source: Path, *urls: str, previous: RawVideo | None = None) -> Item:
    """A video as ingest leaves it: its file in the media store, its facts in the fields."""
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    path = settings.media_directory / sha256[:2] / f"{sha256}.mp4"
    if not path.exists() and previous is None:
        path.parent.mkdir(parents=True)
        shutil.copyfile(source, path)
    stat = path.stat()
    fields: dict[str, Any] = {
        "ingest.path": settings.relative(path), "ingest.size_bytes": stat.st_size,
        "ingest.modified_ns": stat.st_mtime_ns, "ingest.urls": urls,
    }  # fmt: skip
    return Item(sha256, fields, previous=previous)


def check(item: Item, settings: Settings) -> Outcome:
    (outcome,) = raw_video.check_files([item], StageContext(settings=settings))
    return outcome


def result(item: Item, settings: Settings) -> RawVideo:
    outcome = check(item, settings)
    assert outcome.error is None
    assert isinstance(outcome.result, RawVideo)
    return outcome.result


def test_an_untouched_file_costs_a_stat(settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = stored(settings, source)
    monkeypatch.setattr("vidpipe.sources.media_store.hash_file", lambda *_: pytest.fail("it was hashed"))
    found = result(item, settings)
    assert (found.content, found.verified, found.path) == (item.sha256, "size and time", item["ingest.path"])
    assert raw_video.STAGE.artifacts_exist
    assert raw_video.STAGE.artifacts_exist(found, settings)


def test_a_file_with_another_time_is_hashed_once(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = stored(settings, source)
    first = result(item, settings)
    os.utime(settings.resolve(first.path), (1, 1))
    assert raw_video.STAGE.artifacts_exist
    assert not raw_video.STAGE.artifacts_exist(first, settings)
    second = result(item, settings)
    assert second.verified == "hash"
    monkeypatch.setattr("vidpipe.sources.media_store.hash_file", lambda *_: pytest.fail("it was hashed again"))
    assert result(Item(item.sha256, item.fields, previous=second), settings).verified == "size and time"


def test_a_lost_file_is_fetched_again_from_its_url(settings: Settings, source: Path, server: str) -> None:
    item = stored(settings, source, f"{server}/gone.mp4", f"{server}/clip.mp4")
    settings.resolve(item["ingest.path"]).unlink()
    found = result(item, settings)
    assert (found.verified, found.refetched_from) == ("hash", f"{server}/clip.mp4")
    assert settings.resolve(found.path).read_bytes() == source.read_bytes()
    again = result(Item(item.sha256, item.fields, previous=found), settings)
    assert (again.verified, again.path) == ("size and time", found.path)


@pytest.mark.parametrize("spoil", ["same size", "cut short"])
def test_a_spoiled_file_is_replaced(settings: Settings, source: Path, server: str, spoil: str) -> None:
    item = stored(settings, source, f"{server}/clip.mp4")
    path = settings.resolve(item["ingest.path"])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x" if spoil == "same size" else data[:-100])
    os.utime(path, (1, 1))
    found = result(item, settings)
    assert found.refetched_from == f"{server}/clip.mp4"
    assert settings.resolve(found.path).read_bytes() == data


def test_what_every_source_said_is_told(settings: Settings, source: Path, server: str) -> None:
    item = stored(settings, source, f"{server}/gone.mp4", f"{server}/other.mp4")
    clips.moving(source.parent / "other.mp4", seconds=0.6)
    settings.resolve(item["ingest.path"]).unlink()
    error = check(item, settings).error
    assert error
    assert item["ingest.path"] in error.message
    assert "No such file" in error.message
    assert f"{server}/gone.mp4" in error.message
    assert "404" in error.message
    assert f"{server}/other.mp4" in error.message
    assert "the content has changed" in error.message
    assert error.hint
    assert not error.transient


def test_a_server_that_is_away_is_a_passing_fault(settings: Settings, source: Path) -> None:
    item = stored(settings, source, "http://127.0.0.1:9/clip.mp4")
    settings.resolve(item["ingest.path"]).unlink()
    error = check(item, settings).error
    assert error
    assert error.transient


def test_without_a_source_it_says_so(settings: Settings, source: Path) -> None:
    item = stored(settings, source)
    settings.resolve(item["ingest.path"]).unlink()
    error = check(item, settings).error
    assert error
    assert "no source is known" in error.message


def test_a_stopped_run_records_nothing(settings: Settings, source: Path) -> None:
    context = StageContext(settings=settings)
    context.cancelled.set()
    with pytest.raises(Cancelled):
        list(raw_video.check_files([stored(settings, source)], context))
