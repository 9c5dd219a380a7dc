"""The files of the search index: when they are made anew, who shares them, where they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tantivy import Query

from vidpipe.errors import UnavailableError
from vidpipe.library.changes import COUNTER
from vidpipe.library.library import Library
from vidpipe.search.catch_up import State
from vidpipe.search.documents import MOMENT, VIDEO, moment_of, moment_path
from vidpipe.search.fields import Fields
from vidpipe.search.index import SearchIndex, rebuild
from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES, Analyses
from vidpipe.stages.registry import build_graph
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, fill, put
from vidpipe_tests.search.indexed import HARBOUR, RACE, Notes, count, generations, label, labelled, saying


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as library:
        fill(library)
        yield library


def test_a_first_search_builds_the_index_and_says_so(library: Library) -> None:
    notes, steps = Notes(), []
    with SearchIndex.open(library, note=notes, progress=lambda done, total: steps.append((done, total))) as index:
        assert notes == ["Building the search index: there is none yet."]
        assert steps[-1] == (3, 3)
        assert count(index, VIDEO) == len(CONTENTS)
        assert count(index, MOMENT) == sum(len(video["scenes"]) + bool(video["cue"]) for video in CONTENTS.values())
        assert set(index.languages) >= {"eng", "plain"}
        assert labelled(index, "motor sport") == {RACE}
        assert saying(index, "scene", "lighthous") == {HARBOUR}
    notes.clear()
    SearchIndex.open(library, note=notes)
    assert notes == []


def test_moments_have_their_times(library: Library) -> None:
    index = SearchIndex.open(library)
    query = Query.term_query(index.schema, moment_path("scene", "eng"), "leav")
    hits = [index.searcher.doc(address) for _, address in index.searcher.search(query).hits]
    (moment,) = map(moment_of, hits)
    assert (moment["video"], moment["start_s"], moment["end_s"]) == (HARBOUR, 200.0, 600.0)


def test_its_shape_does_not_depend_on_the_enabled_analyses(settings: Settings) -> None:
    versions = set()
    for enabled in ((), ("objects", "speech"), ANALYSES):
        changed = settings.model_copy(update={"analyses": Analyses(enabled=enabled)})
        fields = Fields(build_graph(changed))
        versions.add(fields.version)
        assert set(fields.unfilled.values()) <= set(ANALYSES) - set(enabled)
        assert bool(fields.vectors) == ("meaning" in enabled)
    assert len(versions) == 1


def test_a_replaced_library_is_indexed_anew(library: Library) -> None:
    notes = Notes()
    index = SearchIndex.open(library, note=notes)
    library.changes.restart()
    library.collections["videos"].delete_one({"_id": RACE})
    index.refresh()
    assert notes[1:] == ["Building the search index: the library was replaced."]
    assert count(index, VIDEO) == 2


def test_a_library_whose_files_were_replaced_by_older_ones_is_indexed_anew(library: Library) -> None:
    notes = Notes()
    index = SearchIndex.open(library, note=notes)
    library.collections["meta"].update_one({"_id": COUNTER}, {"$inc": {"seq": -1}})
    label(library, RACE, "Monza")  # has a number that another change had
    library.collections["meta"].update_one({"_id": COUNTER}, {"$inc": {"seq": -3}})
    index.refresh()
    assert notes[1:] == ["Building the search index: the library was replaced."]
    assert labelled(index, "monza") == {RACE}


def test_two_libraries_that_share_a_home_have_an_index_each(library: Library) -> None:
    mongodb = library.settings.mongodb
    others = (mongodb.model_copy(update=change) for change in (
        {"collection_name": "other"}, {"database_name": f"{mongodb.database_name}2"},
    ))  # fmt: skip
    for settings in [library.settings.model_copy(update={"mongodb": other}) for other in others]:
        try:
            with Library.open(settings, GRAPH) as other:
                put(other, "race.mkv")
                notes = Notes()
                for _ in range(2):
                    assert count(SearchIndex.open(other, note=notes), VIDEO) == 1
                    assert count(SearchIndex.open(library, note=notes), VIDEO) == 3
                assert all(text.endswith("there is none yet.") for text in notes)
        finally:
            if settings.mongodb.database_name != mongodb.database_name:
                library.connection.database.client.drop_database(settings.mongodb.database_name)


def test_two_homes_that_share_a_library_have_an_index_each(library: Library, tmp_path: Path) -> None:
    index = SearchIndex.open(library)
    shutil.copytree(library.settings.home, tmp_path / "copy")
    notes = Notes()
    with Library.open(library.settings.model_copy(update={"home": tmp_path / "copy"}), GRAPH) as other:
        label(library, RACE, "Monza")
        copy = SearchIndex.open(other, note=notes)
        index.refresh()
        assert labelled(copy, "monza") == labelled(index, "monza") == {RACE}
    assert notes == []


def test_an_index_of_another_version_is_built_again(library: Library) -> None:
    running = SearchIndex.open(library)
    (generation,) = generations(library)
    replace(State.load(generation), version="0").save(generation)
    with pytest.raises(UnavailableError, match="another version") as error:
        running.refresh()
    assert "Restart" in error.value.hint
    assert generations(library) == [generation], "one that runs for long does not replace it"
    notes = Notes()
    index = SearchIndex.open(library, note=notes)
    assert notes == ["Building the search index: it was made by another version."]
    assert count(index, VIDEO) == len(CONTENTS)
    assert len(generations(library)) == 1
    assert generations(library) != [generation]


def test_a_damaged_index_is_built_again(library: Library) -> None:
    SearchIndex.open(library)
    for file in ("../current", "state.json", "meta.json", ".managed.json", "*.store", "*.fast", "*.term"):
        for damage in ("missing", "empty", "cut"):
            (generation,) = generations(library)
            (path,) = [generation / file] if "*" not in file else generation.glob(file)
            content = path.read_bytes()
            path.unlink()
            if damage != "missing":
                path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
            label(library, HARBOUR, f"{file} {damage}")
            index = SearchIndex.open(library)
            assert labelled(index, f"{file} {damage}") == {HARBOUR}
            assert count(index, VIDEO) == len(CONTENTS)
            assert len(generations(library)) == 1


def test_an_index_in_use_may_be_built_again(library: Library) -> None:
    serving = SearchIndex.open(library)
    seen = []

    def meanwhile(done: int, total: int) -> None:
        label(library, HARBOUR, "Lisbon")
        serving.refresh()
        seen.append(labelled(serving, "lisbon"))

    rebuild(library, progress=meanwhile)
    assert seen == [{HARBOUR}]
    assert saying(serving, "scene", "lighthous") == {HARBOUR}  # its files are deleted, but open
    assert labelled(SearchIndex.open(library), "lisbon") == {HARBOUR}
    label(library, RACE, "Monza")
    serving.refresh()
    assert labelled(serving, "monza") == {RACE}
    assert len(generations(library)) == 1


def test_a_folder_that_cannot_be_written_is_named(library: Library) -> None:
    library.settings.index_directory.parent.mkdir(exist_ok=True)
    library.settings.index_directory.write_text("not a folder")
    with pytest.raises(UnavailableError, match=str(library.settings.index_directory)):
        SearchIndex.open(library)


def _mounted(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
    parts = [psutil._ntuples.sdiskpart("server:/x", place, kind, "") for place, kind in kinds.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)


def test_the_index_is_on_a_local_disk(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = library.settings.home
    assert library.settings.index_directory.parent == home / "data" / "index"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _mounted(monkeypatch, **{"/": "ext4", str(home): "nfs4"})
    assert library.settings.index_directory.is_relative_to(tmp_path / "cache" / "vidpipe" / "index")
    index = SearchIndex.open(library)
    assert index.status().network == "nfs4"
    assert (count(index, VIDEO), (home / "data" / "index").exists()) == (len(CONTENTS), False)
    shutil.rmtree(tmp_path / "cache")
    _mounted(monkeypatch, **{"/": "nfs4"})
    with pytest.raises(UnavailableError, match="nfs4"):
        SearchIndex.open(library)


def test_an_index_that_another_process_has_just_begun_is_kept(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, built = SearchIndex(library), list[Path]()

    def found_before() -> str:
        monkeypatch.undo()
        SearchIndex.open(library)
        built.extend(generations(library))
        return "there is none yet"

    monkeypatch.setattr(late, "load", found_before)
    late.refresh()
    assert generations(library) == built
    assert count(late, VIDEO) == 3
