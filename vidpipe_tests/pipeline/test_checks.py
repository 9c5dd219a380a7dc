"""The checks, over real clips that went through the seven real stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.event_metadata import rereported
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.pipeline.video_checks import scenes_cover_duration
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.settings.operation import LibraryPage
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH

ALL = {"stored_file_has_its_hash", "scenes_cover_duration", "scenes_are_described", "tags_name_rules"}
STAGES = {
    "stored_file_has_its_hash": "raw_video",
    "scenes_cover_duration": "scenes",
    "scenes_are_described": "descriptions",
    "tags_name_rules": "tags",
    "videos_succeeded": "scenes",
}


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def run_job(dagster: dg.DagsterInstance, settings: Settings, name: str, key: str = "") -> dg.ExecuteInProcessResult:
    job = build_definitions(GRAPH, settings).resolve_job_def(name)
    return job.execute_in_process(instance=dagster, raise_on_error=False, partition_key=key or None)


def latest(dagster: dg.DagsterInstance, check: str) -> dict[str | None, bool]:
    """partition -> whether the check passed last."""
    key = dg.AssetCheckKey(dg.AssetKey(STAGES[check]), check)
    found: dict[str | None, bool] = {}
    for record in dagster.event_log_storage.get_asset_check_execution_history(key, limit=100):  # newest first
        assert record.event is not None
        assert record.event.dagster_event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        found.setdefault(evaluation.partition, evaluation.passed)
    return found


def test_checks_pass_for_sound_videos_and_fail_for_the_one_that_was_tampered_with(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    sound = clips.color_cuts(tmp_path / "sound.mp4", seconds_each=0.8)
    other = clips.color_cuts(tmp_path / "other.mp4", ("white", "black"), seconds_each=1.0)
    outcomes = run_ingest(settings, [str(sound), str(other)], graph=GRAPH, library=library)
    first, second = (str(outcome.video) for outcome in outcomes)
    report = run_process(settings, graph=GRAPH, library=library)
    assert report.ok, report.failures
    (shown,) = [
        record.asset_materialization
        for record in dagster.fetch_materializations(dg.AssetKey("scenes"), limit=10).records
        if record.partition_key == first
    ]
    assert shown is not None
    assert Path(str(shown.metadata["thumbnail"].value)).read_bytes().startswith(b"\xff\xd8"), "a path to a JPEG"
    assert shown.metadata["scenes"].value == 3
    page = "http://127.0.0.1:8000"
    assert shown.metadata["video_page"].value == f"{page}/videos/{first}"
    assert shown.metadata["picture"].value == f"![Thumbnail]({page}/api/v1/videos/{first}/thumbnail)"
    moved = settings.model_copy(update={"library_page": LibraryPage(public_url="https://videos.example.org")})
    again = rereported(shown, 1.0, moved)
    assert again.metadata["video_page"].value == f"https://videos.example.org/videos/{first}"
    assert "https://videos.example.org/" in str(again.metadata["picture"].value)
    assert again.metadata["thumbnail"] == shown.metadata["thumbnail"]

    assert run_job(dagster, settings, "verify").success
    for check in ALL:
        assert latest(dagster, check) == {first: True, second: True}, check

    document = library.videos.get(second)
    assert document is not None
    with settings.resolve(document["ingest"]["path"]).open("r+b") as file:
        file.seek(100)
        file.write(b"tampered")
    library.collections["scenes"].update_one({"video": second, "index": 1}, {"$inc": {"start_s": 0.2}})
    assert not run_job(dagster, settings, "verify").success
    assert latest(dagster, "stored_file_has_its_hash") == {first: True, second: False}
    assert latest(dagster, "scenes_cover_duration") == {first: True, second: False}
    assert latest(dagster, "tags_name_rules") == {first: True, second: True}


def test_checks_run_with_a_partition_and_alone_as_from_the_page(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    clip = clips.color_cuts(tmp_path / "clip.mp4", seconds_each=0.8)
    (outcome,) = run_ingest(settings, [str(clip)], graph=GRAPH, library=library)
    run_process(settings, RunRequest(stages=["raw_video", "metadata", "scenes"]), graph=GRAPH, library=library)
    key = dg.AssetCheckKey(dg.AssetKey("scenes"), "scenes_cover_duration")
    failures = dg.AssetCheckKey(dg.AssetKey("scenes"), "videos_succeeded")
    jobs = dg.Definitions(
        jobs=[
            dg.define_asset_job("with_checks", dg.AssetSelection.assets("raw_video", "metadata", "scenes")),
            dg.define_asset_job("check_alone", dg.AssetSelection.checks(key)),
            dg.define_asset_job("failures_alone", dg.AssetSelection.checks(failures)),
        ]
    )
    definitions = dg.Definitions.merge(build_definitions(GRAPH, settings), jobs)
    job = definitions.resolve_job_def("with_checks")
    assert job.execute_in_process(instance=dagster, partition_key=outcome.video, raise_on_error=False).success
    assert latest(dagster, "stored_file_has_its_hash") == {outcome.video: True}
    assert latest(dagster, "scenes_cover_duration") == {outcome.video: True}
    job = definitions.resolve_job_def("check_alone")
    assert job.execute_in_process(instance=dagster, raise_on_error=False).success
    assert latest(dagster, "scenes_cover_duration") == {outcome.video: True, None: True}
    job = definitions.resolve_job_def("failures_alone")
    assert job.execute_in_process(instance=dagster, raise_on_error=False).success
    assert latest(dagster, "videos_succeeded") == {None: True}


def test_one_video_of_a_batch_that_fails_leaves_the_checks_of_the_others(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    made = [clips.color_cuts(tmp_path / f"{name}.mp4", seconds_each=0.8 + name / 10) for name in range(3)]
    videos = [str(outcome.video) for outcome in run_ingest(settings, map(str, made), graph=GRAPH, library=library)]
    lost = library.videos.get(videos[1])
    assert lost is not None
    settings.resolve(lost["ingest"]["path"]).unlink()
    made[1].unlink()
    assets = dg.AssetSelection.assets("raw_video", "metadata", "scenes")
    definitions = dg.Definitions(jobs=[dg.define_asset_job("with_checks", assets)])
    job = dg.Definitions.merge(build_definitions(GRAPH, settings), definitions).resolve_job_def("with_checks")
    first, *_, last = sorted(videos)
    whole_range = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    assert not job.execute_in_process(instance=dagster, tags=whole_range, raise_on_error=False).success
    for check in ("stored_file_has_its_hash", "scenes_cover_duration"):
        key = dg.AssetCheckKey(dg.AssetKey(STAGES[check]), check)
        records = dagster.event_log_storage.get_asset_check_execution_history(key, limit=100)
        statuses = {record.partition: record.status for record in records}
        # What is still planned when a run has failed is shown as an execution error.
        still_planned = {video for video, status in statuses.items() if status.value == "PLANNED"}
        assert (set(statuses), still_planned) == (set(videos), {videos[1]}), check


@pytest.mark.parametrize(
    ("spans", "passed", "said"),
    [
        ([(0, 1), (1, 2)], True, "2 scenes cover 2.000 s"),
        ([(0, 1.03), (1, 2)], True, "2 scenes cover"),
        ([(0, 1), (1.1, 2)], False, "Scene 1 begins with a gap of 0.100 s"),
        ([(0, 1.2), (1, 2)], False, "Scene 1 begins with an overlap of 0.200 s"),
        ([(0, 1), (1, 1.5)], False, "ends at 1.500 s of 2.000 s"),
        ([], False, "no scene"),
    ],
)
def test_scenes_cover_the_whole_duration_within_a_frame(
    settings: Settings, spans: list[tuple[float, float]], passed: bool, said: str
) -> None:
    document = {"scenes": {"duration_s": 2.0, "frames_decoded": 50, "count": len(spans)}}
    scenes = [{"index": index, "start_s": start, "end_s": end} for index, (start, end) in enumerate(spans)]
    found = scenes_cover_duration(document, scenes, settings)
    assert (found.passed, said in found.sentence) == (passed, True), found.sentence
