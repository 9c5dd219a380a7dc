"""The watched lists, looked at as the daemon does: files are edited, and the library follows."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import replace

import pytest

from vidpipe.pipeline import ingest
from vidpipe.settings import Settings
from vidpipe.sources.list_watch import WatchTiming
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.pipeline.sensors.list_sensor import LIST, NO_REST, SECRET, ListSensor, ids, source, write


@pytest.mark.usefixtures("no_rest")
class TestLines:
    def test_new_edited_repeated_and_removed_lines(self, list_sensor: ListSensor) -> None:
        a, b, c = (f"https://h.example/{name}.mp4" for name in "abc")
        data = list_sensor.say(
            "# mine", "", f'{a} priority=3 labels=x,y title="A"', b, f"{b} title=second", f"  {c}  # c"
        )
        assert {url: record.state for url, record in list_sensor.records().items()} == dict.fromkeys((a, b, c), "new")
        known = list_sensor.records()
        assert (known[a].title, known[a].labels, known[a].priority, known[a].lists) == ("A", ("x", "y"), 3, (LIST,))
        assert known[b].title is None
        assert [ids(request) for request in data.run_requests] == [[source(a)], [source(b), source(c)]]

        list_sensor.say(f"{a} priority=1", f"{b} title=second")
        known = list_sensor.records()
        assert (known[a].title, known[a].labels, known[a].priority) == (None, (), 1)
        assert known[b].title == "second"
        assert (known[c].lists, known[c].state) == ((), "new")
        assert list_sensor.named() == {a, b}

        assert not list_sensor.say("# nothing any more").run_requests
        assert list_sensor.named() == set()
        assert len(list_sensor.records()) == 3

    def test_what_ingest_found_out_and_a_list_that_is_edited_do_not_overwrite_each_other(
        self, list_sensor: ListSensor
    ) -> None:
        url = "https://h.example/a.mp4"
        list_sensor.say(url)
        fetching = list_sensor.records()[url].model_copy(update={"state": "fetching"})
        list_sensor.say(f"{url} priority=7 title=T labels=l")
        list_sensor.library.sources.save(
            fetching.model_copy(update={"state": "stored", "video": "ab" * 32, "etag": "e"})
        )
        known = list_sensor.records()[url]
        assert (known.state, known.etag) == ("stored", "e")
        assert (known.priority, known.title, known.labels, known.lists) == (7, "T", ("l",), (LIST,))
        list_sensor.say(f"{url} priority=8")
        assert (list_sensor.records()[url].state, list_sensor.records()[url].priority) == ("stored", 8)

    def test_a_line_that_cannot_be_read_is_shown_until_it_is_mended(self, list_sensor: ListSensor) -> None:
        good = "https://h.example/a.mp4"
        list_sensor.say("gopher://h.example/x.mp4", good, f"{good} priority=high", "nowhere.mp4")
        assert list_sensor.named() == {good}
        shown = sorted(list_sensor.problems())
        assert len(shown) == 3
        assert shown[0].startswith(f"{LIST}, line 1: gopher:// is not supported.")
        assert shown[1] == f"{LIST}, line 3: the priority is not an integer."
        assert "line 4" in shown[2]
        assert "no such file" in shown[2]
        list_sensor.say(good)
        assert list_sensor.problems() == []

    def test_a_list_that_is_away_or_no_list_takes_nothing_away(self, list_sensor: ListSensor) -> None:
        url = "https://h.example/a.mp4"
        list_sensor.say(url)
        list_sensor.list.unlink()
        data = list_sensor.tick()
        assert [ids(request) for request in data.run_requests] == [[source(url)]]
        assert list_sensor.named() == {url}
        assert list_sensor.problems() == [f"{LIST}: no such file; its sources are kept."]
        list_sensor.list.write_bytes(b"\x7fELF\0\0\0")
        list_sensor.tick()
        assert list_sensor.named() == {url}
        assert "not a text file" in list_sensor.problems()[0]
        with list_sensor.list.open("wb") as file:
            file.truncate((256 << 20) + 1)
        list_sensor.tick()
        assert list_sensor.problems() == [f"{LIST} cannot be read: it has more than 256 MiB; its sources are kept."]
        list_sensor.say(url)
        assert list_sensor.problems() == []
        list_sensor.say("")
        assert list_sensor.named() == set()

    def test_secrets_are_nowhere_but_in_the_list(self, list_sensor: ListSensor, settings: Settings) -> None:
        data = list_sensor.say(
            f"https://me:{SECRET}@h.example/a.mp4", f"https://h.example/b.mp4?token={SECRET} priority=2",
            f"https://h.example/c.mp4?token={SECRET} prio=2", f"nowhere/token={SECRET}.mp4",
        )  # fmt: skip
        assert {"https://***@h.example/a.mp4", "https://h.example/b.mp4?token=***"} == set(list_sensor.records())
        kept = [data.cursor, data.skip_message, [request.run_config for request in data.run_requests]]
        kept += [list(list_sensor.library.collections[name].find()) for name in ("sources", "meta")]
        kept.append([request.tags for request in data.run_requests])
        assert SECRET not in repr(kept)
        for path in (settings.data_directory / "run" / "lists").iterdir():
            assert path.stat().st_mode & 0o077 == 0

    def test_several_lists_text_and_table(
        self, list_sensor: ListSensor, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", f"{LIST}, data/more.csv")
        both, only = "https://h.example/both.mp4", "https://h.example/only.mp4"
        table = settings.home / "data/more.csv"
        monkeypatch.setenv("VIDPIPE_LISTS_LABELCOLUMNS", "genre")
        write(table, f"url,priority,Genre\n{both},4,l\n{only},,\n{only},7\n")
        list_sensor.say(both)
        assert list_sensor.records()[both].lists == (LIST, "data/more.csv")
        assert (list_sensor.records()[both].priority, list_sensor.records()[both].labels) == (4, ("l",))
        assert list_sensor.problems() == ["data/more.csv, line 4: the row has 2 fields instead of 3."]
        write(table, f"url\n{only}\n")
        list_sensor.tick()
        assert list_sensor.records()[both].lists == (LIST,)
        monkeypatch.setenv("VIDPIPE_PATHS_SOURCELISTS", LIST)
        list_sensor.tick()
        assert list_sensor.named() == {both}

    def test_without_its_memory_or_with_another_library_a_list_is_read_anew(
        self, list_sensor: ListSensor, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = (f"https://h.example/{name}.mp4" for name in "ab")
        list_sensor.say(a, b)
        for path in (settings.data_directory / "run" / "lists").iterdir():
            path.unlink()
        list_sensor.say(b)
        assert list_sensor.named() == {b}, "what was removed meanwhile is known from MongoDB"
        list_sensor.library.collections["sources"].delete_many({})
        monkeypatch.setattr(ingest, "this_process", lambda: "the next one")
        list_sensor.tick()
        assert list_sensor.named() == {b}

    def test_a_long_list_is_continued_at_the_next_tick(self, list_sensor: ListSensor) -> None:
        gone = "https://h.example/gone.mp4"
        list_sensor.say(gone)
        list_sensor.set_timing(replace(NO_REST, budget_s=0.0))
        lines = [f"https://h.example/{number}.mp4" for number in range(3000)]
        write(list_sensor.list, "\n".join(lines))
        seen = []
        for _ in range(5):
            data = list_sensor.tick()
            assert data.run_requests
            seen.append(len(list_sensor.named()))
        assert seen[:3] == [1001, 2001, 3001]
        assert seen[-1] == 3000
        assert gone not in list_sensor.named()

    def test_an_unchanged_list_is_not_opened(self, list_sensor: ListSensor) -> None:
        list_sensor.say("https://h.example/a.mp4")
        list_sensor.tick()
        list_sensor.list.chmod(0)
        before = list_sensor.cursor
        list_sensor.tick()
        assert list_sensor.problems() == []
        assert (
            json.loads(str(list_sensor.cursor))["lists"][LIST]["read"] == json.loads(str(before))["lists"][LIST]["read"]
        )


@pytest.mark.usefixtures("no_rest")
class TestLocal:
    def test_new_changed_and_removed_files_of_a_watched_folder(
        self, list_sensor: ListSensor, settings: Settings
    ) -> None:
        folder = settings.home / "footage"
        folder.mkdir()
        data = list_sensor.say("../footage priority=2 labels=mine", "later.mp4")
        assert not data.run_requests
        assert len(list_sensor.problems()) == 1
        one = color_cuts(folder / "one.mp4", ("red",))
        color_cuts(list_sensor.list.parent / "later.mp4", ("blue",))
        data = list_sensor.tick()
        later = (list_sensor.list.parent / "later.mp4").as_uri()
        assert [ids(request) for request in data.run_requests] == [[source(one.as_uri())], [source(later)]]
        assert (list_sensor.records()[one.as_uri()].priority, list_sensor.records()[one.as_uri()].labels) == (
            2,
            ("mine",),
        )
        assert list_sensor.problems() == []

        list_sensor.library.sources.save(list_sensor.records()[one.as_uri()].model_copy(update={"state": "refused"}))
        list_sensor.tick()
        assert list_sensor.records()[one.as_uri()].state == "refused"
        one.write_bytes(one.read_bytes() + b"more")
        list_sensor.tick()
        assert list_sensor.records()[one.as_uri()].state == "new", "a file that was finished later is looked at again"
        one.unlink()
        list_sensor.tick()
        assert list_sensor.named() == {later}


class TestWriters:
    def test_a_list_that_is_rewritten_while_it_is_read_is_never_taken_for_less_than_it_says(
        self, list_sensor: ListSensor
    ) -> None:
        """By truncating and by renaming, in pieces that end in the middle of lines."""
        always = [f"https://h.example/films/{number:04d}/a-rather-long-name.mp4" for number in range(400)]
        list_sensor.list.write_text("\n".join([*always, ""]))
        old = time.time() - 60
        os.utime(list_sensor.list, (old, old))
        time.sleep(1.1)
        list_sensor.tick()
        assert list_sensor.named() == set(always)
        stop = threading.Event()
        rounds = 0

        def rewrite() -> None:
            nonlocal rounds
            while not stop.is_set():
                rounds += 1
                text = "\n".join([*always, f"https://h.example/extra-{rounds}.mp4", ""])
                path = list_sensor.list if rounds % 2 else list_sensor.list.with_name("part")
                with path.open("w") as file:
                    for start in range(0, len(text), 5000):
                        file.write(text[start : start + 5000])
                        file.flush()
                        time.sleep(0.005)
                os.utime(path, (old, old))  # as rsync and cp -p do
                if path != list_sensor.list:
                    path.replace(list_sensor.list)

        writer = threading.Thread(target=rewrite)
        writer.start()
        try:
            while rounds < 50 and writer.is_alive():
                list_sensor.tick()
                named = list_sensor.named()
                assert named >= set(always)
                assert all(re.search(r"(name|extra-\d+)\.mp4$", url) for url in named)
        finally:
            stop.set()
            writer.join()
        assert rounds >= 50
        time.sleep(1.1)
        list_sensor.tick()
        assert list_sensor.named() == {*always, f"https://h.example/extra-{rounds}.mp4"}

    def test_half_a_line_waits_for_its_end(self, list_sensor: ListSensor) -> None:
        list_sensor.set_timing(WatchTiming(open_line_rest_s=600))  # a busy machine may take long between two steps
        with list_sensor.list.open("w") as file:
            file.write("https://h.example/a.mp4\nhttps://h.example/b.m")
            file.flush()
            time.sleep(1.1)
            assert "is being written" in str(list_sensor.tick().skip_message)
            assert list_sensor.named() == set()
            file.write("p4\n")
        time.sleep(1.1)
        list_sensor.tick()
        assert list_sensor.named() == {"https://h.example/a.mp4", "https://h.example/b.mp4"}
