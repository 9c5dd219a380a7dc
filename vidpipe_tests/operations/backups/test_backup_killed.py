"""Back-ups and restores that end by kill -9, or on a server that cannot rename: nothing is ever half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.manifest import BackupError
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, fill
from vidpipe_tests.operations.backups.backup_round_trip import backed_up, everything, restored

_PASSWORD = "pw"  # noqa: S105 - of a user that lives as long as a test

#: A process that ends by kill -9 when a part of the work is reached, or after a command of the server has succeeded.
_KILLED = """
import os, signal, sys
from pathlib import Path
from pydantic import SecretStr
from pymongo import monitoring
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.backup import back_up
from vidpipe.operations.backups.restore import restore
from vidpipe.library.connection import connect
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.library.sample_library import GRAPH

what, home, database, collection, folder, moment = sys.argv[1:]

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

class Listener(monitoring.CommandListener):
    renamed = 0
    def started(self, event): ...
    def failed(self, event): ...
    def succeeded(self, event):
        if event.command_name == "renameCollection":
            self.renamed += 1
            if f"rename {self.renamed}" == moment:
                die()

monitoring.register(Listener())
uri = SecretStr(os.environ["URI"])
settings = Settings(home=Path(home), mongodb=MongoDB(uri=uri, database_name=database, collection_name=collection))
monitor = manifests.ProgressMonitor(lambda part, done, total: die() if part == moment else None)
with connect(settings) as connection:
    if what == "backup":
        back_up(connection, settings, GRAPH, Path(folder), monitor=monitor)
    else:
        restore(connection, settings, GRAPH, *manifests.read(Path(folder)), replace=True, monitor=monitor)
"""


def killed(what: str, settings: Settings, folder: Path, moment: str) -> None:
    mongodb = settings.mongodb
    names = (str(settings.home), mongodb.database_name, mongodb.collection_name)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, what, *names, str(folder), moment],
        env={**os.environ, "URI": mongodb.uri.get_secret_value()}, check=False,
        cwd=Path(__file__).parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_back_up_never_looks_whole_and_the_next_one_clears_it_away(library: Library, backups: Path) -> None:
    killed("backup", library.settings, backups, "lineage")
    (left,) = (path for path in backups.iterdir() if path.is_dir())
    assert left.name.endswith(".part")
    for directory in (backups, left):
        with pytest.raises(BackupError, match="only an incomplete one"):
            manifests.read(directory)
    done = backed_up(library, backups)
    assert [path for path in backups.iterdir() if path.is_dir()] == [done.path]


@pytest.mark.parametrize("moment", ["scenes", "lineage", "files"])
def test_a_restore_killed_while_it_loads_leaves_the_old_library(
    library: Library, target: Settings, backups: Path, moment: str
) -> None:
    backed_up(library, backups)
    with Library.open(target, GRAPH) as there:
        fill(there, "race.mkv")
        before = everything(there)
    killed("restore", target, backups, moment)
    with Library.open(target, GRAPH) as there:
        assert everything(there) == before
        restored(target, backups, replace=True)
        assert everything(there) == everything(library)
        assert not [name for name in there.connection.database.list_collection_names() if "_restore_" in name]


@pytest.mark.parametrize("moment", ["rename 2", "rename 4", "rename 9", "rename 10"])
def test_a_restore_killed_while_it_replaces_is_finished_by_whoever_opens_the_library(
    library: Library, target: Settings, backups: Path, moment: str
) -> None:
    """The first rename is the try whether the server can."""
    backed_up(library, backups)
    with Library.open(target, GRAPH) as there:
        fill(there, "broken.mp4", "race.mkv")
        epoch = there.changes.state().epoch
    killed("restore", target, backups, moment)
    with Library.open(target, GRAPH) as there:
        assert everything(there) == everything(library)
        assert there.changes.state().epoch != epoch
        names = {collection.name for collection in there.collections.values()}
        assert set(there.connection.database.list_collection_names()) <= names, "nothing is left over"


@pytest.fixture
def without_rename(target: Settings, mongod_uri: str) -> Iterator[Settings]:
    """A user who may do everything but rename and drop, as on a server that cannot."""
    name = target.mongodb.database_name
    actions = [
        "find", "insert", "update", "remove", "createCollection", "createIndex", "dropIndex",
        "listCollections", "listIndexes", "collStats",
    ]  # fmt: skip
    with MongoClient[dict[str, Any]](mongod_uri) as client:
        privileges = [{"resource": {"db": name, "collection": ""}, "actions": actions}]
        client[name].command("createRole", "no_rename", privileges=privileges, roles=[])
        client[name].command("createUser", "plain", pwd=_PASSWORD, roles=["no_rename"])
        uri = f"mongodb://plain:{_PASSWORD}@127.0.0.1:{urlsplit(mongod_uri).port}/?authSource={name}"
        yield target.model_copy(update={"mongodb": target.mongodb.model_copy(update={"uri": SecretStr(uri)})})
        client[name].command("dropUser", "plain")
        client[name].command("dropRole", "no_rename")


def test_where_nothing_can_be_renamed_a_half_loaded_library_says_so(
    library: Library, without_rename: Settings, backups: Path
) -> None:
    backed_up(library, backups)
    restored(without_rename, backups)
    with Library.open(without_rename, GRAPH) as there:
        assert everything(there) == everything(library)
        epoch = there.changes.state().epoch
    killed("restore", without_rename, backups, "scenes")
    with pytest.raises(UnavailableError, match="is incomplete"):
        Library.open(without_rename, GRAPH)
    restored(without_rename, backups, replace=True)
    with Library.open(without_rename, GRAPH) as there:
        assert everything(there) == everything(library)
        assert there.changes.state().epoch != epoch
        (number,) = there.changes.take()
        assert number > max(row["change_seq"] for row in everything(there)["videos"])
