"""What Dagster shows of each video: new results, why there is no result, and what to do; queried as its page does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.cli import execute_query

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.pipeline.clean_up import clean_up_job
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.pipeline.test_jobs import failure, run_job
from vidpipe_tests.pipeline.test_process import GREEN, RED, colors, failed_videos, materializations
from vidpipe_tests.runner.small_graph import GRAPH, calls

Add = Callable[..., list[str]]

#: As the page of a partition asks.
_HISTORY = """
query ($stage: String!, $partition: String!) {
  assetOrError(assetKey: {path: [$stage]}) {
    ... on Asset {
      assetEventHistory(partitions: [$partition], eventTypeSelectors: [MATERIALIZATION, OBSERVATION], limit: 10) {
        results {
          __typename
          ... on ObservationEvent { description metadataEntries {
            label
            ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
            ... on TimestampMetadataEntry { timestamp }
          } }
        }
      }
    }
  }
}
"""


def explained(dagster: dg.DagsterInstance, stage: str, sha256: str) -> list[dict[str, Any]]:
    """The metadata of a partition's observations, the last one first."""
    with WorkspaceProcessContext(dagster, None) as context:
        answer = execute_query(context, _HISTORY, {"stage": stage, "partition": sha256})
    assert "errors" not in answer, answer
    events = answer["data"]["assetOrError"]["assetEventHistory"]["results"]
    return [
        {entry["label"]: next((entry[kind] for kind in ("text", "intValue", "timestamp") if kind in entry), None)
         for entry in event["metadataEntries"]}
        for event in events if event["__typename"] == "ObservationEvent"
    ]  # fmt: skip


