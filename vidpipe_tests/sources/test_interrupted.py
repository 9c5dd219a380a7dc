"""A download survives a kill, a Ctrl-C and a full disk: nothing broken is left, nothing is fetched twice."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.settings.schema import Paths
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe_tests.fault_server import FaultServer, endless, page, slow, wrong_length
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from vidpipe.sources.ingest import Ingest
    from vidpipe.sources.inputs import gather
    from vidpipe.settings import Settings
    from vidpipe.settings.operation import Download
    from vidpipe_tests.sources.conftest import MemorySources

    home, allowed, *urls = sys.argv[1:]
    settings = Settings(home=Path(home), download=Download(
        allowed_private=(allowed,), min_free_mb=0, backoff=0.01, retries=3, read_timeout=30))
    for outcome in Ingest(settings, MemorySources()).run(gather(urls).requests):
        print(outcome.state, outcome.video, flush=True)
    """
)


def start_child(room: IngestHome, *urls: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(room.home), f"127.0.0.1:{room.server.port}", *urls]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], start_new_session=True
    )


def wait_for_partial(room: IngestHome, size: int) -> Path:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in room.partial_files():
            if path.stat().st_size >= size:
                return path
        time.sleep(0.02)
    pytest.fail("no partial file came")


def test_a_killed_download_goes_on_where_it_was(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip, faults=[slow(20_000, 0.2)])
    child = start_child(room, url)
    try:
        part = wait_for_partial(room, 40_000)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.wait()
    had = part.stat().st_size
    assert 0 < had < len(clip)
    assert room.stored_files() == []

    outcome = room.add_one(url)

    assert outcome.state == "stored"
    second = server.seen("/clip.mp4")[1]
    assert second.headers["range"] == f"bytes={had}-"
    assert second.status == 206
    assert second.sent == len(clip) - had
    (stored,) = room.stored_files()
    assert stored.read_bytes() == clip
    assert outcome.video == sha256_of(clip)
    assert sorted(path.suffix for path in stored.parents[1].joinpath("incoming").iterdir()) == [".lock", ".lock"]


def test_a_killed_download_of_a_file_that_has_changed_since_begins_anew(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, faults=[slow(20_000, 0.2)])
    child = start_child(room, url)
    try:
        wait_for_partial(room, 40_000)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.wait()
    server.add("/clip.mp4", other_clip, etag='"two"')
    assert room.add_one(url).video == sha256_of(other_clip)
    assert server.seen("/clip.mp4")[1].status == 200


def test_a_partial_file_that_is_longer_than_the_file_begins_anew(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip)
    source = gather([url]).requests[0].id
    incoming = room.media / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{source}.part").write_bytes(b"x" * (len(clip) + 10))
    (incoming / f"{source}.json").write_text('{"etag": "\\"one\\""}')
    assert room.add_one(url).video == sha256_of(clip)
    assert [seen.status for seen in server.requests] == [416, 200]


