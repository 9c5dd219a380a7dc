"""Runs keep figures of what they did, whoever started them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.runs import Runs, status_of
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.run_queue import active_runs, queue_figures
from vidpipe.settings import Settings
from vidpipe_tests import clips
from vidpipe_tests.pipeline.test_jobs import run_job
from vidpipe_tests.runner.small_graph import GRAPH

Add = Callable[..., list[str]]


def test_a_backfill_keeps_figures_of_each_stage(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "evil", "fine")
    add_videos(dagster, ids)
    (settings.home / "broken-evil").touch()
    result = run_job(dagster, settings, "prepare", ids)
    (run,) = Runs(library.collections["runs"]).since()
    assert (run["_id"], run["job"], run["by"], run["videos"]) == (result.run_id, "prepare", "page", 3)
    assert status_of(run) == "failure"
    length, parts = run["stages"]["length"], run["stages"]["parts"]
    assert (length["computed"], length["failed"], length["changed"]) == (2, 1, 2)
    assert (parts["computed"], parts["blocked"]) == (2, 1)
    run_job(dagster, settings, "prepare", ids)
    again, _ = Runs(library.collections["runs"]).since()
    length = again["stages"]["length"]
    assert (length["current"], length["failed"]) == (2, 1), "who asks for a failed video has it tried again"
    assert Runs(library.collections["runs"]).totals()["stages"]["length"]["failed"] == 2


def test_a_command_keeps_figures_and_one_without_work_leaves_no_trace(
    settings: Settings, library: Library, add: Add
) -> None:
    add("good", "fine")
    run_process(settings, graph=GRAPH, library=library)
    run_process(settings, graph=GRAPH, library=library)
    (run,) = Runs(library.collections["runs"]).since()
    assert (run["job"], run["by"], run["videos"], status_of(run)) == ("process", "command", 2, "success")
    assert {name: figures["computed"] for name, figures in run["stages"].items()} == {
        "length": 2, "parts": 2, "report": 2,
    }  # fmt: skip
    assert all(figures["seconds"] > 0 for figures in run["stages"].values())


def test_ingest_counts_sources_and_bytes(settings: Settings, library: Library, tmp_path: Path) -> None:
    clips.moving(tmp_path / "a.mp4", seconds=0.4)
    run_ingest(settings, [str(tmp_path / "a.mp4"), str(tmp_path / "gone.mp4")], graph=GRAPH, library=library)
    run_ingest(settings, [str(tmp_path / "a.mp4")], graph=GRAPH, library=library)
    second, first = Runs(library.collections["runs"]).since()
    assert first["sources"]["stored"] == 1
    assert first["sources"].get("failed", 0) + first["sources"].get("refused", 0) == 1
    assert first["bytes_in"] == (tmp_path / "a.mp4").stat().st_size
    assert (second["sources"], second.get("bytes_in", 0)) == ({"known": 1}, 0)
    assert (status_of(first), status_of(second)) == ("failure", "success")


def test_what_dagster_has_in_hand(dagster: dg.DagsterInstance) -> None:
    def put(number: int, status: str, **config: list[str]) -> None:
        dagster.add_run(
            dg.DagsterRun(
                job_name="label_list", run_id=f"{number:032x}", status=dg.DagsterRunStatus[status],
                run_config={"ops": {"label_videos": {"config": config}}},
                tags={"vidpipe/by": "sensor", "vidpipe/step": "label"},
            )
        )  # fmt: skip

    for number, status in enumerate(("NOT_STARTED", "STARTED", "STARTED", "SUCCESS", "FAILURE")):
        put(number, status, keys=["a" * 64, "b" * 64][: number + 1])
    figures = queue_figures(dagster)
    assert figures.unfinished == {("label_list", "not_started"): 1, ("label_list", "started"): 2}
    assert figures.queued == {"label_list": 1}
    assert 0 <= figures.oldest_s < 60
    assert [(run.job, run.by, run.step, run.items) for run in active_runs(dagster)] == [
        ("label_list", "sensor", "label", 2), ("label_list", "sensor", "label", 2),
    ]  # fmt: skip
    assert len(active_runs(dagster, most=1)) == 1
