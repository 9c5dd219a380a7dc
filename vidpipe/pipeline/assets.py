"""The stages as assets: one each, partitioned by video, in three steps (prepare, describe, label).

A step is a multi-asset that can be run in part. It fails if one video fails, and Dagster skips everything downstream
of a failed step in the same run. So steps differ in how many partitions a run takes, which keeps a backfill from
putting two of them into one run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from vidpipe.pipeline.checks import log_checks_of_failed_step
from vidpipe.pipeline.event_metadata import CODE_VERSION_TAG, DATA_VERSION_TAG, parents
from vidpipe.pipeline.execution import StepSession, run_stages
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe.pipeline.resources import RESULTS_IO_MANAGER, LibraryResource
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import STEPS, Stage
from vidpipe.stages.graph import StageGraph

#: Videos per run; a different number for each step, see above.
_PARTITIONS_PER_RUN = {"prepare": 1000, "describe": 500, "label": 2000}
_GPU_TAGS = {
    "dagster/priority": "1",
    "dagster-celery/queue": "gpu",
    "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
}


@dataclass(frozen=True)
class GpuRequirements:
    """What an op needs to compute on a GPU of this machine.

    Attributes:
        pool: The concurrency pool; None without a GPU.
        tags: The op's tags: priority, Celery queue, Kubernetes limits; none without a GPU.
    """

    pool: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)


def gpu_requirements(stages: Iterable[Stage], settings: Settings) -> GpuRequirements:
    """Return what an op that runs `stages` needs.

    Only the backend qwen computes on a GPU of this machine: statistics needs none, and an endpoint has its own.
    """
    if settings.qwen_vl.backend == "qwen" and any(stage.pool == "gpu" for stage in stages):
        return GpuRequirements("gpu", _GPU_TAGS)
    return GpuRequirements()


class StepConfig(dg.Config):
    """Config of a step over partitions, which a person or a backfill asked for."""

    retry: bool = Field(True, description="retry failed and quarantined videos")
    force: bool = Field(False, description="recompute even what is current")


def build_assets(graph: StageGraph, settings: Settings) -> list[dg.AssetsDefinition]:
    """Return one multi-asset for each step that has stages."""
    return [_step(step, stages, graph, settings) for step, stages in steps(graph).items()]


def steps(graph: StageGraph) -> dict[str, tuple[Stage, ...]]:
    """Return step -> its stages, for the steps that have any, in order."""
    groups = {step: tuple(stage for stage in graph if stage.job == step) for step in STEPS}
    return {step: stages for step, stages in groups.items() if stages}


def asset_spec(stage: Stage, graph: StageGraph) -> dg.AssetSpec:
    """Return the asset of a stage. Its IO manager loads results from the library, for downstream assets."""
    spec = dg.AssetSpec(
        key=stage.name,
        deps=parents(graph, stage.name),
        description=stage.description,
        group_name=stage.job,
        code_version=stage.code_version,
        kinds=set(stage.kinds),
        skippable=True,
        partitions_def=VIDEOS,
        metadata={
            "reads": dg.MetadataValue.md("\n".join(f"- `{name}`" for name in stage.all_reads)),
            "settings": ", ".join(stage.settings) or "none",
            "uses": ", ".join(stage.resources) or "nothing besides the video",
            "gives": ", ".join(stage.result.model_fields),
            "pool": stage.pool,
        },
    )
    return spec.with_io_manager_key(RESULTS_IO_MANAGER)


def _step(step: str, stages: Sequence[Stage], graph: StageGraph, settings: Settings) -> dg.AssetsDefinition:
    gpu = gpu_requirements(stages, settings)

    @dg.multi_asset(
        name=f"{step}_videos",
        specs=[asset_spec(stage, graph) for stage in stages],
        can_subset=True,
        partitions_def=VIDEOS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=_PARTITIONS_PER_RUN[step]),
        op_tags={"vidpipe/step": step, **gpu.tags},
        pool=gpu.pool,
    )
    def run_step(context: dg.AssetExecutionContext, config: StepConfig, library: LibraryResource) -> Iterator[Any]:
        chosen = {key.to_user_string() for key in context.selected_asset_keys}
        names = [stage.name for stage in stages if stage.name in chosen]
        keys = context.partition_keys
        force = names if config.force else ()
        request = RunRequest(videos=keys, stages=names, retry=config.retry, force=force)
        # An Output marks all partitions of the run as done, so only a run over one can yield it. Without it, Dagster
        # skips what follows this step in the same run: checks, the next step.
        made: list[dg.AssetMaterialization] | None = [] if len(keys) == 1 else None
        failure: dg.Failure | None = None
        try:
            op = context.op_execution_context
            with StepSession.begin(op, library, graph) as session:
                try:
                    run_stages(op, session, graph, request, partitioned=True, keep=made)
                except dg.Failure:
                    log_checks_of_failed_step(op, session, graph, step, keys)
                    raise
        except dg.Failure as failed:
            failure = failed
        yield from map(_result, made or ())
        if failure is not None:
            raise failure

    return run_step


def _result(made: dg.AssetMaterialization) -> dg.MaterializeResult[Any]:
    tags = dict(made.tags or {})
    data_version = tags.pop(DATA_VERSION_TAG, None)
    tags.pop(CODE_VERSION_TAG, None)
    return dg.MaterializeResult(
        asset_key=made.asset_key,
        metadata=made.metadata,
        tags=tags,
        data_version=dg.DataVersion(data_version) if data_version else None,
    )