def test_a_failed_partition_says_why_what_to_do_and_when_it_is_tried_again(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    evil, slow = add("evil", "slow")
    add_videos(dagster, [evil, slow])
    (settings.home / "broken-evil").touch()
    (settings.home / "busy-slow").touch()
    assert not run_job(dagster, settings, "prepare", [evil, slow]).success
    (said,) = explained(dagster, "length", evil)
    assert said == {
        "error": f"video {evil[:12]} cannot be measured.", "what_to_do": "Mend it.",
        "stage": "length", "status": "failed", "attempts": 1,
    }  # fmt: skip
    (said,) = explained(dagster, "length", slow)
    entry = library.videos.get(slow)["stages"]["length"]  # type: ignore[index]
    assert said["next_try"] == pytest.approx(entry["next_try_at"].timestamp(), abs=1)


def test_a_blocked_partition_says_which_stage_it_waits_for_and_why(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    evil, fresh = add("evil", "fresh")
    add_videos(dagster, [evil, fresh])
    (settings.home / "broken-evil").touch()
    run_job(dagster, settings, "prepare", [evil, evil])
    assert colors(dagster, "parts", [evil]) == [RED]
    (said,) = explained(dagster, "parts", evil)
    assert said["error"] == f"It waits for length, which failed: video {evil[:12]} cannot be measured."
    assert (said["what_to_do"], said["waits_for"]) == ("Mend it.", "length")
    (said,) = explained(dagster, "report", evil)
    assert said["waits_for"] == "length", "told of a step that nobody has launched, too"
    run_job(dagster, settings, "label", [evil, fresh])
    for said in explained(dagster, "report", evil):
        assert said["waits_for"] == "length", "the first stage that is missing, not the one between"
    (said,) = explained(dagster, "report", fresh)
    assert said["error"] == "It waits for length, which has not run yet."


def test_partitions_of_a_quarantined_a_busy_and_an_unknown_video_say_so(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    bad, busy = add("bad", "busy")
    unknown = "ab" * 32
    add_videos(dagster, [bad, busy, unknown])
    error = {"message": "It crashed the process 3 times.", "hint": "Try it again.", "transient": False}
    spec = Plan.make(GRAPH, settings).specs["length"]
    quarantined = {"status": "quarantined", "spec": spec, "error": error, "attempts": 1}
    library.collections["videos"].update_one(
        {"_id": bad}, {"$set": {f"stages.length.{name}": value for name, value in quarantined.items()}}
    )
    config = {"ops": {"prepare_videos": {"config": {"retry": False}}}}
    with library.leases() as leases:
        leases.take([busy], {"_id": 1})
        run_job(dagster, settings, "prepare", [bad, unknown], run_config=config)
    (said,) = explained(dagster, "length", bad)
    assert (said["error"], said["status"]) == ("It crashed the process 3 times.", "quarantined")
    for stage in ("length", "parts"):
        (said,) = explained(dagster, stage, busy)
        assert said["error"] == "Another run is processing this video."
        (said,) = explained(dagster, stage, unknown)
        assert said["error"] == "There is no such video in the library."


def test_an_outcome_that_stays_the_same_is_not_materialised_again(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("ab", "abc")
    run_process(settings, graph=GRAPH, library=library)
    assert len(materializations(dagster, "parts")) == 2
    changed = settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=5)})
    assert run_process(changed, graph=GRAPH, library=library).counts["parts"]["computed"] == 2
    assert len(materializations(dagster, "parts")) == 2
    library.videos.add(ids[0], IngestFacts(path="ab", size_bytes=1, modified_ns=1, names=("aaa",)))
    assert run_process(changed, graph=GRAPH, library=library).total("computed") == 3
    assert len(materializations(dagster, "parts")) == 3, "another name gave other parts"


def test_what_dagster_has_not_heard_of_becomes_green(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    """Computed before Dagster knew of it, as after a lost history; then computed again, to the same."""
    ids = add("ab", "abc")
    Runner(library, Plan.make(GRAPH, settings)).run()
    assert colors(dagster, "length", ids) == [None, None]
    changed = settings.model_copy(update={"scene_detection": SceneDetection(default_threshold=5)})
    run_process(changed, RunRequest(videos=ids), graph=GRAPH, library=library)
    for stage in GRAPH.names:
        assert colors(dagster, stage, ids) == [GREEN, GREEN]
    (made, _) = materializations(dagster, "length")
    assert (made.metadata["work"].value, "dagster/data_version" in (made.tags or {})) == ("cached", True)


def test_the_clean_up_shows_what_a_killed_run_did_not_tell(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("ab", "evil")
    (settings.home / "broken-evil").touch()
    Runner(library, Plan.make(GRAPH, settings)).run()
    resources = {"library": LibraryResource(home=str(settings.home))}
    assert clean_up_job(GRAPH).execute_in_process(instance=dagster, resources=resources).success
    for stage in GRAPH.names:
        assert colors(dagster, stage, ids) == [GREEN, None]
    assert clean_up_job(GRAPH).execute_in_process(instance=dagster, resources=resources).success
    assert len(materializations(dagster, "length")) == 1


def test_a_failure_that_passes_turns_green_though_the_result_is_the_old_one(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("ab")
    run_process(settings, graph=GRAPH, library=library)
    (settings.home / "broken-ab").touch()
    config = {"ops": {"prepare_videos": {"config": {"force": True}}}}
    run_job(dagster, settings, "prepare", partition_key=ids[0], run_config=config)
    assert colors(dagster, "length", ids) == [RED], "green before, and planned since"
    assert explained(dagster, "length", ids[0])[0]["what_to_do"] == "Mend it."
    (settings.home / "broken-ab").unlink()
    run_process(settings, RunRequest(retry=True), graph=GRAPH, library=library)
    assert colors(dagster, "length", ids) == [GREEN]


def test_a_check_is_red_while_any_video_of_the_stage_has_failed(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    evil, new = add("evil", "new")
    (settings.home / "broken-evil").touch()
    run_process(settings, RunRequest(videos=[evil]), graph=GRAPH, library=library)
    assert list(failed_videos(dagster, "length")) == [evil]
    run_process(settings, RunRequest(videos=[new]), graph=GRAPH, library=library)
    assert list(failed_videos(dagster, "length")) == [evil], "a later run over other videos does not hide it"
    (settings.home / "broken-evil").unlink()
    run_process(settings, RunRequest(videos=[evil], retry=True), graph=GRAPH, library=library)
    assert failed_videos(dagster, "length") == {}


def test_an_old_failure_is_reported_once(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    """A run over a list passes over what failed before."""
    evil, new = add("evil", "new")
    (settings.home / "broken-evil").touch()
    run_process(settings, RunRequest(videos=[evil]), graph=GRAPH, library=library)
    run_process(settings, RunRequest(videos=[evil, new]), graph=GRAPH, library=library)
    assert len(calls(settings, "length")) == 2
    assert len(explained(dagster, "length", evil)) == 1
    assert colors(dagster, "length", [evil, new]) == [None, GREEN]
    assert list(failed_videos(dagster, "length")) == [evil]


def test_a_run_is_tried_again_only_where_the_library_is_away(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("ab")
    away = 1

    def opened(self: LibraryResource, *arguments: object) -> Any:
        nonlocal away
        if away:
            away -= 1
            raise UnavailableError("MongoDB does not answer.", "Start it.")
        return original(self, *arguments)

    original = LibraryResource.opened
    monkeypatch.setattr(LibraryResource, "opened", opened)
    monkeypatch.setattr("vidpipe.pipeline.execution.FIRST_RETRY_WAIT_S", 0.1)
    result = run_job(dagster, settings, "process")
    assert result.success
    assert [event.step_retry_data.seconds_to_wait for event in result.all_events if event.is_step_up_for_retry] == [0.1]
    away = 10
    result = run_job(dagster, settings, "process")
    assert sum(event.is_step_up_for_retry for event in result.all_events) == 2
    assert "MongoDB does not answer. Start it." in failure(result)
