"""Watched folders, and labelled parts in watched lists, looked at as the daemon does."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidpipe.settings import Settings
from vidpipe.sources import list_watch
from vidpipe.sources.folder_changes import FolderChanges
from vidpipe.sources.list_watch import WatchTiming
from vidpipe.sources.source_data import Segment
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.pipeline.sensors.list_sensor import NO_REST, ListSensor, ids, source

A, B = (f"https://h.example/{name}.mp4" for name in "ab")


@pytest.fixture
def folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", "films")
    folder = settings.home / "films"
    (folder / "deep" / "deeper").mkdir(parents=True)
    return folder


def tick_until(list_sensor: ListSensor, expected: set[str]) -> None:
    for _ in range(600):
        list_sensor.tick()
        if list_sensor.named() == expected:
            return
        time.sleep(0.1)
    assert list_sensor.named() == expected


@pytest.mark.usefixtures("no_rest")
class TestFolders:
    def test_videos_at_any_depth_are_sources_while_they_are_there(
        self, list_sensor: ListSensor, folder: Path, tmp_path: Path
    ) -> None:
        one = color_cuts(folder / "deep" / "deeper" / "one.mp4", ("red",))
        color_cuts(tmp_path / "outside" / "other.mp4", ("blue",))
        (folder / "link").symlink_to(tmp_path / "outside")
        (folder / "link.mp4").symlink_to(tmp_path / "outside" / "other.mp4")
        (folder / "inside.mp4").symlink_to(one)
        (folder / ".hidden.mp4").write_bytes(one.read_bytes())
        (folder / "notes.txt").write_text("x")
        data = list_sensor.tick()
        assert [ids(request) for request in data.run_requests] == [[source(one.as_uri())]]
        assert list_sensor.named() == {one.as_uri()}
        assert list_sensor.problems() == []

        bytes_name = Path(os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.mp4"))
        shutil.copy(one, bytes_name)
        tick_until(list_sensor, {one.as_uri(), bytes_name.as_uri()})
        record = list_sensor.records()[one.as_uri()]
        list_sensor.library.sources.save(record.model_copy(update={"state": "stored"}))
        one.write_bytes(one.read_bytes() + b"more")
        for _ in range(300):
            list_sensor.tick()
            if list_sensor.records()[one.as_uri()].state == "new":
                break
            time.sleep(0.1)
        assert list_sensor.records()[one.as_uri()].state == "new", "a changed file is due again"

        moved = one.rename(folder / "moved.mp4")
        (folder / "inside.mp4").unlink()
        tick_until(list_sensor, {moved.as_uri(), bytes_name.as_uri()})
        shutil.rmtree(folder)
        list_sensor.tick()
        assert list_sensor.problems() == ["films: no such file; its sources are kept."]
        assert list_sensor.named() == {moved.as_uri(), bytes_name.as_uri()}
        folder.mkdir()
        tick_until(list_sensor, set())
        assert list_sensor.problems() == []
        assert len(list_sensor.records()) == 3

    def test_an_unchanged_folder_is_not_listed_again(
        self, list_sensor: ListSensor, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = color_cuts(folder / "one.mp4", ("red",))
        listings = 0
        real = list_watch.diff_watched_files

        def counted(*args: object) -> object:
            nonlocal listings
            listings += 1
            return real(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(list_watch, "diff_watched_files", counted)
        for _ in range(100):  # until it is watched
            before = listings
            list_sensor.tick()
            if listings == before:
                break
            time.sleep(0.1)
        assert listings == before
        for _ in range(5):
            list_sensor.tick()
        assert listings == before
        two = color_cuts(folder / "deep" / "two.mp4", ("blue",))
        tick_until(list_sensor, {one.as_uri(), two.as_uri()})
        assert listings > before

    def test_a_file_waits_until_it_is_complete(self, list_sensor: ListSensor, folder: Path) -> None:
        list_sensor.set_timing(WatchTiming(video_rest_s=600, pauses=0))
        one = color_cuts(folder / "one.mp4", ("red",))
        list_sensor.tick()
        assert list_sensor.named() == set()
        list_sensor.set_timing(NO_REST)
        list_sensor.tick()
        assert list_sensor.named() == {one.as_uri()}

    def test_the_media_store_is_no_watched_folder(
        self, list_sensor: ListSensor, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.media_directory.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", str(settings.media_directory))
        list_sensor.tick()
        assert "where vidpipe stores its own files" in list_sensor.problems()[0]

    def test_a_folder_that_cannot_be_watched_is_listed_each_time(self, tmp_path: Path) -> None:
        changes = FolderChanges(tmp_path / "nowhere")
        changes.join(20)
        assert not changes.is_alive()
        changes.listed = changes.count
        assert changes.is_due


@pytest.mark.usefixtures("no_rest")
class TestParts:
    def test_an_edited_list_replaces_the_parts_of_its_sources(
        self, list_sensor: ListSensor, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", "data/v.jsonl")
        listed = settings.home / "data" / "v.jsonl"

        def say(*rows: dict[str, object]) -> None:
            listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
            list_sensor.tick()

        def parts(url: str) -> tuple[Segment, ...]:
            return list_sensor.records()[url].segments

        run: dict[str, object] = {"url": A, "start": 1, "end": 2, "label": "run", "licence": "CC0"}
        jump: dict[str, object] = {"url": A, "start": "0:00:05", "label": ["jump"]}
        say(run, jump, {"url": B, "label": "whole"})
        assert parts(A) == (Segment(start_s=1, end_s=2, labels=("run",)), Segment(start_s=5, labels=("jump",)))
        record = list_sensor.records()[A]
        assert (record.labels, record.licence, list_sensor.records()[B].labels) == ((), "CC0", ("whole",))
        say(jump, {"url": B, "label": "whole"}, {"url": B, "start": 3, "end": 2})
        assert parts(A) == (Segment(start_s=5, labels=("jump",)),)
        assert list_sensor.records()[A].licence is None
        assert list_sensor.problems() == ["data/v.jsonl, line 3: the end is not after the start."]
        say({"url": A, "title": "only the film"}, {"url": B, "start": 3})
        assert (parts(A), parts(B)) == ((), (Segment(start_s=3),))
        say({"url": A})
        assert (parts(B), list_sensor.records()[B].lists) == ((), ())

    def test_files_of_this_machine_and_parquet(
        self, list_sensor: ListSensor, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", "data/v.parquet")
        one = color_cuts(settings.home / "data" / "one.mp4", ("red",))

        def say(rows: list[dict[str, object]]) -> None:
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows), file)
            (settings.home / "data" / "v.parquet").write_bytes(file.getvalue())
            list_sensor.tick()

        rows: list[dict[str, object]] = [{"url": "one.mp4", "start": n + 0.5, "labels": ["x"]} for n in range(3)]
        say(rows)
        assert [part.start_s for part in list_sensor.records()[one.as_uri()].segments] == [0.5, 1.5, 2.5]
        list_sensor.tick()
        say(rows[1:])
        assert [part.start_s for part in list_sensor.records()[one.as_uri()].segments] == [1.5, 2.5]
        (settings.home / "data" / "v.parquet").write_bytes(b"PAR1 no")
        list_sensor.tick()
        assert "not a valid Parquet file" in list_sensor.problems()[0]
        assert list_sensor.named() == {one.as_uri()}
