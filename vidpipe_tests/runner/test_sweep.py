"""What a changed rule leaves as it is is confirmed in bulk, with the same end as if every video were done by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.library.states import Revalidation, revalidate
from vidpipe.runner.plan import Plan, record_specs
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library import sample_library
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, NAMES, PLAIN, SHARP, write_rules

#: What differs between any two runs.
_OF_A_RUN = ("at", "commit", "run", "run_began", "seconds", "added_at", "change_seq")


@contextmanager
def opened(settings: Settings, graph: StageGraph = GRAPH) -> Iterator[Library]:
    """A library of its own, tagged under the rule LONG."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    mongodb = settings.mongodb.model_copy(update={"database_name": name})
    write_rules(settings, [LONG])
    with Library.open(settings.model_copy(update={"mongodb": mongodb}), graph) as library:
        try:
            for video in NAMES:
                sample_library.put(library, video)
            assert run(library).ok
            yield library
        finally:
            library.connection.client.drop_database(name)


def run(library: Library, observer: Any = None, cancelled: threading.Event | None = None,
        videos: list[str] | None = None, stages: list[str] | None = None) -> RunReport:  # fmt: skip
    plan = Plan.make(library.graph, library.settings, stages)
    record_specs(library, plan)
    more: dict[str, Any] = {"observer": observer} if observer else {}
    return Runner(library, plan, cancelled=cancelled or threading.Event(), sweep_size=8, **more).run(
        RunRequest(videos=videos)
    )


