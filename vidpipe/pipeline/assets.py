"""The stages as assets: one each, partitioned by video, in three steps (prepare, describe, label).

A step is a multi-asset that can be run in part. It has to fail where one video failed, and Dagster skips everything
downstream of a failed step in the same run; so steps differ in how many partitions a run takes, which keeps a backfill
from putting two of them into one run.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dagster as dg

from vidpipe.pipeline.checks import log_checks_of_failed_step
from vidpipe.pipeline.event_metadata import CODE_VERSION_TAG, DATA_VERSION_TAG, parents
from vidpipe.pipeline.execution import Session, run_stages
from vidpipe.pipeline.partitions import VIDEOS
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.selection import RunOptions
from vidpipe.settings import Settings
from vidpipe.stages.contract import STEPS, Stage
from vidpipe.stages.graph import StageGraph

#: Videos a run; each another number, see above.
_PARTITIONS_A_RUN = {"prepare": 1000, "describe": 500, "label": 2000}
_GPU_TAGS = {
    "dagster/priority": "1",
    "dagster-celery/queue": "gpu",
    "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
}


class StepConfig(dg.Config):
    """retry: try again what failed before (a person asked for it); force: compute again what is current."""

    retry: bool = True
    force: bool = False


def build_assets(graph: StageGraph, settings: Settings) -> list[dg.AssetsDefinition]:
    """One multi-asset for each step that has stages."""
    return [_step(step, stages, graph, settings) for step, stages in steps(graph).items()]


def steps(graph: StageGraph) -> dict[str, tuple[Stage, ...]]:
    """step -> its stages, for the steps that have any, in order."""
    groups = {step: tuple(stage for stage in graph if stage.job == step) for step in STEPS}
    return {step: stages for step, stages in groups.items() if stages}


def uses_gpu(stages: Iterable[Stage], settings: Settings) -> bool:
    """Whether one of `stages` computes on a GPU of this machine."""
    return settings.qwen_vl.backend == "qwen" and any(stage.pool == "gpu" for stage in stages)


def step_tags(step: str, stages: Iterable[Stage], settings: Settings) -> dict[str, Any]:
    """The tags of the op that runs `stages` of `step`."""
    return {"vidpipe/step": step, **(_GPU_TAGS if uses_gpu(stages, settings) else {})}


def asset_spec(stage: Stage, graph: StageGraph) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=stage.name,
        deps=parents(graph, stage.name),
        description=stage.description,
        group_name=stage.job,
        code_version=stage.code_version,
        kinds=set(stage.kinds),
        skippable=True,
        partitions_def=VIDEOS,
        metadata={
            "reads": dg.MetadataValue.md("\n".join(f"- `{name}`" for name in stage.reads)),
            "settings": ", ".join(stage.settings) or "none",
            "uses": ", ".join(stage.resources) or "nothing besides the video",
            "gives": ", ".join(stage.result.model_fields),
            "pool": stage.pool,
        },
    )


def _step(step: str, stages: Sequence[Stage], graph: StageGraph, settings: Settings) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"{step}_videos",
        specs=[asset_spec(stage, graph) for stage in stages],
        can_subset=True,
        partitions_def=VIDEOS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=_PARTITIONS_A_RUN[step]),
        op_tags=step_tags(step, stages, settings),
        pool="gpu" if any(stage.pool == "gpu" for stage in stages) else None,
    )
    def run_step(context: dg.AssetExecutionContext, config: StepConfig, library: LibraryResource) -> Iterator[Any]:
        chosen = {key.to_user_string() for key in context.selected_asset_keys}
        names = [stage.name for stage in stages if stage.name in chosen]
        options = RunOptions(retry=config.retry, force=frozenset(names if config.force else ()))
        keys = context.partition_keys
        # An Output marks all partitions of the run as done, so only a run over one can give it. Without, Dagster skips
        # what comes after this step in the same run: checks, the next step.
        made: list[dg.AssetMaterialization] | None = [] if len(keys) == 1 else None
        failure: dg.Failure | None = None
        try:
            op = context.op_execution_context
            with Session.begin(op, library, graph) as session:
                try:
                    run_stages(
                        op, session, graph, stages=names, videos=keys, options=options, partitioned=True, keep=made
                    )
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
