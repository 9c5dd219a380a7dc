"""The stages as assets: one each, partitioned by video, in three steps (prepare, describe, label).

A step is a multi-asset that can be run in part. It fails if one video fails, and Dagster skips everything downstream
of a failed step in the same run. So steps differ in how many partitions a run takes, which keeps a backfill from
putting two of them into one run.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from vidpipe.pipeline.checks import log_checks_of_failed_step
from vidpipe.pipeline.cluster_config import CPU_QUEUE, QUEUE_TAG
from vidpipe.pipeline.event_metadata import CODE_VERSION_TAG, DATA_VERSION_TAG, parents
from vidpipe.pipeline.execution import StepSession, run_stages
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe.pipeline.resources import RESULTS_IO_MANAGER, LibraryResource
from vidpipe.pipeline.run_queue import STEP_TAG
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import STEPS, Stage
from vidpipe.stages.graph import StageGraph

#: Videos per run; a different number for each step, see above.
_PARTITIONS_PER_RUN = {"prepare": 1000, "describe": 500, "label": 2000}


@dataclass(frozen=True)
class ModelRequirements:
    """What an op, and the run that it is in, need to ask the describing model.

    Attributes:
        pool: The concurrency pool; None if the model needs none.
        tags: Tags of the op and of its job: priority, Celery queue, Kubernetes limits; none without a GPU.
    """

    pool: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_tags(self) -> dict[str, str]:
        """The tags as a run stores them."""
        return {name: tag if isinstance(tag, str) else json.dumps(tag) for name, tag in self.tags.items()}

    @property
    def queue(self) -> str:
        """The Celery queue of the run."""
        return str(self.tags.get(QUEUE_TAG, CPU_QUEUE))


def model_requirements(stages: Iterable[Stage], settings: Settings) -> ModelRequirements:
    """Return what an op that runs `stages` needs.

    Only the backend qwen computes on a GPU of the machine of the run: statistics needs none, an endpoint has its own.
    """
    if not any(stage.pool == "gpu" for stage in stages):
        return ModelRequirements()
    if settings.qwen_vl.backend == "endpoint":
        return ModelRequirements("model")
    if settings.qwen_vl.backend != "qwen":
        return ModelRequirements()
    limits = {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}
    labels = dict(label.split("=", 1) for label in settings.cluster.gpu_node_selector)
    nodes = {"pod_spec_config": {"node_selector": labels}} if labels else {}
    tags = {"dagster/priority": "1", QUEUE_TAG: "gpu", "dagster-k8s/config": limits | nodes}
    return ModelRequirements("gpu", tags)


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
    model = model_requirements(stages, settings)

    @dg.multi_asset(
        name=f"{step}_videos",
        specs=[asset_spec(stage, graph) for stage in stages],
        can_subset=True,
        partitions_def=VIDEOS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=_PARTITIONS_PER_RUN[step]),
        op_tags={STEP_TAG: step, **model.tags},
        pool=model.pool,
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
