"""A worker takes a run from the queue of a cluster: Redis, PostgreSQL, a replica set, media in GridFS."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import psutil
import pytest
from redis import Redis

from vidpipe.library.library import Library
from vidpipe.library.process_names import machine_name
from vidpipe.library.workers import Workers
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.dagster_internals import LaunchRunContext
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.run_launcher import PROCESS_TAG
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, load
from vidpipe.settings.home import init_home
from vidpipe.stages.registry import build_graph
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.cluster.servers import shared_servers
from vidpipe_tests.datasets.sql_servers import private_folder
from vidpipe_tests.end_to_end.home import Home, ended, wait_for

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def process() -> dg.JobDefinition:
    """The job of all stages, as the worker's process loads it.

    Not from vidpipe.pipeline.definitions, which would keep this test's home for all later tests of the process.
    """
    settings = load(secrets=False).settings
    return build_definitions(build_graph(settings), settings).resolve_job_def("process")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of the control plane, which are in the environment for the worker, too."""
    with private_folder() as folder, shared_servers(folder) as (redis, postgres, mongo):
        for name, value in {
            "MONGODB_URI": mongo.url, "STORAGE_MEDIA": "gridfs", "CLUSTER_LAUNCHER": "celery",
            "CLUSTER_POSTGRES": postgres.url, "CLUSTER_BROKER": redis.url,
        }.items():  # fmt: skip
            monkeypatch.setenv(f"VIDPIPE_{name}", value)
        home = init_home(tmp_path / "control").home
        monkeypatch.setenv("VIDPIPE_HOME", str(home))
        yield load(home).settings


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = Home(init_home(tmp_path / "worker").home).start("worker")
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


def _launch(dagster: dg.DagsterInstance) -> dg.DagsterRun:
    """A run over all due videos goes to the queue, as the daemon would send it there."""
    found = dg.reconstructable(process)
    run = dagster.create_run_for_job(
        found.get_definition(), job_code_origin=found.get_python_origin(), tags={"vidpipe/step": "process"}
    )
    dagster.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return run


def test_a_worker_executes_a_run_and_leaves_on_sigterm(
    settings: Settings, worker: subprocess.Popen[str], tmp_path: Path
) -> None:
    clips = [color_cuts(tmp_path / f"{name}.mp4", [name, "white"]) for name in ("red", "green", "blue")]
    assert Home(settings.home)("add", *clips).code == 0
    with instance(settings) as dagster, Library.open(settings, build_graph(settings)) as library:
        workers = Workers(library.collections)
        wait_for("the worker has joined", lambda: workers.present() or worker.poll() is not None, 120)
        assert [(one.machine, one.slots) for one in workers.present()] == [(machine_name(), 1)]
        executing = {child.pid for child in psutil.Process(worker.pid).children()}
        run_id = _launch(dagster).run_id
        wait_for("the run has ended", lambda: dagster.get_run_by_id(run_id).is_finished, 120)

        run = dagster.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        machine, pid, _ = run.tags[PROCESS_TAG].split("|")
        assert machine == machine_name()
        assert int(pid) in executing
        for stage in library.graph.names:
            records = dagster.fetch_materializations(dg.AssetKey(stage), limit=10).records
            assert len({record.partition_key for record in records}) == len(clips), stage
        videos = list(library.collections["videos"].find())
        assert [{state["status"] for state in video["stages"].values()} for video in videos] == [{"ok"}] * len(clips)
        assert not [video for video in videos if "lease" in video]

        with closing(Plan.make(library.graph, settings)) as plan:
            wait_for("the worker tells its specs", lambda: workers.present()[0].specs == plan.specs, 120)

        os.kill(worker.pid, signal.SIGTERM)
        left = ended(worker, 60)
        assert left.code == 0, left.stderr
        for words in (f"Joined as {os.uname().nodename}:", f"Run {run_id} (process) begins.", "has ended after"):
            assert words in left.stderr
        assert not workers.present()
        assert left.stdout == ""


def test_a_worker_ends_at_once_where_the_broker_rejects_its_password(settings: Settings, tmp_path: Path) -> None:
    address = settings.cluster.broker.get_secret_value()
    with Redis.from_url(address) as broker:
        broker.config_set("requirepass", "right-password")
    home = Home(
        init_home(tmp_path / "worker").home,
        env={"VIDPIPE_CLUSTER_BROKER": address.replace("://", "://:wrong-password@")},
    )
    left = home("worker")
    assert left.code == 3
    assert "rejects the login" in left.stderr
    assert "VIDPIPE_CLUSTER_BROKER" in left.stderr
    assert "Trying again" not in left.stderr
    assert "wrong-password" not in left.stderr
