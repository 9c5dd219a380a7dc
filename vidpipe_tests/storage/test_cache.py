"""The local cache: its limit, what is evicted, and what killed processes leave. The store is another home."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Timer

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePackWriter
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import Settings
from vidpipe.settings.storage import Storage
from vidpipe.storage.local_store import LocalStore
from vidpipe.storage.media_files import DroppedError, MediaFiles
from vidpipe.storage.object_store import DROPPED, NoSuchObject, Progress, StoreError, media_key
from vidpipe.storage.places import MediaPlace
from vidpipe.storage.stores import Stores

REMOTE = "s3://elsewhere"
LIMIT_BYTES = 1_000_000
RECORDED_NS = 1_700_000_000_123_456_789


class EverythingElsewhere:
    """The places of a library whose new videos and packs are in the other store."""

    def __init__(self, media: str = REMOTE) -> None:
        self.media = media
        self.stored: dict[str, str] = {}

    def get(self, sha256: str) -> MediaPlace:
        return MediaPlace(media=self.media, packs=self.stored, modified_ns=RECORDED_NS)

    find = get

    def note(self, sha256: str, part: str, store: str, was: str | None = None) -> bool:
        if part == "media":
            self.media = store
        else:
            self.stored[part.removeprefix("packs.")] = store
        return True


def settings_of(home: Path) -> Settings:
    storage = Storage(media=REMOTE).model_copy(update={"cache_mb": LIMIT_BYTES // 1_000_000})
    return Settings(home=home).model_copy(update={"storage": storage})


def files_of(home: Path, places: EverythingElsewhere | None = None) -> MediaFiles:
    settings = settings_of(home)
    stores = Stores(settings, {REMOTE: lambda: LocalStore(Settings(home=home / "elsewhere"))})
    return MediaFiles(settings, places or EverythingElsewhere(), stores)


def fill(home: Path, sizes: list[int]) -> list[tuple[str, str]]:
    """Put random files into the other store, and return (sha256, path) of each."""
    store, videos = LocalStore(Settings(home=home / "elsewhere")), []
    for number, size in enumerate(sizes):
        data = random.Random(number).randbytes(size)
        sha256, file = hashlib.sha256(data).hexdigest(), home / "new"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        path = store.path(media_key(sha256, ".mp4"))
        path.parent.mkdir(parents=True, exist_ok=True)
        store.put(media_key(sha256, ".mp4"), file, sha256, Progress())
        videos.append((sha256, path.relative_to(home / "elsewhere").as_posix()))
    return videos


def cached_bytes(settings: Settings) -> int:
    """All that is in the folders of [Paths], complete or not."""
    folders = (settings.media_directory, settings.derived_directory)
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def read_at_random(home: Path, videos: list[tuple[str, str]], seed: int, until: float, faults: Path) -> None:
    """Read and check random videos; whatever goes wrong is a file in `faults`."""
    files, chance = files_of(home), random.Random(seed)
    try:
        while time.time() < until:
            sha256, path = chance.choice(videos)
            with files.video(sha256, path) as file:
                for _ in range(2):
                    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
                        raise AssertionError(f"{path} has other bytes")
                    time.sleep(chance.random() * 0.01)
    except BaseException as fault:
        (faults / f"{os.getpid()}").write_text(repr(fault))
        raise


def watch_size(home: Path, until: float, faults: Path) -> None:
    """Note the largest size. What is being evicted stays as long as the admission lock is held, and is counted once."""
    settings, most, samples = settings_of(home), 0, 0
    while time.time() < until:
        with FileLock(settings.data_directory / "cache" / "admission.lock"):
            most, samples = max(most, cached_bytes(settings)), samples + 1
        time.sleep(0.002)
    (faults / "most").write_text(f"{most} {samples}")


@pytest.mark.soak
def test_eight_processes_keep_the_limit_on_a_library_ten_times_its_size_though_some_are_killed(tmp_path: Path) -> None:
    chance, faults = random.Random(1), tmp_path / "faults"
    faults.mkdir()
    home = tmp_path / "home"
    videos = fill(home, [chance.randrange(20_000, 120_000) for _ in range(145)])
    assert sum((home / "elsewhere" / path).stat().st_size for _, path in videos) > 10 * LIMIT_BYTES
    (settings_of(home).data_directory / "cache").mkdir(parents=True)
    forking, until = multiprocessing.get_context("fork"), time.time() + 8

    def start(number: int) -> multiprocessing.process.BaseProcess:
        one = forking.Process(target=read_at_random, args=(home, videos, number, until, faults), daemon=True)
        one.start()
        return one

    watcher = forking.Process(target=watch_size, args=(home, until, faults))
    watcher.start()
    readers = [start(number) for number in range(8)]
    killed = 0
    while time.time() < until - 2:
        time.sleep(0.3)
        if any(settings_of(home).media_directory.glob("??/*.mp4")):
            victim = chance.randrange(8)
            os.kill(readers[victim].pid or 0, signal.SIGKILL)
            readers[victim].join()
            killed += 1
            readers[victim] = start(8 + killed)
    for process in (*readers, watcher):
        process.join(30)
    most, samples = map(int, (faults / "most").read_text().split())
    (faults / "most").unlink()
    assert [path.read_text() for path in faults.iterdir()] == []
    assert [reader.exitcode for reader in readers] == [0] * 8
    assert killed >= 3
    assert samples > 20
    assert LIMIT_BYTES * 0.7 < most <= LIMIT_BYTES


@given(
    uses=st.lists(st.integers(0, 9), min_size=1, max_size=25),
    held=st.sets(st.integers(0, 9), max_size=2),
)
@how(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_least_recently_used_file_goes_first_and_none_that_is_held(
    tmp_path_factory: pytest.TempPathFactory, uses: list[int], held: set[int]
) -> None:
    home = tmp_path_factory.mktemp("home")
    videos, files = fill(home, [240_000] * 10), files_of(home)
    expected: list[int] = []  # the least recently used first
    with ExitStack() as holding:
        for number in sorted(held):
            holding.enter_context(files.video(*videos[number]))
            expected.append(number)
        for number in uses:
            with files.video(*videos[number]) as file:
                assert file.stat().st_mtime_ns == RECORDED_NS
            if number in expected:
                expected.remove(number)
            elif len(expected) == 4:
                expected.remove(next(one for one in expected if one not in held))
            expected.append(number)
        there = {number for number, (_, path) in enumerate(videos) if (home / path).is_file()}
        assert there == set(expected)


def test_a_file_waits_until_others_leave_room_and_the_wait_can_be_cancelled(tmp_path: Path) -> None:
    (one, other), files = fill(tmp_path, [700_000, 700_001]), files_of(tmp_path)
    stopped = Event()
    with files.video(*one) as first:
        stopped.set()
        with pytest.raises(FetchCancelled), files.video(*other, stopped):
            pass
        assert first.is_file()
    with files.video(*other) as second:
        assert second.is_file()
        assert not first.exists()


def test_a_file_larger_than_the_cache_says_so(tmp_path: Path) -> None:
    (video,) = fill(tmp_path, [LIMIT_BYTES + 1])
    with (
        pytest.raises(StoreError, match="more than the local cache may hold") as raised,
        files_of(tmp_path).video(*video),
    ):
        pass
    assert "CacheMB" in raised.value.hint


def test_lost_damaged_and_dropped_files_are_told_apart(tmp_path: Path) -> None:
    (lost, damaged) = fill(tmp_path, [1000, 2000])
    (tmp_path / "elsewhere" / lost[1]).unlink()
    (tmp_path / "elsewhere" / damaged[1]).write_bytes(bytes(2000))
    files = files_of(tmp_path)
    with pytest.raises(NoSuchObject), files.video(*lost):
        pass
    with pytest.raises(StoreError, match="other bytes"), files.video(*damaged):
        pass
    assert not (tmp_path / damaged[1]).exists()
    with pytest.raises(DroppedError), files_of(tmp_path, EverythingElsewhere(DROPPED)).video(*lost):
        pass


def test_what_is_stored_locally_is_never_evicted_or_counted(tmp_path: Path) -> None:
    videos, files = fill(tmp_path, [600_000, 600_001]), files_of(tmp_path)
    own = tmp_path / videos[0][1]
    own.parent.mkdir(parents=True)
    own.write_bytes(bytes(3 * LIMIT_BYTES))
    for video in videos:
        with files.video(*video):
            pass
    assert own.stat().st_size == 3 * LIMIT_BYTES


def test_a_new_video_is_cached_once_it_is_stored_and_removed_where_there_is_no_room(tmp_path: Path) -> None:
    (held, *_), files = fill(tmp_path, [900_000]), files_of(tmp_path)
    data = bytes(300_000)
    sha256 = hashlib.sha256(data).hexdigest()
    new = settings_of(tmp_path).media_directory / sha256[:2] / f"{sha256}.mp4"
    new.parent.mkdir(parents=True)
    new.write_bytes(data)
    with files.video(*held):
        assert files.keep_video(sha256, new) == REMOTE
        assert not new.exists()
    with files.video(sha256, settings_of(tmp_path).relative(new)) as again:
        assert again.read_bytes() == data


def test_a_pack_comes_back_with_its_frames_and_thumbnails_and_stays_while_it_is_in_use(tmp_path: Path) -> None:
    settings, sha256 = settings_of(tmp_path), "ab" * 32
    with FramePackWriter(settings, sha256) as writer:
        writer.add_frame(time_s=1.0, scene=0, size=(4, 4), jpeg=b"jpeg" * 1000)
        writer.add_thumbnail(1.0, 0, (2, 2), b"thumbnail")
        reference: PackReference = writer.publish()
    files = files_of(tmp_path)
    files.keep_pack(sha256, reference)
    folder = settings.resolve(reference.path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    pack = files.pack(sha256, reference)
    assert not files.delete_pack(sha256, reference.version)
    stopped = Event()
    Timer(0.3, stopped.set).start()
    with pytest.raises(FetchCancelled):  # its room is taken
        fill_cache(files, tmp_path, stopped)
    assert [jpeg for _, jpeg in pack] == [b"jpeg" * 1000]
    del pack
    fill_cache(files, tmp_path)
    assert not folder.exists()
    again = files.pack(sha256, reference)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before
    del again
    assert files.delete_pack(sha256, reference.version)
    assert not list(LocalStore(Settings(home=tmp_path / "elsewhere")).objects("packs/"))
    assert not folder.exists()


def fill_cache(files: MediaFiles, home: Path, stopped: Event | None = None) -> None:
    """Read a file that is as large as the cache."""
    ((sha256, path),) = fill(home, [LIMIT_BYTES])
    with files.video(sha256, path, stopped or Event()):
        pass
