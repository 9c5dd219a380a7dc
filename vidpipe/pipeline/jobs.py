"""The jobs: prepare, describe and label over partitions; process and one per step, for any list of videos."""

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg

from vidpipe.errors import SettingsError
from vidpipe.pipeline.assets import model_requirements, steps
from vidpipe.pipeline.execution import StepSession, one_op_job, run_stages
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_queue import STEP_TAG
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph

#: The op of the job `process`, whose config is a RunRequest.
PROCESS_OP = "process_videos"

_HASH_PREFIX = re.compile("[0-9a-f]{4,64}")
_HASH_DIGITS = 64
_REQUEST_SCHEMA = {
    "keys": dg.Field(
        dg.ScalarUnion(scalar_type=str, non_scalar_schema=[str]),
        default_value=[],
        description="videos by sha256 or its first digits: a list, or a text with one a line; empty: all that are due",
    ),
    "stages": dg.Field([str], default_value=[], description="names of the stages; empty: all of this job"),
    "retry": dg.Field(bool, default_value=False, description="retry failed and quarantined videos"),
    "force": dg.Field([str], default_value=[], description="stages to recompute even if current"),
    "check_files": dg.Field(bool, default_value=True, description="check that the files of current results exist"),
    "refetch": dg.Field(bool, default_value=False, description="download deleted originals that due stages need"),
    "isolate_crashes": dg.Field(
        bool, default_value=True, description="retry videos that crashed the process in a child process"
    ),
}


def step_jobs(graph: StageGraph, settings: Settings) -> list[Any]:
    """Return prepare, describe and label: asset jobs over the assets of one step, for chosen partitions."""
    return [
        dg.define_asset_job(
            step,
            selection=dg.AssetSelection.assets(*(stage.name for stage in stages)).without_checks(),
            description=f"{_names(stages)} for the chosen videos.",
            executor_def=dg.in_process_executor,
            tags=model_requirements(stages, settings).tags,
        )
        for step, stages in steps(graph).items()
    ]


def process_job(graph: StageGraph, settings: Settings) -> dg.JobDefinition:
    """Return the job that takes any list of videos through all stages or some."""
    description = "Any list of videos, or all that are due, through all stages or some. What `vidpipe run` runs."
    return _videos_job(graph, settings, tuple(graph), name="process", op_name=PROCESS_OP, description=description)


def list_jobs(graph: StageGraph, settings: Settings) -> list[dg.JobDefinition]:
    """Return prepare_list, describe_list and label_list: one step for any list of videos, launched by sensors."""
    return [
        _videos_job(
            graph,
            settings,
            stages,
            name=list_job_name(step),
            op_name=list_op_name(step),
            description=f"{_names(stages)} for any list of videos, or all that are due. What the sensors launch.",
            step=step,
        )
        for step, stages in steps(graph).items()
    ]


def list_job_name(step: str) -> str:
    """Return the name of the job for any list of videos of a step."""
    return f"{step}_list"


def list_op_name(step: str) -> str:
    """Return the name of the op of that job, whose config is a RunRequest."""
    return f"{step}_listed_videos"


def _names(stages: Sequence[Stage]) -> str:
    return ", ".join(stage.name for stage in stages)


def _videos_job(
    graph: StageGraph,
    settings: Settings,
    stages: Sequence[Stage],
    *,
    name: str,
    op_name: str,
    description: str,
    step: str | None = None,
) -> dg.JobDefinition:
    model = model_requirements(stages, settings)

    @dg.op(
        name=op_name,
        description="Takes each video through the chosen stages.",
        config_schema=_REQUEST_SCHEMA,
        pool=model.pool,
        tags={**({STEP_TAG: step} if step else {}), **model.tags},
    )
    def work(context: dg.OpExecutionContext, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            request = _request(RunRequest.from_config(context.op_config), session, graph, stages, name)
            run_stages(context, session, graph, request, partitioned=False)

    return one_op_job(work, name, description, model.tags)


def _request(
    request: RunRequest, session: StepSession, graph: StageGraph, stages: Sequence[Stage], job: str
) -> RunRequest:
    """Complete the request of a run config: whole hashes, and the stages of the job by default."""
    own = tuple(stage.name for stage in stages)
    if others := sorted(set(request.stages or ()) & set(graph.names) - set(own)):
        raise SettingsError(f"The job {job} does not run {', '.join(others)}.", f"Its stages are {', '.join(own)}.")
    return request.model_copy(
        update={
            "videos": None if request.videos is None else tuple(_sha256(session, key) for key in request.videos),
            "stages": request.stages or (None if len(own) == len(graph.names) else own),
        }
    )


def _sha256(session: StepSession, key: str) -> str:
    """Return a whole sha256 as it is, known or not, and complete a prefix."""
    if not _HASH_PREFIX.fullmatch(key):
        raise SettingsError(
            f"{key!r} is not the sha256 of a video, nor its first digits (at least 4).",
            "Names and URLs do not belong into run configs, which everybody can read; `vidpipe list` shows the hashes.",
        )
    return key if len(key) == _HASH_DIGITS else session.library.videos.resolve(key)
