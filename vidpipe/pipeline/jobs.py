"""The jobs: prepare, describe and label over partitions; and process, for any list of videos."""

import logging
import re

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from vidpipe.pipeline.assets import STEPS
from vidpipe.pipeline.execution import Session, run_stages
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.selection import RunOptions
from vidpipe.settings import Settings
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
    jobs = []
    for step in STEPS:
        names = [stage.name for stage in graph if stage.job == step]
        if names:
            jobs.append(
                dg.define_asset_job(
                    step,
                    selection=dg.AssetSelection.assets(*names).without_checks(),
                    description=f"{', '.join(names)} for the chosen videos.",
                    executor_def=dg.in_process_executor,
                )
            )
    return jobs


class ProcessConfig(dg.Config):
    keys: list[str] = Field(
        default_factory=list,
        description="videos by hash, its first digits, URL or file name; empty: all due",
    )
    stages: list[str] = Field(default_factory=list, description="names of the stages; empty: all")
    retry: bool = Field(False, description="try failed and quarantined videos again")
    force: list[str] = Field(default_factory=list, description="stages to compute again even where current")


def process_job(graph: StageGraph, settings: Settings) -> dg.JobDefinition:
    """All chosen stages in one go, for any list of videos."""

    @dg.op(
        name="process_videos",
        description="Takes each video through the chosen stages.",
        pool="gpu" if settings.qwen_vl.backend == "qwen" else None,
    )
    def process_videos(context: dg.OpExecutionContext, config: ProcessConfig, library: LibraryResource) -> None:
        with Session.begin(context, library, graph) as session:
            # A caller has looked at the files already, to know whether there is work.
            checks = session.caller is None
            options = RunOptions(retry=config.retry, force=frozenset(config.force), check_files=checks)
            run_stages(
                context,
                session,
                graph,
                stages=config.stages or None,
                videos=[_sha256(session, key) for key in config.keys] or None,
                options=options,
                partitioned=False,
            )

    @dg.job(
        name="process",
        description="Any list of videos, or all that are due, through all stages or some. What `vidpipe run` runs.",
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def process() -> None:
        process_videos()

    return process


def _sha256(session: Session, key: str) -> str:
    """A whole sha256 as it is, known or not; whatever else was typed on the page by the library's names."""
    return key if re.fullmatch("[0-9a-f]{64}", key) else session.library.videos.resolve(key)
