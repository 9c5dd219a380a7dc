"""The cache of playable copies: made once, limited in size, and gone with their videos."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations import proxies as subject
from vidpipe.operations.proxies import MOST_WAITING, Proxies, ProxyState, proxy_path
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def proxies(library: Library) -> Iterator[Proxies]:
    made = Proxies(lambda: library)
    yield made
    made.close()


def add(library: Library, path: Path, letter: str) -> str:
    facts = IngestFacts(path=str(path), size_bytes=1, modified_ns=1, names=(path.name,))
    library.videos.add(letter * 64, facts)
    return letter * 64


def finished(proxies: Proxies, settings: Settings, sha256: str) -> ProxyState:
    for _ in range(500):
        if (state := proxies.state(settings, sha256)).state != "making":
            return state
        time.sleep(0.02)
    raise AssertionError(state)


def test_a_copy_is_made_once_and_says_how_far_it_is(library: Library, proxies: Proxies, tmp_path: Path) -> None:
    settings = library.settings
    clip = add(library, clips.moving(tmp_path / "a.mkv", size="64x64"), "a")
    assert proxies.state(settings, clip) == ProxyState("none")
    assert proxies.played(settings, clip) is None
    assert proxies.request(settings, clip).state == proxies.request(settings, clip).state == "making"
    assert finished(proxies, settings, clip) == ProxyState("ready", 1.0)
    assert [path.name for path in proxy_path(settings, clip).parent.iterdir()] == [f"{clip}.mp4"]
    before = proxy_path(settings, clip).stat()
    assert proxies.played(settings, clip) == proxy_path(settings, clip)
    assert proxy_path(settings, clip).stat().st_mtime_ns == before.st_mtime_ns  # its ETag depends on it


def test_the_least_recently_played_are_deleted_when_the_cache_is_full(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = library.settings.library_page.model_copy(update={"proxy_cache_mb": 1})
    settings = library.settings.model_copy(update={"library_page": limited})
    monkeypatch.setattr(library, "settings", settings)
    proxies = Proxies(lambda: library)
    for age_s, letter in ((900, "b"), (1000, "c"), (800, "d"), (10, "e")):
        path = proxy_path(settings, letter * 64)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(300_000))
        os.utime(path, (time.time() - age_s, time.time()))
    clip = add(library, clips.moving(tmp_path / "a.mkv", size="64x64"), "a")
    proxies.request(settings, clip)
    assert finished(proxies, settings, clip).state == "ready"
    left = {path.stem[0] for path in proxy_path(settings, clip).parent.iterdir()}
    assert left == {"a", "b", "d", "e"}  # 0.9 MB and the new one


def test_what_fails_says_why_and_can_be_tried_again(library: Library, proxies: Proxies, tmp_path: Path) -> None:
    settings, path = library.settings, tmp_path / "a.mkv"
    clip = add(library, path, "a")
    path.write_bytes(b"no video at all")
    proxies.request(settings, clip)
    failed = finished(proxies, settings, clip)
    assert failed.state == "failed"
    assert "a.mkv" in (failed.error or "")
    clips.moving(path, size="64x64", seconds=0.5)
    assert proxies.request(settings, clip).state == "making"
    assert finished(proxies, settings, clip).state == "ready"


def test_nothing_is_left_of_a_video_that_is_forgotten_meanwhile(
    library: Library, proxies: Proxies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = add(library, clips.moving(tmp_path / "a.mkv", size="64x64", seconds=0.5), "a")
    make_room = subject._make_room

    def forgotten(folder: Path, limit_bytes: int) -> None:
        library.collections["videos"].delete_one({"_id": clip})
        make_room(folder, limit_bytes)

    monkeypatch.setattr(subject, "_make_room", forgotten)
    proxies.request(library.settings, clip)
    assert finished(proxies, library.settings, clip) == ProxyState("failed", error="The video was forgotten.")
    assert not list(proxy_path(library.settings, clip).parent.iterdir())


def test_a_stopped_server_leaves_nothing_half_written(library: Library, proxies: Proxies, tmp_path: Path) -> None:
    clip = add(library, clips.moving(tmp_path / "a.mkv", size="1280x720", seconds=4), "a")
    proxies.request(library.settings, clip)
    folder = proxy_path(library.settings, clip).parent
    for _ in range(500):
        if folder.is_dir() and list(folder.iterdir()):
            break
        time.sleep(0.02)
    proxies.close()
    assert not list(folder.iterdir())


def test_only_so_many_can_wait(library: Library, proxies: Proxies, tmp_path: Path) -> None:
    first = add(library, clips.moving(tmp_path / "a.mkv", size="1280x720", seconds=4), "a")
    proxies.request(library.settings, first)
    for number in range(MOST_WAITING - 1):
        proxies.request(library.settings, f"{number:064d}")
    with pytest.raises(UnavailableError, match="wait for their playable copies"):
        proxies.request(library.settings, "b" * 64)
