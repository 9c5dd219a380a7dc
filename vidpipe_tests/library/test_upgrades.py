"""Homes and libraries of every schema version: what they hold stays, and they continue.

Each was made by the last program with that schema version (see `dumps/make.py`): a clip with sound, labels and a title,
one with subtitles, one that is damaged, one whose file was lost before it was processed, a source that does not exist
and one that was rejected.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection

from vidpipe.errors import UnavailableError
from vidpipe.library.connection import Connection, connect
from vidpipe.library.library import Library
from vidpipe.library.schema import COLLECTIONS, OF_THIS_SERVER, SCHEMA_VERSION
from vidpipe.library.schema_setup import LOCK, MIGRATIONS, pending, update_schema
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, init_home, load
from vidpipe.stages.registry import build_graph
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.library.older_homes import backup_of, home_of, load_library, versions

Document = dict[str, Any]

EVERY = pytest.mark.parametrize("version", versions())


def in_make_test(*fast: int) -> pytest.MarkDecorator:
    """Run for every version: `fast` ones in `make test`, the others in `make soak`."""
    return pytest.mark.parametrize(
        "version", [one if one in fast else pytest.param(one, marks=pytest.mark.soak) for one in versions()]
    )


#: Runs migrations until one has changed the documents, then dies.
_KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from pydantic import SecretStr
from vidpipe.library.connection import connect
from vidpipe.library.schema_setup import MIGRATIONS, update_schema
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.library.test_upgrades import names_of

def run_and_die(database, names):
    MIGRATIONS[step].run(database, names)
    os.kill(os.getpid(), signal.SIGKILL)

name, step = sys.argv[1], int(sys.argv[2])
mongodb = MongoDB(uri=SecretStr(os.environ["URI"]), database_name=name)
with connect(Settings(home=Path(os.environ["HOME_OF_TEST"]), mongodb=mongodb)) as connection:
    migrations = {**MIGRATIONS, step: replace(MIGRATIONS[step], run=run_and_die)}
    update_schema(connection.database, names_of(connection), GRAPH, migrations=migrations)
"""
CLIPS = {"harbour.mp4", "talk.mkv", "damaged.mkv", "lost.mp4"}
#: What is due after the upgrade. docs/upgrading.md says why.
_LABELS = ("tags", "categories")
_RESULTS = ("metadata", "scenes", "descriptions", *_LABELS)
DUE = {
    1: GRAPH.names, 2: (*_RESULTS, "sentiment"), 3: (*_RESULTS, "sentiment"), 4: _RESULTS, 5: _RESULTS,
    6: _LABELS, 7: _LABELS, 8: _LABELS, 9: _LABELS, 12: (),
}  # fmt: skip


def names_of(connection: Connection) -> dict[str, str]:
    return {name: connection.collection(name).name for name in COLLECTIONS}


def contents(connection: Connection) -> dict[str, dict[Any, Document]]:
    """Collection -> its documents by their ids."""
    return {name: {row["_id"]: row for row in connection.collection(name).find()} for name in COLLECTIONS}


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths at which something that was there is gone or different; what was added does not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from differences(value, after.get(name), f"{path}.{name}" if path else name)
    elif before != after:
        yield path


def indexes_of(collection: Collection[Document]) -> Document:
    """Name -> an index, but for the one that every collection has."""
    return {name: index for name, index in collection.index_information().items() if name != "_id_"}


@pytest.fixture
def old(version: int, settings: Settings) -> Iterator[Connection]:
    """A library as that version left it, in `settings.home`."""
    home_of(version, settings.home)
    with connect(settings) as connection:
        load_library(version, connection)
        yield connection


def command(settings: Settings) -> Command:
    """Today's command in that home."""
    return Command(
        settings.home,
        {
            "VIDPIPE_HOME": str(settings.home), "VIDPIPE_MONGODB_URI": settings.mongodb.uri.get_secret_value(),
            "VIDPIPE_MONGODB_DATABASENAME": settings.mongodb.database_name, "VIDPIPE_DOWNLOAD_RETRIES": "0",
        },
    )  # fmt: skip


