"""A mirror in SQLite follows a library in a real mongod."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect

from vidpipe.datasets.mirror.sync import mirror
from vidpipe.datasets.mirror.tables import METADATA, source_row
from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.settings import Settings
from vidpipe_tests.datasets.mirrors import contents, mirrored_to, nothing_written, query, rebuilt
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, HOSTILE, fill, put, sha256_of
from vidpipe_tests.search.indexed import HARBOUR, RACE, label

URL = "sqlite:///{}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mirror.db"


@pytest.fixture
def url(file: Path) -> str:
    return URL.format(file)


@pytest.fixture
def library(settings: Settings, url: str) -> Iterator[Library]:
    with Library.open(mirrored_to(settings, url), GRAPH) as library:
        fill(library)
        yield library


@pytest.fixture(scope="module")
def filled(module_settings: Settings) -> Settings:
    with Library.open(module_settings, GRAPH) as library:
        fill(library)
    return module_settings


@pytest.fixture
def unchanged(filled: Settings, url: str) -> Iterator[Library]:
    """A library that tests share and do not change; each has its own mirror."""
    with Library.open(mirrored_to(filled, url), GRAPH) as library:
        yield library


def test_the_tables_hold_what_the_library_knows(unchanged: Library, url: str) -> None:
    report = mirror(unchanged)
    assert report.rows == {name: len(rows) for name, rows in contents(url).items()}
    assert report.rows == {
        "videos": 3, "scenes": 4, "labels": 2, "tags": 5, "scene_tags": 0, "answers": 0, "sources": 3,
    }  # fmt: skip
    assert report.change_number == unchanged.changes.state().seq
    assert query(url, "SELECT name, duration_s, width, video_codec, category, scene_count FROM videos ORDER BY 1") == [
        (HOSTILE, 5.0, 640, "av1", "Unclassified", 1),
        ("harbour.mp4", 600.0, 1920, "h264", "Documentary", 2),
        ("race.mkv", 45.5, 3840, "hevc", "Sports", 1),
    ]
    tags = "SELECT tag, rule, given_by, evidence, confidence FROM tags JOIN videos USING (video) WHERE name = :name"
    assert query(url, f"{tags} ORDER BY position", name="race.mkv") == [
        ("High Resolution", "high resolution", "rule", "it says so", None),
        ("Fast-paced", "fast-paced", "rule", "it says so", None),
    ]
    said = "SELECT scene, start_s, end_s, description FROM scenes WHERE video = :video ORDER BY scene"
    assert query(url, said, video=HARBOUR) == [
        (number, *scene) for number, scene in enumerate(CONTENTS["harbour.mp4"]["scenes"])
    ]
    assert query(url, "SELECT label FROM labels ORDER BY position") == [("=1+1",), ("Motor sport",)]
    assert query(url, "SELECT url, title FROM sources WHERE video = :video", video=RACE) == [
        ("https://videos.example/race.mkv", "GrandPrix_2019")
    ]
    assert query(url, "SELECT added_at FROM videos WHERE video = :video", video=RACE)[0][0].startswith("20")


def test_every_join_and_filter_of_the_docs_has_an_index_and_parts_go_with_their_video(
    unchanged: Library, url: str
) -> None:
    mirror(unchanged)
    engine = create_engine(url)
    found = inspect(engine)
    indexed = {(table, index["column_names"][0]) for table in METADATA.tables for index in found.get_indexes(table)}
    assert indexed >= {
        ("tags", "tag"), ("labels", "label"), ("videos", "category"), ("scene_tags", "tag"), ("sources", "video"),
    }  # fmt: skip
    rules = {table: key["options"]["ondelete"] for table in METADATA.tables for key in found.get_foreign_keys(table)}
    engine.dispose()
    assert set(rules) == {"scenes", "labels", "tags", "scene_tags", "answers", "sources"}
    assert set(rules.values()) == {"CASCADE"}


def test_only_what_changed_is_written_and_a_second_run_writes_nothing(library: Library, url: str, file: Path) -> None:
    mirror(library)
    before = file.read_bytes()
    assert nothing_written(mirror(library))
    assert file.read_bytes() == before
    label(library, RACE, "Monza")
    report = mirror(library)
    assert report.written == {"videos": 1, "sources": 1}
    assert ("Monza",) in query(url, "SELECT label FROM labels")
    assert nothing_written(mirror(library))
    assert contents(url) == rebuilt(library, url)


def test_a_source_that_changes_without_its_video_is_followed(library: Library, url: str) -> None:
    mirror(library)
    query_state = "SELECT last_error, video FROM sources WHERE source = :source"
    library.collections["sources"].update_one({"_id": RACE[:16]}, {"$set": {"last_error": "gone", "state": "gone"}})
    assert mirror(library).written == {"videos": 0, "sources": 1}
    assert query(url, query_state, source=RACE[:16]) == [("gone", RACE)]
    library.collections["sources"].delete_one({"_id": RACE[:16]})
    assert mirror(library).removed == {"videos": 0, "sources": 1}
    assert query(url, query_state, source=RACE[:16]) == []


def test_a_forgotten_video_leaves_no_row_and_no_text(library: Library, url: str) -> None:
    mirror(library)
    forget(library, [RACE], lambda _: None)
    assert mirror(library).removed["videos"] == 1
    assert RACE not in str(contents(url))
    assert "race" not in str(contents(url))
    put(library, "race.mkv")
    mirror(library)
    assert query(url, "SELECT video FROM sources WHERE source = :source", source=RACE[:16]) == [(RACE,)]
    assert contents(url) == rebuilt(library, url)


def test_rows_of_others_that_refer_to_a_video_survive_its_updates(library: Library, url: str) -> None:
    mirror(library)
    query(url, "CREATE TABLE notes (video TEXT REFERENCES videos (video) ON DELETE CASCADE, note TEXT)")
    query(url, "INSERT INTO notes VALUES (:video, 'mine')", video=RACE)
    label(library, RACE, "Monza")
    mirror(library)
    assert query(url, "SELECT note FROM notes") == [("mine",)]


def test_an_interrupted_run_leaves_whole_videos_and_the_next_one_continues(unchanged: Library, url: str) -> None:
    cancelled = threading.Event()
    report = mirror(unchanged, cancelled=cancelled, progress=lambda *_: cancelled.set(), batch=1)
    assert (report.interrupted, report.rows["videos"], report.change_number) == (True, 1, 0)
    ((video, scenes),) = query(url, "SELECT video, scene_count FROM videos")
    assert query(url, "SELECT count(*) FROM scenes WHERE video = :video", video=video) == [(scenes,)]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mirror(unchanged, progress=killed, batch=1)
    assert mirror(unchanged).written == {"videos": 1, "sources": 3}
    assert contents(url) == rebuilt(unchanged, url)


def test_two_at_once_do_not_write_the_same_database(unchanged: Library) -> None:
    busy: list[str] = []

    def meanwhile(*_: object) -> None:
        with pytest.raises(UnavailableError) as caught:
            mirror(unchanged)
        busy.append(str(caught.value))

    mirror(unchanged, progress=meanwhile)
    assert "Another process is writing the mirror sqlite:///" in busy[0]


def test_a_mirror_of_another_library_is_refused_unless_it_is_written_again(library: Library, url: str) -> None:
    mirror(library)
    before = contents(url, facts=True)
    library.changes.restart()  # what a restored backup does
    with pytest.raises(SettingsError, match="another library") as caught:
        mirror(library)
    assert "--rebuild" in caught.value.hint
    assert contents(url, facts=True) == before
    assert mirror(library, rebuild=True).written["videos"] == 3
    query(url, "UPDATE vidpipe_mirror SET value = '0' WHERE name = 'schema_version'")
    query(url, "DROP TABLE answers")
    with pytest.raises(SettingsError, match="another version"):
        mirror(library)
    mirror(library, rebuild=True)
    assert contents(url) == {name: before[name] for name in METADATA.tables}


def test_tables_of_others_are_never_touched(unchanged: Library, url: str) -> None:
    query(url, "CREATE TABLE videos (id INTEGER)")
    for rebuild in (False, True):
        with pytest.raises(SettingsError, match="tables of others with the names videos"):
            mirror(unchanged, rebuild=rebuild)
    assert query(url, "SELECT count(*) FROM videos") == [(0,)]


#: Values that databases or their drivers refuse.
ODD: dict[str, Any] = {
    "description.text": "\x00 nul, \U0001f3ac, " + "x" * 2_000_000,
    "description.questions": [
        {"id": "q\x00", "value": {"a": ["\x00", float("nan"), 2**62]}}, {"id": "n", "value": None},
    ],
    "metadata.frame_rate": float("nan"), "scenes.stats.loudness_db": float("-inf"),
    "ingest.labels": ["'; DROP TABLE videos; --", "\U0001f3ac", "é", "É", "\x00", "l" * 5000],
    "category.category": "c" * 5000,
}  # fmt: skip


def make_odd(library: Library) -> None:
    """Store odd values in one video, and tags of no known shape in another."""
    for video, values in ((RACE, ODD), (HARBOUR, {"tags": 5})):
        (number,) = library.changes.take()
        library.collections["videos"].update_one({"_id": video}, {"$set": {**values, "change_seq": number}})


def test_odd_values_are_stored_as_near_as_databases_can_and_a_broken_video_stops_no_other(
    library: Library, url: str
) -> None:
    mirror(library)
    make_odd(library)
    label(library, sha256_of(HOSTILE), "later")
    report = mirror(library)
    assert [one["id"] for one in report.failed] == [HARBOUR]
    assert query(url, "SELECT frame_rate, loudness_db FROM videos WHERE video = :video", video=RACE) == [(None, None)]
    ((text,),) = query(url, "SELECT description FROM videos WHERE video = :video", video=RACE)
    assert text == "\\x00" + ODD["description.text"][1:]
    assert query(url, "SELECT question, value FROM answers") == [
        ("q\\x00", '{"a": ["\\\\x00", null, 4611686018427387904]}')
    ]
    assert ("later",) in query(url, "SELECT label FROM labels")
    assert query(url, "SELECT category FROM videos WHERE video = :video", video=HARBOUR) == [("Documentary",)]
    library.collections["videos"].update_one({"_id": HARBOUR}, {"$set": {"tags": []}})
    assert mirror(library).written == {"videos": 1, "sources": 0}  # tried again although nothing has a new number


def test_what_cannot_be_encoded_is_written_out() -> None:
    stored = {"_id": "s", "url": "file:///a\x00b", "title": "half \ud83d", "labels": ["\udce9", {"\ud83d": ("\x00",)}]}
    row = source_row(stored, None)
    assert (row["title"], row["labels"]) == ("half \\ud83d", ["\\xe9", {"\\ud83d": ["\\x00"]}])
    assert "\x00" not in row["url"]
    json.dumps(row, default=str, ensure_ascii=False).encode()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("put", "forget", "label", "relabel", "source")), st.sampled_from(sorted(CONTENTS))),
        st.tuples(st.sampled_from(("mirror", "kill")), st.integers(1, 3)),
    ),
    max_size=12,
)


@profile(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_after_any_changes_and_kills_a_mirror_equals_one_that_is_written_again(
    library: Library, url: str, steps: list[tuple[str, Any]]
) -> None:
    check_equal_after(library, url, steps)


@pytest.mark.soak
@profile(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_after_many_more_changes_and_kills_it_does_too(
    library: Library, url: str, steps: list[tuple[str, Any]]
) -> None:
    check_equal_after(library, url, steps)


def check_equal_after(library: Library, url: str, steps: list[tuple[str, Any]]) -> None:
    apply(library, steps)
    mirror(library)
    updated = contents(url)
    assert updated == rebuilt(library, url)
    assert nothing_written(mirror(library))


def apply(library: Library, steps: list[tuple[str, Any]]) -> None:
    for number, (step, what) in enumerate(steps):
        sha256 = sha256_of(str(what))
        if step == "put":
            library.collections["tombstones"].delete_one({"_id": sha256})
            put(library, what)
        elif step == "forget":
            forget(library, [sha256], lambda _: None)
        elif step == "label" and library.videos.get(sha256):
            label(library, sha256, f"label {number}")
        elif step == "relabel":
            (change,) = library.changes.take()
            tags = [{"tag": f"tag {number}", "rule": "r", "given_by": "model", "confidence": 0.5}]
            library.collections["videos"].update_one({"_id": sha256}, {"$set": {"tags": tags, "change_seq": change}})
        elif step == "source":
            library.collections["sources"].update_one({"_id": sha256[:16]}, {"$set": {"attempts": number}})
        elif step == "mirror":
            mirror(library, batch=1)
        elif step == "kill":
            killed_after(library, what)


def killed_after(library: Library, batches: int) -> None:
    left = [None] * batches

    def progress(*_: object) -> None:
        left.pop()
        if not left:
            raise KeyboardInterrupt

    try:
        mirror(library, progress=progress, batch=1)
    except KeyboardInterrupt:
        return


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:////dev/null/mirror.db", "/dev/null/mirror.db"),
        ("postgresql://me:hunter2@localhost:port/x", "malformed"),
        ("", "is missing"),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    filled: Settings, address: str, said: str
) -> None:
    with (
        Library.open(mirrored_to(filled, address), GRAPH) as library,
        pytest.raises((SettingsError, UnavailableError)) as caught,
    ):
        mirror(library)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint
