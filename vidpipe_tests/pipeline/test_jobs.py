"""The partitioned jobs, ingest and verify: what Dagster launches itself, run here in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.pipeline.instance import prepare
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.partitions import add_videos
from vidpipe.settings import Settings, load
from vidpipe.sources.ingest import register
from vidpipe.sources.source_request import request_for
from vidpipe_tests import clips
from vidpipe_tests.pipeline.test_process import GREEN, RED, colors, materializations
from vidpipe_tests.runner.small_graph import GRAPH, calls

Add = Callable[..., list[str]]
ROOT = Path(__file__).parents[2]


def run_job(
    dagster: dg.DagsterInstance, settings: Settings, name: str, ids: list[str] | None = None, **arguments: Any
) -> dg.ExecuteInProcessResult:
    """Runs a job of the definitions; ids: the partitions, a range of neighbours as a backfill gives it."""
    job = build_definitions(GRAPH, settings).resolve_job_def(name)
    tags = {}
    if ids:
        tags = {"dagster/asset_partition_range_start": ids[0], "dagster/asset_partition_range_end": ids[-1]}
    return job.execute_in_process(instance=dagster, raise_on_error=False, tags=tags, **arguments)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


def test_no_run_can_name_another_home(settings: Settings) -> None:
    """Its settings would decide where the access key of this one goes."""
    elsewhere = {"resources": {"library": {"config": {"home": "/elsewhere"}}}}
    jobs = list(build_definitions(GRAPH, settings).resolve_all_job_defs())
    assert {job.name for job in jobs} >= {"ingest", "process", "prepare", "label_list", "verify", "clean_up"}
    for job in jobs:
        with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "home"'):
            dg.validate_run_config(job, elsewhere)
        assert "resources" in dg.validate_run_config(job, {"resources": {"library": {}}})


def test_a_backfill_of_a_step_shows_each_video_and_stage_alone(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "evil", "fine")
    add_videos(dagster, ids)
    (settings.home / "broken-evil").touch()
    result = run_job(dagster, settings, "prepare", ids)
    assert not result.success
    assert "1 of 3 videos failed" in failure(result)
    assert f"{ids[1][:12]}, parts: waits for an earlier stage that has no result." in failure(result)
    assert colors(dagster, "length", ids) == [GREEN, RED, GREEN]
    assert colors(dagster, "parts", ids) == [GREEN, RED, GREEN]
    assert colors(dagster, "report", ids) == [None, None, None]
    label = run_job(dagster, settings, "label", ids)
    assert not label.success
    assert colors(dagster, "report", ids) == [GREEN, RED, GREEN], "a failed video does not skip the others downstream"


def test_a_video_that_is_current_is_green_without_being_computed_again(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "fine")
    run_process(settings, graph=GRAPH, library=library)
    first = materializations(dagster, "length")
    result = run_job(dagster, settings, "prepare", partition_key=ids[0])
    assert result.success
    assert len(calls(settings, "length")) == 2
    (cached,) = [made for made in materializations(dagster, "length") if made.metadata["work"].value == "cached"]
    assert cached.partition == ids[0]
    (computed,) = [made for made in first if made.partition == ids[0]]
    for name in ("dagster/data_version", "dagster/code_version"):
        assert (cached.tags or {})[name] == (computed.tags or {})[name]


def test_all_steps_in_one_run_of_one_partition_follow_one_another(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "evil")
    add_videos(dagster, ids)
    (settings.home / "broken-evil").touch()
    definitions = build_definitions(GRAPH, settings)
    everything = dg.Definitions(jobs=[dg.define_asset_job("everything", dg.AssetSelection.all())])
    job = dg.Definitions.merge(definitions, everything).resolve_job_def("everything")
    assert job.execute_in_process(instance=dagster, partition_key=ids[0], raise_on_error=False).success
    assert not job.execute_in_process(instance=dagster, partition_key=ids[1], raise_on_error=False).success
    for stage in GRAPH.names:
        assert colors(dagster, stage, ids) == [GREEN, RED]


def test_materialising_a_red_partition_tries_again_and_force_computes_again(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("evil")
    (settings.home / "broken-evil").touch()
    add_videos(dagster, ids)
    run_job(dagster, settings, "prepare", partition_key=ids[0])
    assert colors(dagster, "length", ids) == [RED]
    (settings.home / "broken-evil").unlink()
    assert run_job(dagster, settings, "prepare", partition_key=ids[0]).success
    assert colors(dagster, "length", ids) == [GREEN]
    config = {"ops": {"prepare_videos": {"config": {"force": True}}}}
    assert run_job(dagster, settings, "prepare", partition_key=ids[0], run_config=config).success
    assert len(calls(settings, "parts")) == 2


def test_one_asset_of_a_step_can_be_materialised_alone(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good")
    add_videos(dagster, ids)
    result = run_job(dagster, settings, "prepare", partition_key=ids[0], asset_selection=[dg.AssetKey("length")])
    assert result.success
    assert (len(calls(settings, "length")), len(calls(settings, "parts"))) == (1, 0)


def test_keys_of_process_may_be_prefixes_and_a_wrong_one_is_named(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "other")

    def process(*keys: str) -> dg.ExecuteInProcessResult:
        config = {"ops": {"process_videos": {"config": {"keys": list(keys)}}}}
        return run_job(dagster, settings, "process", run_config=config)

    assert process(ids[0][:12], ids[1]).success
    assert len(calls(settings, "length")) == 2
    assert "No video matches 'abcd'" in failure(process("abcd"))
    assert "'good' is not the sha256 of a video" in failure(process("good")), "names do not belong into run configs"


def test_keys_of_process_may_be_one_text_with_a_hash_a_line(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "other", "third")
    text = f"{ids[0]}\n\n  {ids[1][:12]}  \r\n{ids[0]}\n"
    config = {"ops": {"process_videos": {"config": {"keys": text}}}}
    assert run_job(dagster, settings, "process", run_config=config).success
    assert sorted(calls(settings, "length")) == sorted(ids[:2])


def test_a_list_job_runs_its_own_step_over_any_videos_or_all_that_are_due(
    settings: Settings, library: Library, add: Add, dagster: dg.DagsterInstance
) -> None:
    ids = add("good", "other")

    def run_list(step: str, **config: Any) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {list_op_name(step): {"config": config}}}
        return run_job(dagster, settings, list_job_name(step), run_config=run_config)

    assert run_list("prepare", keys=[ids[0]], stages=["length"]).success
    assert (calls(settings, "length"), calls(settings, "parts")) == ([ids[0]], [])
    assert run_list("prepare").success
    assert sorted(calls(settings, "parts")) == sorted(ids)
    assert calls(settings, "report") == [], "another step's"
    assert colors(dagster, "parts", ids) == [GREEN, GREEN]
    assert "The job label_list does not run length." in failure(run_list("label", stages=["length"]))
    assert "There is no stage called nosuch" in failure(run_list("label", stages=["nosuch"]))


def test_a_partition_without_a_video_is_named(
    settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> None:
    add_videos(dagster, ["ab" * 32])
    result = run_job(dagster, settings, "prepare", partition_key="ab" * 32)
    assert "no such video in the library" in failure(result)


def test_the_definitions_hold_steps_kinds_and_what_reads_what(settings: Settings) -> None:
    definitions = build_definitions(GRAPH, settings)
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey("report"))
    assert node.parent_keys == {dg.AssetKey("length"), dg.AssetKey("parts")}
    assert node.group_name == "label"
    assert node.description == "says"
    assert graph.get(dg.AssetKey("length")).parent_keys == {dg.AssetKey("sources")}
    jobs = {job.name for job in definitions.get_repository_def().get_all_jobs()}
    assert {"prepare", "label", "process", "ingest", "verify"} <= jobs
    most = [graph.get(dg.AssetKey(name)).backfill_policy.max_partitions_per_run for name in ("length", "report")]
    assert most[0] != most[1], "steps with the same policy would be put into one run, where a failure skips the rest"


def test_ingest_stores_the_good_names_the_bad_and_makes_partitions(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    good = clips.moving(tmp_path / "good.mp4", seconds=0.4)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all" * 100)
    outcomes = run_ingest(settings, [str(good), str(bad)], graph=GRAPH, library=library)
    assert [outcome.state for outcome in outcomes] == ["stored", "refused"]
    assert dagster.get_dynamic_partitions("videos") == [outcomes[0].video]
    (run,) = dagster.get_runs()
    assert (run.job_name, run.status) == ("ingest", dg.DagsterRunStatus.FAILURE)
    (seen,) = dagster.fetch_observations(dg.AssetKey("sources"), limit=10).records
    assert seen.partition_key == outcomes[0].video
    assert run_ingest(settings, [str(good)], graph=GRAPH, library=library)[0].state == "already stored"
    assert dagster.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS


def test_no_secret_of_a_url_reaches_dagster(settings: Settings, library: Library, dagster: dg.DagsterInstance) -> None:
    outcomes = run_ingest(
        settings,
        ["http://me:hunter2@127.0.0.1:9/a.mp4?token=s3cret", "http://t0kenuser@127.0.0.1:9/b.mp4"],
        graph=GRAPH,
        library=library,
    )
    assert outcomes[0].state == "refused"
    written = [path.read_bytes() for path in (settings.data_directory / "dagster").rglob("*") if path.is_file()]
    for secret in (b"hunter2", b"s3cret", b"t0kenuser", settings.mongodb.uri.get_secret_value().encode()):
        assert not any(secret in data for data in written)


def test_dagsters_page_takes_ids_of_sources_and_no_urls(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    config = {"ops": {"ingest_sources": {"config": {"inputs": ["http://me:hunter2@example.org/a.mp4"]}}}}
    with pytest.raises(dg.DagsterInvalidConfigError):
        run_job(dagster, settings, "ingest", run_config=config)
    request = request_for(str(clips.moving(tmp_path / "good.mp4", seconds=0.4)))
    register([request], library.sources)
    result = run_job(
        dagster, settings, "ingest", run_config={"ops": {"ingest_sources": {"config": {"sources": [request.id]}}}}
    )
    assert result.success
    assert library.sources.get_many([request.id])[request.id].state == "stored"


def test_dagster_names_sources_by_id_and_their_errors_without_url_name_or_path(
    settings: Settings, library: Library, dagster: dg.DagsterInstance, tmp_path: Path
) -> None:
    good = clips.moving(tmp_path / "holiday.mp4", seconds=0.4)
    bad = tmp_path / "wedding.mp4"
    bad.write_bytes(b"no video at all" * 100)
    gone = "http://127.0.0.1:9/birthday.mp4"
    outcomes = run_ingest(
        settings,
        [str(good), str(bad), gone, str(tmp_path / "party.mp4")],
        title="",
        labels=["family"],
        graph=GRAPH,
        library=library,
    )
    (run,) = dagster.get_runs()
    told = repr(run.run_config) + repr([event.to_json() for event in dagster.all_logs(run.run_id)])
    for name in ("holiday", "wedding", "birthday", "party", "family", "127.0.0.1", str(tmp_path)):
        assert name not in told
    assert all(outcome.source.id in told for outcome in outcomes if outcome.source)
    assert "is a loopback address" in told


def test_a_wrong_config_ini_is_a_sentence(settings: Settings, library: Library, dagster: dg.DagsterInstance) -> None:
    (settings.home / "config.ini").write_text("[SceneDetection]\nDetector = magic\n")
    with pytest.raises(SettingsError, match="Detector = magic"):
        load(settings.home)
    result = run_job(dagster, settings, "process")
    assert "Detector = magic" in failure(result)


def test_the_real_definitions_load_without_a_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://127.0.0.1:9")
    code = (
        "import dagster as dg; from vidpipe.pipeline.definitions import defs; dg.Definitions.validate_loadable(defs);"
        "print(*sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "categories", "descriptions", "metadata", "raw_video", "scenes", "sentiment", "sources", "tags",
    ]  # fmt: skip


def test_dagsters_own_commands_find_the_home(settings: Settings) -> None:
    assert prepare(settings) == settings.data_directory / "dagster"
    assert (settings.data_directory / "dagster" / "dagster.yaml").is_file()