@pytest.fixture
def vidpipe(version: int, old: Connection, settings: Settings) -> Command:
    """Today's command in the home of that version."""
    return command(settings)


def test_there_is_a_dump_of_every_version_that_somebody_can_have() -> None:
    """Versions 10 and 11 were never released nor committed: the commit that introduced 12 replaced 9."""
    assert versions() == [version for version in range(1, SCHEMA_VERSION + 1) if version not in (10, 11)]


@in_make_test(1, 9)
def test_nothing_is_lost_and_the_indexes_are_those_of_a_new_library(
    version: int, old: Connection, settings: Settings, target: Settings
) -> None:
    before = contents(old)
    with Library.open(settings, GRAPH) as library:
        after = contents(old)
        assert after["meta"]["schema"]["version"] == SCHEMA_VERSION
        assert not [name for name in COLLECTIONS if before[name].keys() - after[name].keys()]
        forgotten = {id for id, row in before["sources"].items() if row["state"] == "forgotten"}
        assert not any(after["sources"][id]["url"] for id in forgotten)
        changed = [path for name in COLLECTIONS if name != "meta" for path in differences(before[name], after[name])]
        applied = {"stages.tags.stale", "stages.categories.stale"} if version in (8, 9) else set()
        assert {path.partition(".")[2] for path in changed if path.partition(".")[0] not in forgotten} == applied, (
            "verdicts are applied"
        )
        assert {row["ingest"]["names"][0] for row in after["videos"].values()} == CLIPS
        states = Counter(row["state"] for row in after["sources"].values())
        assert states.pop("forgotten", 0) == (version >= 6)
        assert states == {"gone" if version >= 9 else "failed": 1, "refused": 1, "stored": 4}
        harbour = library.videos.get(library.videos.resolve("harbour.mp4")) or {}
        assert (harbour["ingest"]["labels"], harbour["ingest"]["titles"]) == (["2026", "talks"], ["CityAtNight"])
        lost = library.videos.get(library.videos.resolve("lost.mp4")) or {}
        assert lost["stages"]["raw_video"]["status"] == "failed"
        assert "cannot be read" in lost["stages"]["raw_video"]["error"]["message"]
        with Library.open(target, GRAPH) as new:
            # No backup, and so no dump, has those of the server; a migration creates their indexes.
            for name in set(COLLECTIONS).difference(OF_THIS_SERVER if version == SCHEMA_VERSION else ()):
                mine, todays = (one.collections[name] for one in (library, new))
                # A collection exists once it has a document or an index.
                assert indexes_of(mine) == indexes_of(todays), name
                assert mine.options() == todays.options(), name


@in_make_test(9)
def test_opening_it_again_changes_nothing(version: int, old: Connection, settings: Settings) -> None:
    Library.open(settings, GRAPH).close()
    before = contents(old)
    assert pending(old.database, names_of(old), GRAPH).nothing
    Library.open(settings, GRAPH).close()
    assert contents(old) == before


@pytest.mark.parametrize("version", [1])
@pytest.mark.parametrize(
    "step", [step if step == 4 else pytest.param(step, marks=pytest.mark.soak) for step in MIGRATIONS]
)
def test_a_migration_that_is_killed_continues(
    version: int, step: int, old: Connection, settings: Settings, target: Settings
) -> None:
    """Killed when a step has changed the documents, and before it is noted as done: it is repeated."""
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, settings.mongodb.database_name, str(step)],
        env={**os.environ, "URI": settings.mongodb.uri.get_secret_value(), "HOME_OF_TEST": str(settings.home)},
        check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert pending(old.database, names_of(old), GRAPH).version == step
    Library.open(settings, GRAPH).close()
    with connect(target) as undisturbed:
        load_library(version, undisturbed)
        update_schema(undisturbed.database, names_of(undisturbed), GRAPH)
        expected, found = contents(undisturbed), contents(old)
    assert found["meta"].pop("schema") == expected["meta"].pop("schema")
    assert LOCK not in found["meta"]
    assert {name: found[name] for name in found if name != "meta"} == {
        name: expected[name] for name in expected if name != "meta"
    }


