"""The jobs: prepare, describe and label over partitions; process and one for each step, for any list of videos."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import BaseModel, ConfigDict, field_validator

from vidpipe.errors import SettingsError
from vidpipe.pipeline.assets import step_tags, steps, uses_gpu
from vidpipe.pipeline.execution import Session, run_stages
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph

#: Name of the logger that sends a run's log to vidpipe's log file instead of the terminal.
FILE_LOGGER = "vidpipe"


@dg.logger(None, description="vidpipe's own log file, nothing on the terminal")
def file_logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.getLogger("vidpipe.dagster")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # where no log file is configured, logging would write to the terminal
    return logger


def step_jobs(graph: StageGraph) -> list[UnresolvedAssetJobDefinition]:
    """prepare, describe, label: the assets of one step over chosen partitions."""
    return [
        dg.define_asset_job(
            step,
            selection=dg.AssetSelection.assets(*names).without_checks(),
            description=f"{', '.join(names)} for the chosen videos.",
            executor_def=dg.in_process_executor,
        )
        for step, stages in steps(graph).items()
        if (names := [stage.name for stage in stages])
    ]


class VideosConfig(BaseModel):
    """The config of a job over any list of videos (see `_VIDEOS_SCHEMA` for what each field means)."""

    model_config = ConfigDict(extra="forbid")

    keys: list[str] = []
    stages: list[str] = []
    retry: bool = False
    force: list[str] = []

    @field_validator("keys", mode="before")
    @classmethod
    def _one_a_line(cls, given: Any) -> Any:
        texts = [given] if isinstance(given, str) else given
        lines = (line.strip() for text in texts for line in text.splitlines())
        return list(dict.fromkeys(line for line in lines if line))


_VIDEOS_SCHEMA = {
    "keys": dg.Field(
        dg.ScalarUnion(scalar_type=str, non_scalar_schema=[str]),
        default_value=[],
        description="videos by hash, its first digits, URL or file name: a list, or a text with one a line; "
        "empty: all that are due",
    ),
    "stages": dg.Field([str], default_value=[], description="names of the stages; empty: all of this job"),
    "retry": dg.Field(bool, default_value=False, description="try failed and quarantined videos again"),
    "force": dg.Field([str], default_value=[], description="stages to compute again even where current"),
}


def process_job(graph: StageGraph, settings: Settings) -> dg.JobDefinition:
    """All chosen stages in one go, for any list of videos."""
    return _videos_job(
        "process",
        "process_videos",
        "Any list of videos, or all that are due, through all stages or some. What `vidpipe run` runs.",
        graph,
        tuple(graph),
        pool="gpu" if settings.qwen_vl.backend == "qwen" else None,
    )


def list_jobs(graph: StageGraph, settings: Settings) -> list[dg.JobDefinition]:
    """prepare_list, describe_list, label_list: one step for any list of videos. What the sensors launch."""
    jobs = []
    for step, stages in steps(graph).items():
        tags = step_tags(step, stages, settings)
        names = ", ".join(stage.name for stage in stages)
        jobs.append(
            _videos_job(
                list_job_name(step),
                list_op_name(step),
                f"{names} for any list of videos, or all that are due. What the sensors launch.",
                graph,
                stages,
                pool="gpu" if uses_gpu(stages, settings) else None,
                op_tags=tags,
            )
        )
    return jobs


def list_job_name(step: str) -> str:
    return f"{step}_list"


def list_op_name(step: str) -> str:
    """The op of that job, whose config names the videos."""
    return f"{step}_listed_videos"


def _videos_job(
    name: str,
    op_name: str,
    description: str,
    graph: StageGraph,
    stages: Sequence[Stage],
    *,
    pool: str | None,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.JobDefinition:
    whole = tuple(stage.name for stage in stages)

    @dg.op(
        name=op_name,
        description="Takes each video through the chosen stages.",
        config_schema=_VIDEOS_SCHEMA,
        pool=pool,
        tags=op_tags,
    )
    def work(context: dg.OpExecutionContext, library: LibraryResource) -> None:
        with Session.begin(context, library, graph) as session:
            config = VideosConfig.model_validate(context.op_config)
            if others := sorted(set(config.stages) & set(graph.names) - set(whole)):
                raise SettingsError(
                    f"The job {name} does not run {', '.join(others)}.", f"Its stages are {', '.join(whole)}."
                )
            # A caller has looked at the files already, to know whether there is work.
            checks = session.caller is None
            options = RunRequest(retry=config.retry, force=frozenset(config.force), check_files=checks)
            run_stages(
                context,
                session,
                graph,
                stages=config.stages or (None if len(whole) == len(graph.names) else whole),
                videos=[_sha256(session, key) for key in config.keys] or None,
                options=options,
                partitioned=False,
            )

    @dg.job(
        name=name,
        description=description,
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def videos_job() -> None:
        work()

    return videos_job


def _sha256(session: Session, key: str) -> str:
    """A whole sha256 as it is, known or not; whatever else was typed on the page by the library's names."""
    return key if re.fullmatch("[0-9a-f]{64}", key) else session.library.videos.resolve(key)
