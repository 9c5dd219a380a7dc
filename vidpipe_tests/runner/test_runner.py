"""The runner on a real mongod: what is current, due, blocked and failed, and that nothing is computed twice."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator

import pytest

from vidpipe.library.commits import MOST_ATTEMPTS
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings, configure_logging
from vidpipe.settings.schema import Concurrency, SceneDetection
from vidpipe.stages.events import NullObserver, StageEvent
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH, calls


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def add(library: Library, *names: str) -> list[str]:
    ids = []
    for name in names:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        library.videos.add(sha256, IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
        ids.append(sha256)
    return ids


def run(library: Library, *, settings: Settings | None = None, videos: list[str] | None = None,
        stages: list[str] | None = None, **options: object) -> RunReport:  # fmt: skip
    plan = Plan.make(GRAPH, settings or library.settings, stages)
    return Runner(library, plan).run(RunRequest(videos=videos, **options))  # type: ignore[arg-type]


def states(library: Library, settings: Settings | None = None) -> dict[str, dict[str, int]]:
    counts = library.states.counts(Plan.make(GRAPH, settings or library.settings).specs)
    return {stage: {state: n for state, n in by_state.items() if n} for stage, by_state in counts.items()}


def test_a_new_video_is_due_in_the_first_stage_and_blocked_in_the_others(library: Library) -> None:
    add(library, "ab")
    assert states(library) == {"length": {"due": 1}, "parts": {"blocked": 1}, "report": {"blocked": 1}}


def test_one_run_takes_every_video_through_all_stages_and_the_second_computes_nothing(library: Library) -> None:
    ids = add(library, *(f"{'x' * n}.mp4" for n in range(40)))
    report = run(library)
    assert report.ok
    assert report.total("computed") == 3 * 40
    assert states(library) == {stage: {"current": 40} for stage in GRAPH.names}
    before = list(library.collections["videos"].find().sort("_id", 1))
    again = run(library)
    assert again.ok
    assert again.videos == 0
    assert all(len(calls(library.settings, stage)) == 40 for stage in GRAPH.names)
    assert list(library.collections["videos"].find().sort("_id", 1)) == before
    given = run(library, videos=ids)
    assert given.total("current") == 3 * 40
    assert given.total("computed") == 0


def test_videos_in_progress_get_their_last_results_before_others_are_begun(library: Library) -> None:
    add(library, *(f"video-{n}" for n in range(40)))
    begun: list[str] = []

    class Watching(NullObserver):
        def on_event(self, event: StageEvent) -> None:
            if event.state == "started":
                begun.append(event.stage)

    settings = library.settings.model_copy(update={"concurrency": Concurrency(max_workers=1)})
    assert Runner(library, Plan.make(GRAPH, settings), Watching()).run().ok
    unfinished = [begun[:n].count("length") - begun[:n].count("report") for n in range(len(begun))]
    assert max(unfinished) <= GRAPH["length"].batch_size


def test_scene_documents_hold_what_each_stage_said_and_only_one_generation_stays(library: Library) -> None:
    (sha256,) = add(library, "ab")
    run(library)
    rows = library.videos.scenes([sha256])[sha256]
    assert [(row["index"], row["text"], row["said"]) for row in rows] == [
        (0, "part 0", "PART 0"),
        (1, "part 1", "PART 1"),
    ]
    assert library.collections["scenes"].count_documents({}) == 2


def test_a_changed_setting_makes_exactly_its_stage_due_and_an_equal_result_nothing_else(library: Library) -> None:
    add(library, "ab", "abc")
    run(library)
    changed = library.settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=5)})
    assert states(library, changed) == {"length": {"current": 2}, "parts": {"due": 2}, "report": {"current": 2}}
    run(library, settings=changed)
    assert states(library, changed) == {stage: {"current": 2} for stage in GRAPH.names}
    assert len(calls(library.settings, "parts")) == 4
    assert len(calls(library.settings, "report")) == 2, "parts gave the same data, so report had nothing to do"
    assert library.collections["scenes"].count_documents({"said": {"$exists": True}}) == 5


def test_a_changed_input_makes_only_the_readers_of_the_changed_field_due(library: Library) -> None:
    (sha256,) = add(library, "b.mp4")
    run(library)
    library.videos.add(sha256, IngestFacts(path="b", size_bytes=1, modified_ns=1, names=("ab.mp44",)))
    assert states(library)["length"] == {"due": 1}
    assert states(library)["report"] == {"current": 1}
    run(library)  # the first name has another length, but the same parity
    assert (len(calls(library.settings, "length")), len(calls(library.settings, "parts"))) == (2, 1)
    assert library.videos.get(sha256)["report"]["text"] == "7 letters"  # type: ignore[index]


def test_a_broken_video_does_not_stop_the_others_and_is_not_tried_again_by_itself(library: Library) -> None:
    add(library, "good", "evil", "fine")
    (library.settings.home / "broken-evil").touch()
    report = run(library)
    assert report.total("computed") == 6
    assert report.total("failed") == 1
    error = report.failures[0].error
    assert error is not None
    assert "evil" in error.message
    assert "stage length" in error.message
    assert states(library) == {
        "length": {"current": 2, "failed": 1},
        "parts": {"current": 2, "blocked": 1},
        "report": {"current": 2, "blocked": 1},
    }
    assert run(library).videos == 0
    (library.settings.home / "broken-evil").unlink()
    assert run(library, retry=True).total("computed") == 3
    assert states(library)["report"] == {"current": 3}


def test_each_computed_and_failed_stage_of_a_video_is_one_line_for_the_audit(library: Library) -> None:
    add(library, "good", "evil")
    (library.settings.home / "broken-evil").touch()
    configure_logging(library.settings)
    run(library)
    run(library)
    lines = (library.settings.home / "data" / "logs" / "audit.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert sorted((entry["name"], entry["stage"], entry["state"]) for entry in entries) == [
        ("evil", "length", "failed"), ("good", "length", "computed"), ("good", "parts", "computed"),
        ("good", "report", "computed"),
    ]  # fmt: skip
    assert {entry["event"] for entry in entries} == {"stage"}
    assert next(entry for entry in entries if entry["name"] == "evil")["error"].endswith("evil cannot be measured.")


def test_a_transient_failure_is_due_again_when_its_time_has_come(library: Library) -> None:
    (sha256,) = add(library, "slow")
    (library.settings.home / "busy-slow").touch()
    run(library)
    entry = library.videos.get(sha256)["stages"]["length"]  # type: ignore[index]
    assert entry["next_try_at"] > entry["at"]
    assert states(library)["length"] == {"failed": 1}
    library.collections["videos"].update_one({}, {"$set": {"stages.length.next_try_at": entry["at"]}})
    assert states(library)["length"] == {"due": 1}
    (library.settings.home / "busy-slow").unlink()
    assert run(library).total("computed") == 3


def test_a_transient_failure_that_lasts_becomes_final_and_says_so(library: Library) -> None:
    """No sensor may try it for ever; a person who asks for it gets as many tries again."""
    add(library, "slow")
    (library.settings.home / "busy-slow").touch()
    waits = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        report = run(library)
        (entry,) = (row["stages"]["length"] for row in library.collections["videos"].find())
        assert entry["attempts"] == attempt
        if "next_try_at" in entry:
            waits.append(entry["next_try_at"] - entry["at"])
            library.collections["videos"].update_one({}, {"$set": {"stages.length.next_try_at": entry["at"]}})
    assert len(waits) == MOST_ATTEMPTS - 1
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    for hint in (entry["error"]["hint"], report.failures[0].error.hint):  # type: ignore[union-attr]
        assert "failed 8 times and is not retried automatically any more; `vidpipe run --retry` retries it" in hint
    assert run(library).videos == 0
    run(library, retry=True)
    (entry,) = (row["stages"]["length"] for row in library.collections["videos"].find())
    assert (entry["attempts"], "next_try_at" in entry) == (1, True)


def test_a_result_that_is_the_same_again_leaves_no_trace_in_the_lineage(library: Library) -> None:
    add(library, "ab")
    run(library)
    before = library.collections["lineage"].count_documents({})
    assert run(library, force=frozenset({"length"})).total("computed") == 1
    assert library.collections["lineage"].count_documents({}) == before


def test_a_run_keeps_only_the_first_of_the_ids_that_are_no_videos(library: Library) -> None:
    report = run(library, videos=[hashlib.sha256(str(n).encode()).hexdigest() for n in range(1500)])
    assert (report.unknown_videos, len(report.unknown)) == (1500, 1000)
    assert not report.ok


def test_an_old_result_stays_when_a_new_attempt_fails(library: Library) -> None:
    (sha256,) = add(library, "ab")
    run(library)
    (library.settings.home / "broken-ab").touch()
    report = run(library, force=frozenset({"length"}), stages=["length"])
    assert report.total("failed") == 1
    document = library.videos.get(sha256)
    assert document is not None
    assert document["length"] == {"letters": 2, "parity": "even"}
    assert document["stages"]["length"]["status"] == "failed"


def test_a_bug_in_a_stage_fails_that_video_alone(library: Library) -> None:
    add(library, "aa", "bb", "cc", "dd")
    (library.settings.home / "bug-cc").touch()
    report = run(library)
    assert report.total("failed") == 1
    assert "unexpected RuntimeError: a bug" in str(report.failures[0].error)
    assert states(library)["report"] == {"current": 3, "blocked": 1}


def test_two_runs_at_once_share_the_work_and_double_nothing(library: Library) -> None:
    add(library, *(f"video-{n}" for n in range(150)))
    reports: list[RunReport] = []
    with Library.open(library.settings, GRAPH) as second:
        threads = [threading.Thread(target=lambda lib=lib: reports.append(run(lib))) for lib in (library, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert run(library).ok
    assert states(library) == {stage: {"current": 150} for stage in GRAPH.names}
    for stage in GRAPH.names:
        assert sorted(calls(library.settings, stage)) == sorted(set(calls(library.settings, stage)))


def test_an_older_run_cannot_overwrite_a_newer_result(library: Library) -> None:
    """While a stage works, the file gets a further name: what it made from the old names must not be kept."""
    (sha256,) = add(library, "zz")

    class AddsAName:
        def on_event(self, event: StageEvent) -> None:
            if event.state == "started" and event.stage == "length" and not called:
                called.append(event)
                library.videos.add(sha256, IngestFacts(path="zz", size_bytes=1, modified_ns=1, names=("a.mp4",)))

        def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...

    called: list[StageEvent] = []
    report = Runner(library, Plan.make(GRAPH, library.settings), AddsAName()).run()
    assert report.counts["length"]["discarded"] == 1
    assert states(library)["length"] == {"due": 1}
    assert run(library).ok
    assert library.videos.get(sha256)["length"]["letters"] == 5  # type: ignore[index]
    commits = library.collections["lineage"].count_documents({"kind": "commit", "stage": "length"})
    assert commits == 1


def test_a_run_that_began_earlier_leaves_alone_what_a_later_one_made_under_other_settings(library: Library) -> None:
    """Somebody changes a setting and starts a run, while the one before it is still at work."""
    add(library, *(f"video-{n}" for n in range(80)))
    newer = library.settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=5)})
    begun: list[StageEvent] = []

    class StartsAnother:
        def on_event(self, event: StageEvent) -> None:
            if not begun:
                begun.append(event)
                with Library.open(newer, GRAPH) as other:
                    assert run(other, settings=newer).total("computed") > 0

        def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...

    Runner(library, Plan.make(GRAPH, library.settings), StartsAnother()).run()
    made = len(calls(library.settings, "parts"))
    assert made == 80, "each was cut once, by one run or the other"
    assert run(library, settings=newer).ok
    assert states(library, newer) == {stage: {"current": 80} for stage in GRAPH.names}


def test_cancelling_stores_what_is_finished_and_gives_every_lease_back(library: Library) -> None:
    add(library, *(f"video-{n}" for n in range(100)))
    cancelled = threading.Event()

    class Stopper:
        def on_event(self, event: StageEvent) -> None:
            if event.state == "computed" and event.stage == "report":
                cancelled.set()

        def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...

    report = Runner(library, Plan.make(GRAPH, library.settings), Stopper(), cancelled=cancelled).run()
    assert report.interrupted
    assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
    assert run(library).ok
    assert states(library)["report"] == {"current": 100}
    assert len(calls(library.settings, "length")) == 100
