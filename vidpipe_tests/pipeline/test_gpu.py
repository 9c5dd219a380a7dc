"""GPU pool and tags follow from stages and backend alone, the same in assets and in every job."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from vidpipe.pipeline.assets import ModelRequirements, model_requirements
from vidpipe.pipeline.build import build_definitions
from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.runner.small_graph import LENGTH, PARTS, REPORT

GRAPH = StageGraph((LENGTH, replace(PARTS, job="describe", pool="gpu"), REPORT))
#: The ops and steps that include the stage on the pool gpu.
ON_GPU = {"describe_videos", "describe_listed_videos", "process_videos"}


@pytest.mark.parametrize("backend", ["statistics", "endpoint", "qwen"])
def test_only_the_backend_qwen_takes_the_gpu_in_assets_and_jobs(settings: Settings, backend: str) -> None:
    changed = settings.model_copy(update={"qwen_vl": QwenVL(backend=backend)})  # type: ignore[arg-type]
    definitions = build_definitions(GRAPH, changed)
    seen = set()
    for job in definitions.resolve_all_job_defs():
        for node in job.all_node_defs:
            if not isinstance(node, dg.OpDefinition) or not node.name.endswith("_videos"):
                continue
            uses_gpu = backend == "qwen" and node.name in ON_GPU
            asks = backend != "statistics" and node.name in ON_GPU
            assert node.pool == ({"qwen": "gpu", "endpoint": "model"}[backend] if asks else None), (job.name, node.name)
            assert ("dagster-celery/queue" in node.tags) == uses_gpu, (job.name, node.name)
            assert ("dagster-k8s/config" in node.tags) == uses_gpu, (job.name, node.name)
            seen.add(node.name)
    assert seen >= ON_GPU | {"prepare_videos", "prepare_listed_videos", "label_videos", "label_listed_videos"}


def test_stages_without_gpu_need_none_whatever_the_backend(settings: Settings) -> None:
    changed = settings.model_copy(update={"qwen_vl": QwenVL(backend="qwen")})
    assert model_requirements((LENGTH, REPORT), changed) == ModelRequirements()
