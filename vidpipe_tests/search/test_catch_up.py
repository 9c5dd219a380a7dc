"""How the search index follows a library in a real mongod."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.library.leases import LEASE_S
from vidpipe.library.library import Library
from vidpipe.library.schema import MOST_KEPT
from vidpipe.operations.retention.video_removal import forget
from vidpipe.search import catch_up
from vidpipe.search import index as index_module
from vidpipe.search.catch_up import State
from vidpipe.search.documents import VIDEO
from vidpipe.search.index import SearchIndex, purge, rebuild
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, HOSTILE, fill, put, sha256_of
from vidpipe_tests.search.indexed import HARBOUR, RACE, Notes, count, generations, label, labelled, saying


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as library:
        fill(library)
        yield library


def test_changes_are_followed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    index, other = SearchIndex.open(library), SearchIndex.open(library)
    label(library, HARBOUR, "Lisbon")
    assert labelled(index, "lisbon") == set()
    index.refresh()
    assert labelled(index, "lisbon") == {HARBOUR}
    assert count(index, VIDEO) == len(CONTENTS)
    assert labelled(other, "lisbon") == set()
    other.refresh()
    assert labelled(other, "lisbon") == {HARBOUR}

    monkeypatch.setitem(CONTENTS, "new.mp4", CONTENTS["race.mkv"] | {"scenes": [(0.0, 5.0, "Two penguins.")]})
    put(library, "new.mp4")
    index.refresh()
    assert saying(index, "file", "new") == {sha256_of("new.mp4")}
    assert saying(index, "scene", "penguin") == set()
    fill(library, "new.mp4")
    index.refresh()
    assert saying(index, "scene", "penguin") == {sha256_of("new.mp4")}


def test_removed_videos_disappear(library: Library) -> None:
    index = SearchIndex.open(library)
    forget(library, [RACE], lambda _: None)
    index.refresh()
    assert count(index, VIDEO) == 2
    assert saying(index, "scene", "car") == {sha256_of(HOSTILE)}
    put(library, "race.mkv")
    index.refresh()
    assert saying(index, "file", "race") == {RACE}


def test_a_number_that_becomes_visible_late_is_not_missed(library: Library) -> None:
    index = SearchIndex.open(library)
    (late,) = library.changes.take()
    label(library, HARBOUR, "Lisbon")
    index.refresh()
    library.collections["videos"].update_one({"_id": RACE}, {"$set": {"ingest.labels": ["Monza"], "change_seq": late}})
    index.refresh()
    assert labelled(index, "monza") == {RACE}
    # A video's own number may go down, too, as when a server has lost writes.
    library.collections["videos"].update_one(
        {"_id": HARBOUR}, {"$set": {"ingest.labels": ["Porto"], "change_seq": late}}
    )
    index.refresh()
    assert (labelled(index, "porto"), labelled(index, "lisbon")) == ({HARBOUR}, set())


def settle(library: Library, checked: float) -> None:
    """Make the index believe that all numbers have been visible for long; all videos were compared at `checked`."""
    (generation,) = generations(library)
    replace(State.load(generation), marks=((0.0, library.changes.state().seq),), checked=checked).save(generation)


def test_what_was_written_much_too_late_or_without_a_number_is_found_once_a_day(library: Library) -> None:
    (late,) = library.changes.take()
    index = SearchIndex.open(library)
    settle(library, time.time())
    library.collections["videos"].update_one({"_id": RACE}, {"$set": {"ingest.labels": ["Monza"], "change_seq": late}})
    library.collections["videos"].delete_one({"_id": HARBOUR})
    index.refresh()
    assert (labelled(index, "monza"), count(index, VIDEO)) == (set(), 3)
    for checked in (time.time() - 90_000, time.time() + 90_000):  # then the clock was put back
        settle(library, checked)
        index.refresh()
        assert (labelled(index, "monza"), count(index, VIDEO)) == ({RACE}, 2)
        assert not SearchIndex(library).status().behind
        put(library, "harbour.mp4")
        index.refresh()
        library.collections["videos"].delete_one({"_id": HARBOUR})


def test_a_number_that_has_gone_down_below_the_settled_one_is_noticed(library: Library) -> None:
    (early,) = library.changes.take()
    index = SearchIndex.open(library)
    settle(library, time.time())
    label(library, RACE, "Lisbon")
    index.refresh()
    library.collections["videos"].update_one({"_id": RACE}, {"$set": {"ingest.labels": ["Porto"], "change_seq": early}})
    index.refresh()
    assert (labelled(index, "porto"), labelled(index, "lisbon")) == ({RACE}, set())


@given(st.data())
def test_a_change_is_never_below_the_settled_number_when_it_is_first_seen(data: st.DataObject) -> None:
    """Writers take numbers and write within a lease; the index catches up at any time."""
    times = st.lists(st.integers(0, 60).map(lambda tenth: tenth * LEASE_S / 10), min_size=1, max_size=20)
    taken = sorted(data.draw(times))
    visible = [at + data.draw(st.sampled_from((0, LEASE_S / 2, LEASE_S))) for at in taken]
    state, seen = State("epoch"), set[int]()
    for now in sorted(data.draw(times)):
        seq = sum(at <= now for at in taken)
        new = {number for number, at in enumerate(visible, 1) if at <= now} - seen
        assert all(number > state.settled for number in new)
        seen |= new
        state = state.after(now, seq)
    later = state.after(11 * LEASE_S, len(taken)).after(14 * LEASE_S, len(taken))
    assert later.settled == len(taken)  # then nothing is looked at again
    assert len(later.marks) <= 2


def test_nothing_is_written_if_nothing_changed(library: Library) -> None:
    index = SearchIndex.open(library)
    folder = library.settings.index_directory
    (generation,) = generations(library)
    state = State.load(generation)
    replace(state, marks=((0.0, library.changes.state().seq),)).save(generation)
    index.refresh()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with FileLock(folder / "lock"):
        index.refresh()
        SearchIndex.open(library)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_while_another_process_writes_the_index_answers_and_says_what_it_lacks(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "PATIENCE_S", 0.1)
    notes = Notes()
    index = SearchIndex.open(library, note=notes)
    notes.clear()
    label(library, HARBOUR, "Lisbon")
    with FileLock(library.settings.index_directory / "lock"):
        index.refresh()
    assert (index.behind, len(notes)) == (1, 1)
    assert "1 video" in notes[0]
    assert saying(index, "scene", "lighthous") == {HARBOUR}
    index.refresh()
    assert (index.behind, labelled(index, "lisbon")) == (0, {HARBOUR})


def test_an_interrupted_build_leaves_nothing(library: Library) -> None:
    index = SearchIndex.open(library)
    (before,) = generations(library)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(library, progress=interrupt)
    assert generations(library) == [before]
    shutil.copytree(before, before.with_name("killed"))
    label(library, HARBOUR, "Lisbon")
    index.refresh()
    assert generations(library) == [before]


def test_what_was_indexed_before_an_interruption_is_not_indexed_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "_BATCH", 1)
    monkeypatch.setattr(catch_up, "_COMMIT_EVERY", 1)
    steps: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SearchIndex.open(library, progress=interrupt)
    assert SearchIndex(library).status().behind == 2
    notes = Notes()
    index = SearchIndex.open(library, note=notes, progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (1, 2), (2, 2)]
    assert (notes, count(index, VIDEO)) == ([], 3)
    for sha256 in (RACE, HARBOUR):
        label(library, sha256, "Lisbon")
    index = SearchIndex(library, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.refresh()
    index.refresh()
    assert steps[4:] == [(1, 2), (2, 2), (1, 1)]
    assert labelled(index, "lisbon") == {RACE, HARBOUR}


def test_while_another_process_builds_it_one_waits(library: Library) -> None:
    waiting, notes = threading.Event(), Notes()

    def note(text: str) -> None:
        notes.append(text)
        waiting.set()

    def build(done: int, total: int) -> None:
        if not thread.ident:
            thread.start()
        waiting.wait()

    other: list[SearchIndex] = []
    thread = threading.Thread(target=lambda: other.append(SearchIndex.open(library, note=note)))
    SearchIndex.open(library, progress=build)
    thread.join()
    assert notes == ["Another process is writing the search index; waiting for it."]
    assert (other[0].behind, count(other[0], VIDEO)) == (0, 3)


def test_texts_of_removed_videos_stay_in_the_files_until_they_are_purged(library: Library) -> None:
    purge(library)
    assert not library.settings.index_directory.exists()
    index = SearchIndex.open(library)

    def contained(text: bytes) -> bool:
        return any(text in file.read_bytes() for file in library.settings.index_directory.rglob("*") if file.is_file())

    assert contained(b"overtakes")
    forget(library, [RACE], lambda _: None)
    index.refresh()
    assert contained(b"overtakes")
    (before,) = generations(library)
    purge(library)
    assert not contained(b"overtakes")
    index.refresh()
    assert saying(index, "scene", "lighthous") == {HARBOUR}
    assert (contained(b"overtakes"), before.exists()) == (False, False)


def test_a_stored_value_that_a_field_cannot_read_does_not_prevent_searching(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"sentiment.label": "mixed", "metadata.cues": [{}], "metadata.frame_rate": "n/a", "description.text": 5}
    library.collections["videos"].update_many({}, {"$set": odd})
    index = SearchIndex.open(library)
    assert saying(index, "scene", "lighthous") == {HARBOUR}
    assert len(caplog.records) == len(odd)
    assert "search leaves out" in caplog.text


def test_all_urls_of_a_video_with_very_many_are_found(library: Library) -> None:
    for number in range(MOST_KEPT + 5):
        label(library, RACE, f"mirror{number}")
    index = SearchIndex.open(library)
    assert saying(index, "source", "mirror104", "plain") == {RACE}
    label(library, RACE, "late")
    index.refresh()
    assert saying(index, "source", "late", "plain") == {RACE}
