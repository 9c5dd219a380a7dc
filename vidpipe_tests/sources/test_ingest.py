"""Sources and videos over several runs: known URLs, equal bytes, changed bytes, local files, progress."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord
from vidpipe_tests.clips import moving
from vidpipe_tests.fault_server import FaultServer, Handler, Served, serve, slow, status
from vidpipe_tests.sources.conftest import IngestHome, Write, sha256_of


def test_a_known_url_is_not_asked_again(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    assert room.add_one(url).state == "stored"
    again = room.add_one(url)
    assert (again.state, again.video) == ("already stored", sha256_of(clip))
    assert len(server.requests) == 1


def test_a_known_url_whose_file_is_gone_is_fetched_again(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    room.stored_files()[0].unlink()
    assert room.add_one(url).video == sha256_of(clip)
    assert room.stored_files()[0].read_bytes() == clip


def test_the_same_bytes_under_two_urls_are_one_video_with_two_sources(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    one, two = room.add(server.add("/one.mp4", clip), server.add("/two.mp4", clip))
    assert sorted((one.state, two.state)) == ["already stored", "stored"]
    assert one.video == two.video == sha256_of(clip)
    assert len(room.stored_files()) == 1
    videos = room.sources.videos[sha256_of(clip)]
    assert {video.url for video in videos} == {server.url("/one.mp4"), server.url("/two.mp4")}
    assert {video.file_name for video in videos} == {"one.mp4", "two.mp4"}


def test_the_same_url_twice_in_one_run_is_fetched_once_and_answered_twice(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    (request,) = gather([server.add("/clip.mp4", clip)]).requests
    outcomes = Ingest(room.settings, room.sources).run([request, request])
    assert [outcome.state for outcome in outcomes] == ["stored", "stored"]
    assert len(server.requests) == 1


def test_asking_again_costs_one_304_when_nothing_changed(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    again = room.add_one(url, refresh=True)
    assert (again.state, again.video) == ("unchanged", sha256_of(clip))
    assert [(seen.status, seen.sent) for seen in server.requests] == [(200, len(clip)), (304, 0)]
    assert server.requests[1].headers["if-none-match"] == '"one"'


def test_last_modified_serves_where_there_is_no_etag(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip, etag=None, last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
    room.add_one(url)
    assert room.add_one(url, refresh=True).state == "unchanged"
    assert server.requests[1].status == 304


def test_a_server_that_knows_no_conditions_gives_the_same_bytes(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip, etag=None)
    room.add_one(url)
    assert room.add_one(url, refresh=True).state == "unchanged"
    assert server.requests[1].status == 200


def test_new_bytes_under_a_known_url_are_a_new_video_and_the_source_says_so(
    room: IngestHome, server: FaultServer, clip: bytes, other_clip: bytes
) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    server.add("/clip.mp4", other_clip, etag='"two"')
    outcome = room.add_one(url, refresh=True)
    assert (outcome.state, outcome.video) == ("stored", sha256_of(other_clip))
    assert outcome.source is not None
    assert outcome.source.earlier_videos == (sha256_of(clip),)
    assert len(room.stored_files()) == 2
    server.add("/clip.mp4", clip, etag='"three"')
    back = room.add_one(url, refresh=True)
    assert back.source is not None
    assert (back.state, back.source.earlier_videos) == ("already stored", (sha256_of(clip), sha256_of(other_clip)))


def test_a_source_that_fails_later_keeps_its_video(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(url)
    server.add("/clip.mp4", b"", always=status(400))
    outcome = room.add_one(url, refresh=True)
    assert (outcome.state, outcome.video) == ("failed", sha256_of(clip))
    assert len(room.stored_files()) == 1


def test_failures_wait_longer_each_time_and_a_success_forgets_them(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    room.with_download(retries=0)
    url = server.add("/clip.mp4", clip, faults=[status(503), status(503), status(503)])
    pauses = []
    for _ in range(3):
        source = room.add_one(url).source
        assert source is not None
        assert source.next_try_at is not None
        pauses.append(source.next_try_at - datetime.now(UTC))
    assert pauses == sorted(pauses)
    assert timedelta(seconds=50) < pauses[0] < timedelta(seconds=70)
    source = room.add_one(url).source
    assert source is not None
    assert (source.failures, source.last_error, source.next_try_at, source.attempts) == (0, None, None, 4)


def test_what_a_sensor_asks_for_is_only_what_is_due(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    room.with_download(retries=0)
    url = server.add("/clip.mp4", clip, faults=[status(503)])
    room.add_one(url)
    assert room.add_one(url, retry=False).state == "failed"
    assert len(server.requests) == 1
    (record,) = room.sources.records.values()
    room.sources.save(record.model_copy(update={"next_try_at": datetime.now(UTC) - timedelta(seconds=1)}))
    assert room.add_one(url, retry=False).state == "stored"


def test_a_source_left_fetching_by_a_killed_process_is_due(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    (request,) = gather([server.add("/clip.mp4", clip)]).requests
    room.sources.save(SourceRecord(id=request.id, url=request.url.display_url, state="fetching"))
    assert Ingest(room.settings, room.sources).run([request], retry=False)[0].state == "stored"


def test_the_suffix_comes_from_the_container_not_from_the_url(
    room: IngestHome, server: FaultServer, tmp_path: Path
) -> None:
    for name, codec in (("a.mkv", "libx264"), ("b.webm", "libvpx-vp9"), ("c.mov", "libx264"), ("d.avi", "mpeg4")):
        data = moving(tmp_path / name, seconds=0.4, codec=codec).read_bytes()
        outcome = room.add_one(server.add(f"/{name}.mp4", data))
        assert outcome.stored is not None, outcome.error
        assert Path(outcome.stored.path).suffix == Path(name).suffix


def test_title_labels_and_priority_reach_the_record(
    room: IngestHome, server: FaultServer, clip: bytes, file_of: Write
) -> None:
    url = server.add("/clip.mp4", clip)
    room.add_one(file_of("v.csv", f"url,title,labels,priority\n{url},Ducks,birds|water,2\n".encode()))
    later = room.add_one(file_of("v.csv", f"url,title\n{url},Geese\n".encode())).source
    assert later is not None
    assert (later.title, later.labels, later.priority) == ("Geese", ("birds", "water"), 2)
    assert room.sources.records[later.id].title == "Geese"


@pytest.mark.parametrize("mode", ["copy", "hardlink", "reference"])
def test_a_local_file_is_taken_in_as_asked(room: IngestHome, clip: bytes, file_of: Write, mode: str) -> None:
    path = file_of("my clip.mov", clip)
    outcome = room.add_one(path, mode=mode)
    assert outcome.state == "stored", outcome.error
    assert outcome.stored is not None
    assert (outcome.stored.url, outcome.stored.file_name) == (path.as_uri(), "my clip.mov")
    assert path.read_bytes() == clip
    stored = room.home / outcome.stored.path
    assert stored.stat().st_mtime_ns == outcome.stored.modified_ns
    assert outcome.stored.referenced == (mode == "reference")
    if mode == "reference":
        assert stored == path
        assert room.stored_files() == []
    else:
        assert stored.name == f"{sha256_of(clip)}.mp4"
        assert stored.samefile(path) == (mode == "hardlink")
    assert room.add_one(path, mode=mode).state == "already stored"


def test_a_local_file_with_new_contents_is_a_new_video(
    room: IngestHome, clip: bytes, other_clip: bytes, file_of: Write
) -> None:
    path = file_of("clip.mp4", clip)
    room.add_one(path)
    path.write_bytes(other_clip)
    outcome = room.add_one(path)
    assert outcome.source is not None
    assert (outcome.video, outcome.source.earlier_videos) == (sha256_of(other_clip), (sha256_of(clip),))


def test_a_hard_link_that_a_killed_run_left_never_costs_the_users_file(
    room: IngestHome, clip: bytes, file_of: Write
) -> None:
    path = file_of("clip.mp4", clip)
    (request,) = gather([path]).requests
    store = MediaStore(room.settings)
    os.link(path, store.incoming / f"{request.id}.part")
    assert room.add_one(path, mode="copy").state == "stored"
    assert path.read_bytes() == clip
    assert not room.stored_files()[0].samefile(path)


def test_a_local_copy_of_a_fetched_video_is_the_same_video(
    room: IngestHome, server: FaultServer, clip: bytes, file_of: Write
) -> None:
    room.add_one(server.add("/clip.mp4", clip))
    for mode in ("copy", "hardlink"):
        assert room.add_one(file_of(f"{mode}.mp4", clip), mode=mode).state == "already stored"
    assert len(room.stored_files()) == 1


def test_local_files_that_are_no_videos_are_refused(
    room: IngestHome, clip: bytes, file_of: Write, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    cases = {
        file_of("empty.mp4", b""): "empty",
        file_of("text.mp4", b"just words\n" * 50): "text file",
        file_of("page.mp4", b"<!DOCTYPE html><html>"): "HTML page",
        file_of("cut.mp4", clip[:600]): "",
        pipe: "not a regular file",
    }
    for path, said in cases.items():
        outcome = room.add_one(path)
        assert outcome.state == "refused"
        assert said in str(outcome.error)
        assert str(path) in str(outcome.error)
    assert room.stored_files() == []


def test_an_observer_sees_starts_bytes_and_outcomes(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    told: list[tuple[str, object]] = []

    class Watcher:
        def on_note(self, note: IngestNote) -> None:
            told.append(("note", note))

        def on_start(self, source: SourceRecord) -> None:
            told.append(("start", source.url))

        def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
            told.append(("bytes", (done, total)))

        def on_outcome(self, outcome: IngestOutcome) -> None:
            told.append(("outcome", outcome.state))

    url = server.add("/clip.mp4", clip, always=slow(len(clip) // 3, 0.15))
    Ingest(room.settings, room.sources, Watcher()).run(gather([url]).requests)
    assert told[0] == ("start", url)
    assert told[-1] == ("outcome", "stored")
    counts = [done for kind, value in told if kind == "bytes" for done, total in [value] if total == len(clip)]  # type: ignore[misc]
    assert len(counts) >= 3
    assert counts == sorted(counts)
    assert counts[-1] == len(clip)


def test_several_are_fetched_at_once(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    all_four = threading.Barrier(4)

    def waits_for_the_others(handler: Handler, served: Served) -> None:
        all_four.wait(timeout=20)
        serve(handler, served)

    room.with_download(parallel=4, read_timeout=30.0)
    urls = [server.add(f"/{n}.mp4", clip + bytes([n]) * 16, always=waits_for_the_others) for n in range(8)]
    assert [outcome.state for outcome in room.add(*urls)] == ["stored"] * 8
    assert len(room.stored_files()) == 8


def test_no_more_are_fetched_at_once_than_set(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    active: list[int] = []
    most = 0

    def counts(handler: Handler, served: Served) -> None:
        nonlocal most
        active.append(1)
        most = max(most, len(active))
        time.sleep(0.05)
        active.pop()
        serve(handler, served)

    room.with_download(parallel=2)
    urls = [server.add(f"/{n}.mp4", clip + bytes([n]) * 16, always=counts) for n in range(12)]
    assert {outcome.state for outcome in room.add(*urls)} == {"stored"}
    assert most == 2


def test_what_was_tried_is_told_to_the_calling_thread(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    known, new = server.add("/known.mp4", clip), server.add("/new.mp4", clip + bytes(16))
    room.add_one(known)
    told: list[tuple[str, str | None, int]] = []
    requests = gather([known, new, server.url("/missing.mp4")]).requests
    outcomes = Ingest(room.settings, room.sources).run(
        requests, on_added=lambda outcome: told.append((outcome.state, outcome.video, threading.get_ident()))
    )
    assert [outcome.state for outcome in outcomes] == ["already stored", "stored", "gone"]
    here = threading.get_ident()
    assert sorted(told, key=str) == [("gone", None, here), ("stored", outcomes[1].video, here)]


def test_old_leftovers_are_cleaned_up_and_young_ones_kept(room: IngestHome) -> None:
    store = MediaStore(room.settings)
    old = [store.incoming / f"{'a' * 32}.{suffix}" for suffix in ("part", "json", "lock")]
    young = [store.incoming / f"{'b' * 32}.{suffix}" for suffix in ("part", "json", "lock")]
    for path in old + young:
        path.write_bytes(b"x")
    long_ago = time.time() - 8 * 86400
    for path in old:
        os.utime(path, (long_ago, long_ago))
    os.utime(young[1], (long_ago, long_ago))
    assert sorted(store.clean()) == sorted(old)
    assert all(path.exists() for path in young)