def test_a_partial_file_without_its_state_is_not_trusted(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    incoming = room.media / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{gather([url]).requests[0].id}.part").write_bytes(clip[:1000])
    assert room.add_one(url).video == sha256_of(clip)


def test_a_cancelled_run_keeps_its_parts_and_the_next_one_goes_on(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, faults=[slow(20_000, 30)])
    cancelled = threading.Event()
    threading.Thread(target=lambda: wait_for_partial(room, 20_000) and cancelled.set()).start()
    start = time.monotonic()
    requests = gather([url, server.add("/waiting.mp4", clip)]).requests
    room.with_download(parallel=1)
    outcomes = Ingest(room.settings, room.sources, cancelled=cancelled).run(requests)
    assert time.monotonic() - start < 25  # it did not wait for the server
    assert [outcome.state for outcome in outcomes] == ["cancelled", "cancelled"]
    assert [record.state for record in room.sources.records.values()] == ["new"]
    assert room.add_one(url).state == "stored"
    assert server.seen("/clip.mp4")[1].headers["range"] == "bytes=20000-"


def test_ctrl_c_stops_the_process_and_keeps_the_part(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    child = start_child(room, server.add("/clip.mp4", clip, faults=[slow(20_000, 30)]))
    try:
        part = wait_for_partial(room, 20_000)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) != 0
    finally:
        child.kill()
        child.wait()
    assert part.stat().st_size == 20_000


def test_two_threads_that_want_the_same_url_fetch_it_once(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip, faults=[slow(30_000, 0.05)])
    states: list[str] = []
    threads = [threading.Thread(target=lambda: states.append(room.add_one(url).state)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == ["already stored", "stored"]
    assert len(server.requests) == 1
    assert len(room.stored_files()) == 1


def test_two_processes_that_want_the_same_url_end_with_one_file(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, always=slow(30_000, 0.05))
    children = [start_child(room, url), start_child(room, url)]
    said = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert said == [f"already stored {sha256_of(clip)}", f"stored {sha256_of(clip)}"]
    (stored,) = room.stored_files()
    assert stored.read_bytes() == clip
    assert room.partial_files() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here (that needs root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_ends_in_a_sentence_and_leaves_nothing(
    room: IngestHome, server: FaultServer, clip: bytes, small_disk: Path
) -> None:
    settings = room.settings.model_copy(update={"paths": Paths(download_directory=small_disk / "media")})
    room.settings = settings
    huge = b"\x00\x00\x00\x18ftypisom" + b"\0" * 100_000
    full, fits = room.add(server.add("/huge.mp4", huge, always=endless()), server.add("/clip.mp4", clip))
    assert (full.state, full.transient) == ("failed", True)
    assert "is full" in str(full.error)
    assert "DownloadDirectory" in str(full.error)
    assert room.partial_files() == []
    again = room.add_one(server.url("/clip.mp4"))
    assert "stored" in (fits.state, again.state)
    assert [path.read_bytes() for path in room.stored_files()] == [clip]


def test_a_file_that_would_not_fit_is_not_begun(
    room: IngestHome, server: FaultServer, clip: bytes, small_disk: Path
) -> None:
    room.settings = room.with_download(min_free_mb=3).model_copy(
        update={"paths": Paths(download_directory=small_disk / "media")}
    )
    outcome = room.add_one(server.add("/clip.mp4", clip, always=wrong_length(6 << 20)))
    assert outcome.state == "failed"
    assert "Not enough free space" in str(outcome.error)
    assert "6 MB are still to be written, and 3 MB must stay free" in str(outcome.error)
    assert room.partial_files() == []
    assert room.add_one(server.add("/small.mp4", clip)).state == "stored"


def test_a_write_that_the_system_stops_is_a_full_disk(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    """RLIMIT_FSIZE stands for quotas, where no disk can be mounted."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = server.add("/clip.mp4", clip)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        outcome = room.add_one(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome.state == "failed"
    assert "is full" in str(outcome.error)
    assert room.partial_files() == []
    assert room.add_one(url).state == "stored"


def test_a_broken_source_stops_no_other(room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes) -> None:
    outcomes = room.add(
        server.add("/1.mp4", clip),
        server.url("/missing.mp4"),
        server.add("/page.mp4", b"", always=page),
        "http://169.254.169.254/x.mp4",
        server.add("/2.mp4", other_clip),
        "no/such/file.mp4",
        "gopher://example.org/x.mp4",
    )
    states = ["stored", "gone", "refused", "refused", "stored", "refused", "refused"]
    assert [outcome.state for outcome in outcomes] == states
    assert all(outcome.error for outcome in outcomes if outcome.state in ("failed", "refused"))


def test_a_database_that_goes_away_ends_the_run_in_good_order(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    class Gone(UnavailableError):
        pass

    def fail(*_: object) -> None:
        raise Gone("MongoDB is away.")

    room.sources.record_stored = fail  # type: ignore[method-assign]
    requests = gather([server.add(f"/{number}.mp4", clip) for number in range(3)]).requests
    cancelled = threading.Event()
    with pytest.raises(Gone):
        Ingest(room.settings, room.sources, cancelled=cancelled).run(requests)
    assert not cancelled.is_set()  # nobody asked for a stop
    assert room.partial_files() == []
    assert len(room.stored_files()) == 1
