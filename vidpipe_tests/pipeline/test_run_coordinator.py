"""Runs over assets get the tags of their stages before they are queued."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.dagster_internals import ASSET_JOB, SubmitRunContext
from vidpipe.pipeline.run_coordinator import GpuRunCoordinator
from vidpipe.settings import Settings

ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("vidpipe"), "__repository__").get_job_origin(ASSET_JOB)
CONFIG = """\
run_coordinator: {module: vidpipe.pipeline.run_coordinator, class: GpuRunCoordinator}
telemetry: {enabled: false}
"""


@pytest.mark.parametrize(
    ("backend", "stage", "on_gpu"),
    [("qwen", "descriptions", True), ("qwen", "scenes", False), ("statistics", "descriptions", False)],
)
def test_a_run_over_assets_goes_where_its_stages_can_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, backend: str, stage: str, on_gpu: bool
) -> None:
    monkeypatch.setenv("VIDPIPE_QWENVL_BACKEND", backend)
    monkeypatch.setenv("VIDPIPE_CLUSTER_GPUNODESELECTOR", "accelerator=l4")
    (dagster_home(settings) / "queued.yaml").write_text(CONFIG)
    with dg.DagsterInstance.from_config(str(dagster_home(settings)), "queued.yaml") as opened:
        coordinator = opened.run_coordinator
        assert isinstance(coordinator, GpuRunCoordinator)
        run = create_run_for_test(
            opened,
            asset_selection=frozenset([dg.AssetKey(stage)]),
            tags={"dagster/priority": "7", "by": "me"},
            remote_job_origin=ORIGIN,
        )
        queued = coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    assert queued.status == dg.DagsterRunStatus.QUEUED
    assert queued.tags["by"] == "me"
    assert queued.tags["dagster/priority"] == "7"
    assert queued.tags.get("dagster-celery/queue") == ("gpu" if on_gpu else None)
    pod = json.loads(queued.tags.get("dagster-k8s/config", "{}"))
    assert pod.get("pod_spec_config") == ({"node_selector": {"accelerator": "l4"}} if on_gpu else None)