@EVERY
def test_settings_rules_and_prompts_of_every_version_load(version: int, tmp_path: Path) -> None:
    """What they leave out has its default, and none of their settings was renamed or removed."""
    home = home_of(version, tmp_path / "home")
    loaded = load(home, environ={})
    assert not loaded.notices
    assert not [entry.key.label for entry in loaded.entries() if entry.differs]
    plan = Plan.make(build_graph(loaded.settings), loaded.settings)
    assert not plan.unavailable
    assert plan.specs.keys() == set(GRAPH.names)


@pytest.mark.parametrize("version", [SCHEMA_VERSION])
def test_an_older_program_refuses_the_library_of_a_newer_one(version: int, old: Connection, settings: Settings) -> None:
    """Today's code, as the program before the last migration."""
    older = {since: migration for since, migration in MIGRATIONS.items() if since < version - 1}
    before = contents(old)
    with pytest.raises(UnavailableError, match=rf"schema version {version}; .* supports up to version {version - 1}"):
        Library.open(settings, GRAPH, older)
    assert contents(old) == before


@in_make_test(9)
def test_a_home_continues_and_recomputes_only_what_has_changed_since(
    version: int, vidpipe: Command, tmp_path: Path
) -> None:
    states = vidpipe.json("status")["stages"]
    assert {stage for stage, of in states.items() if of["due"]} == set(DUE[version])
    assert {stage: of["current"] for stage, of in states.items() if of["current"]} == {
        stage: 3 for stage in GRAPH.names if stage not in DUE[version]
    }
    # Of a failed stage whose code has changed, the video is due again; its file is still missing.
    report = vidpipe.json("run", code=1 if "raw_video" in DUE[version] else 0)
    computed = {stage for stage, of in report["stages"].items() if of["computed"]}
    assert {*DUE[version]} <= computed <= {*DUE[version], *(["sentiment"] if "descriptions" in DUE[version] else [])}
    states = vidpipe.json("status")["stages"]
    assert {stage: of["current"] for stage, of in states.items()} == dict.fromkeys(GRAPH.names, 3)
    assert states["raw_video"]["failed"] == 1
    assert vidpipe.json("run")["videos"] == 0

    shown = vidpipe.json("show", "harbour.mp4")
    assert (shown["sources"][0]["title"], shown["description"]["model"]) == ("CityAtNight", "statistics")
    assert vidpipe.json("show", "lost.mp4")["description"] is None
    assert "Short Clip" in vidpipe("explain", "talk.mkv").output
    assert "talk.mkv" in vidpipe("search", "lighthouse").output
    assert vidpipe("export", tmp_path / "exported", "--format", "json").exit_code == 0
    assert len(list((tmp_path / "exported").glob("*.json"))) == 4
    for reading in (("list",), ("stats",), ("history", "harbour.mp4")):
        assert vidpipe(*reading).exit_code == 0, reading
    assert vidpipe("privacy", "report").exit_code == 0
    assert (version >= 7) == (vidpipe("search", "saved:towers").exit_code == 0)
    verdicts = vidpipe.json("verdict")["verdicts"]
    assert [(one["tag"], one["verdict"], one["by"]) for one in verdicts] == [("Short Clip", "no", "ada")] * (
        version >= 8
    )
    assert ("Short Clip" in {tag["tag"] for tag in shown["tags"]}) == (version < 8)
    # One of the videos has no tags and no category yet.
    assert vidpipe("verdict", "harbour.mp4", "Short Clip", "yes").exit_code == 0


@in_make_test(1)
def test_a_backup_of_every_version_is_restored(version: int, settings: Settings, tmp_path: Path) -> None:
    init_home(settings.home)
    vidpipe = command(settings)
    restored = vidpipe.json("restore", backup_of(version, tmp_path / "2026-01-01T00-00-00Z"), "--settings")
    assert len(restored["migrations"]) == SCHEMA_VERSION - version
    assert vidpipe.json("migrate")["steps"] == []
    assert vidpipe.json("show", "harbour.mp4")["description"]["text"]
