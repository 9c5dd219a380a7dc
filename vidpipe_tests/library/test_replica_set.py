"""A replica set of three members: what was acknowledged survives its primary, and a run goes on across the election."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from vidpipe.library.capabilities import capabilities
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.library.queries.show import views
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.stages.events import StageEvent
from vidpipe_tests.library.replica_set import ReplicaSet, replica_set
from vidpipe_tests.library.sample_library import CONTENTS, GRAPH, plan_of, put

_OF_THE_RUN = {"at", "run", "seconds", "added_at"}
#: Enough for some seconds of work.
NAMES = [f"{number:03d}-{name}" for number in range(40) for name in CONTENTS]


@pytest.fixture(scope="module", autouse=True)
def _library_of_many() -> Iterator[None]:
    more = {name: CONTENTS[name[4:]] for name in NAMES}
    CONTENTS.update(more)
    yield
    for name in more:
        del CONTENTS[name]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with replica_set(tmp_path_factory.mktemp("members")) as running:
        yield running


@pytest.fixture
def remote(members: ReplicaSet, home: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings for a database of the test's own on the replica set."""
    name = f"test_{abs(hash(request.node.name)):x}"[:38]
    return Settings(home=home, mongodb=MongoDB(uri=SecretStr(members.uri), database_name=name, timeout_s=5))


@dataclass
class KillsPrimary:
    """An observer that kills the primary in the middle of a run, from a thread of its own as fate does."""

    members: ReplicaSet
    after: int
    seen: int = 0
    killed: list[int] = field(default_factory=list)
    states: set[str] = field(default_factory=set)

    def on_event(self, event: StageEvent) -> None:
        self.states.add(event.state)
        self.seen += event.state == "computed"
        if self.seen >= self.after and not self.killed:
            self.killed.append(self.members.wait_for_primary())
            threading.Thread(target=self.members.kill_primary).start()

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...


def contents(library: Library) -> list[Any]:
    """Everything that is shown of every video, without times and run ids."""
    ids = sorted(row["_id"] for row in library.collections["videos"].find({}, {"_id": 1}))
    return [_steady(found) for found in views(library, ids, plan_of(library).specs)]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(entry) for name, entry in value.items() if name not in _OF_THE_RUN}
    return [_steady(entry) for entry in value] if isinstance(value, list | tuple) else value


def counts(library: Library) -> dict[str, int]:
    return {name: library.collections[name].count_documents({}) for name in ("videos", "scenes", "answers", "lineage")}


def test_it_is_known_for_what_it_is_and_a_majority_confirms_writes(remote: Settings) -> None:
    with connect(remote) as connection:
        found = capabilities(connection)
        assert (found.replica_set, found.members, found.writable) == ("members", 3, True)
        assert found.latency_ms > 0
        concern = connection.collection("videos").write_concern.document
        assert concern["w"] == "majority"
        assert concern["wtimeout"] > 0
        options = connection.client.options
        assert options.retry_writes
        assert options.retry_reads
        assert options.pool_options.max_pool_size == remote.mongodb.max_pool_size


def test_a_run_goes_on_when_the_primary_is_killed_and_its_result_is_that_of_an_undisturbed_one(
    members: ReplicaSet, remote: Settings, settings: Settings
) -> None:
    with Library.open(settings, GRAPH) as library:
        for name in NAMES:
            put(library, name)
        Runner(library, plan_of(library)).run()
        undisturbed, in_numbers = contents(library), counts(library)
    with Library.open(remote, GRAPH) as library:
        for name in NAMES:
            put(library, name)
        observer = KillsPrimary(members, after=len(NAMES))
        report = Runner(library, plan_of(library), observer).run()
        assert observer.killed, "the run was over before its primary was killed"
        assert members.wait_for_primary() not in observer.killed
        assert observer.states == {"started", "computed"}, "nothing failed, nothing was discarded"
        assert report.videos == len(NAMES)
        assert contents(library) == undisturbed
        assert counts(library) == in_numbers, "nothing was stored twice, nothing is left over"
        assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
    members.start_again(observer.killed[0])


def test_what_ingest_and_sensors_ask_survives_an_election(members: ReplicaSet, remote: Settings) -> None:
    with Library.open(remote, GRAPH) as library:
        for name in NAMES[:20]:
            put(library, name)
        specs = plan_of(library).specs
        gone = members.kill_primary()
        assert len(library.retry(lambda: library.states.due(specs))) == 20
        put(library, NAMES[20])
        assert library.sources.counts() == {"stored": 21}
        assert members.wait_for_primary() != gone
    members.start_again(gone)