def plain(value: Any) -> Any:
    """`value` without what differs between any two runs."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in _OF_A_RUN}
    return [plain(item) for item in value] if isinstance(value, list) else value


def contents(library: Library) -> dict[str, list[Any]]:
    lineage = [{**row, "_id": ""} for row in library.collections["lineage"].find() if row["kind"] != "text"]
    return {
        "videos": [plain(row) for row in library.collections["videos"].find().sort("_id", 1)],
        "lineage": sorted((plain(row) for row in lineage), key=repr),
    }


def due(library: Library) -> dict[str, int]:
    counts = library.states.counts(Plan.make(library.graph, library.settings).specs)
    return {stage: by_state["due"] for stage, by_state in counts.items() if by_state["due"]}


class Following:
    def __init__(self) -> None:
        self.events: list[StageEvent] = []

    def on_event(self, event: StageEvent) -> None:
        self.events.append(event)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...


@pytest.mark.parametrize(
    "chosen", [None, [sample_library.sha256_of(name) for name in NAMES]], ids=["all due", "a list"]
)
def test_a_sweep_ends_as_if_every_video_were_done_by_itself(settings: Settings, chosen: list[str] | None) -> None:
    """Among them: a video that fails, one that is new, one whose file name changed."""
    after, told = [], []
    for graph in (GRAPH, PLAIN):
        with opened(settings, graph) as library:
            sample_library.put(library, sample_library.BROKEN)
            sample_library.MORE["new.mp4"] = sample_library.MORE[NAMES[0]]
            sample_library.put(library, "new.mp4")
            ids = [*chosen, *map(sample_library.sha256_of, (sample_library.BROKEN, "new.mp4"))] if chosen else None
            facts = IngestFacts(path="a", size_bytes=1, modified_ns=1, names=("harbour.mp4",))
            library.videos.add(sample_library.sha256_of(NAMES[3]), facts)
            write_rules(settings, [LONG, SHARP])
            follower = Following()
            report = run(library, follower, videos=ids)
            after.append(contents(library))
            events = Counter((event.sha256, event.stage, event.state, event.changed) for event in follower.events
                             if event.state != "started")  # fmt: skip
            told.append((events, report.counts, report.videos))
            assert report.counts["tags"]["computed"] == 43
            assert not due(library)
    assert after[0] == after[1]
    assert told[0] == told[1]
    tagged = [row for row in after[0]["videos"] if any(tag["tag"] == "Sharp" for tag in row.get("tags", ()))]
    assert len(tagged) == 7
    assert {row["category"]["category"] for row in tagged} == {"Sports"}


def test_only_what_comes_out_otherwise_is_leased_and_leaves_a_trace(settings: Settings) -> None:
    with opened(settings) as library:
        before = library.collections["lineage"].count_documents({"kind": "commit"})
        write_rules(settings, [LONG, SHARP])
        follower = Following()
        assert run(library, follower).ok
        started = {(event.sha256, event.stage) for event in follower.events if event.state == "started"}
        sharp = {sample_library.sha256_of(name) for name in NAMES[::7]}
        assert started == {(sha256, stage) for sha256 in sharp for stage in ("tags", "categories")}
        assert library.collections["lineage"].count_documents({"kind": "commit"}) == before + 2 * len(sharp)


@pytest.mark.parametrize("stages", [None, ["tags"]])
def test_a_cancelled_sweep_leaves_the_rest_due_and_the_next_ends_it(
    settings: Settings, stages: list[str] | None
) -> None:
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP], sports=["Long"])
        cancelled = threading.Event()

        class Stops(Following):
            def on_event(self, event: StageEvent) -> None:
                cancelled.set()

        assert run(library, Stops(), cancelled, stages=stages).interrupted
        left = due(library)["tags"]
        assert 0 < left < len(NAMES)
        assert run(library).ok
        assert not due(library)
        ended = contents(library)
    with opened(settings, PLAIN) as library:
        write_rules(settings, [LONG, SHARP], sports=["Long"])
        assert run(library).ok
        assert contents(library)["videos"] == ended["videos"]


def test_a_killed_sweep_leaves_the_rest_due_and_no_lease(settings: Settings, mongod_uri: str) -> None:
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP])
        module = "vidpipe_tests.runner.tagged_library"
        database = library.settings.mongodb.database_name
        command = [sys.executable, "-m", module, str(settings.home), database, "12"]
        environment = {**os.environ, "SMALL_RUN_URI": mongod_uri}
        done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=False)
        assert done.returncode == -9
        left = due(library)["tags"]
        assert 0 < left <= len(NAMES) - 8
        assert run(library).counts["tags"]["computed"] == left
        assert not due(library)
        assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
        ended = contents(library)
    with opened(settings, PLAIN) as library:
        write_rules(settings, [LONG, SHARP])
        assert run(library).ok
        assert contents(library)["videos"] == ended["videos"]


def test_a_video_that_another_run_holds_is_left_alone_and_stays_due(settings: Settings) -> None:
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP])
        held = sample_library.sha256_of(NAMES[1])
        with library.leases() as leases:
            assert leases.take([held], {"_id": 1})
            report = run(library)
            assert (report.busy, report.busy_videos) == ([held], 1)
        assert due(library) == {"tags": 1}


def test_a_rule_that_fails_for_one_video_is_narrowed_down_to_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored result of another shape, as an older version may have left it; only what changed rules read matters."""
    with opened(settings) as library:
        odd = sample_library.sha256_of(NAMES[5])
        library.collections["videos"].update_one({"_id": odd}, {"$set": {"scenes.duration_s": "long"}})
        write_rules(settings, [LONG, SHARP])
        assert run(library).ok
        write_rules(settings, [{**LONG, "metadata_conditions": [{"duration_gt": 31}]}, SHARP])
        report = run(library)
        assert [(event.sha256, event.stage) for event in report.failures] == [(odd, "tags")]
        assert report.counts["tags"] == {"computed": len(NAMES) - 1, "failed": 1}


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"stages.tags.commit": "of-another-run"},
        {"stages.tags.stale": True},
        {"stages.tags.spec": "of-another-run"},
        {"lease": {"owner": "somebody", "until": datetime.now(UTC) + timedelta(hours=1)}},
    ],
)
def test_what_changed_since_it_was_read_is_not_confirmed(settings: Settings, meanwhile: dict[str, Any]) -> None:
    with opened(settings) as library:
        videos = library.collections["videos"]
        ids = [sample_library.sha256_of(name) for name in NAMES[:3]]
        entries = {row["_id"]: row["stages"]["tags"] for row in videos.find({"_id": {"$in": ids}})}
        videos.update_one({"_id": ids[1]}, {"$set": meanwhile})
        made = Revalidation(
            "tags", "new", "run", datetime.now(UTC),
            seen={sha256: entry["commit"] for sha256, entry in entries.items()}, specs=[entries[ids[0]]["spec"]],
        )  # fmt: skip
        assert revalidate(videos, made) == {ids[0], ids[2]}
        assert revalidate(videos, made) == {ids[0], ids[2]}, "it may be repeated after a lost connection"
        specs = {row["_id"]: row["stages"]["tags"]["spec"] for row in videos.find({"_id": {"$in": ids}})}
        assert [specs[sha256] == "new" for sha256 in ids] == [True, False, True]
