"""Runs jobs in the caller's own process, on the home's Dagster instance, so that there is one history.

Dagster is loaded only if there is work to do: a run that finds everything current ends without it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.runner.due import Selection
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import NullObserver, Runner
from vidpipe.settings import Settings
from vidpipe.sources.inputs import Gathered
from vidpipe.sources.records import IngestObserver, IngestOutcome
from vidpipe.stages.contract import Observer
from vidpipe.stages.graph import StageGraph

if TYPE_CHECKING:
    import dagster as dg


@dataclass
class InProcessRun:
    """What a run in the caller's own process shares with its op, attached to the library resource.

    Run configs hold plain data that everybody may read. An open library, a progress display or a URL with a password
    are passed on here instead. Runs that Dagster launches have none of this.

    Attributes:
        settings: The settings in force, with the options of the command.
        library: The open library; the op does not close it.
        observer: Receives what happens to each video and stage.
        ingest_observer: Receives what happens to each source.
        gathered: Requests of ingest, with the secrets of their URLs.
        cancelled: Set by the caller to stop the run.
        report: The report of the stages.
        outcomes: The outcomes of ingest.
        fault: What ended the work; raised again outside Dagster.
    """

    settings: Settings
    library: Library
    observer: Observer | None = None
    ingest_observer: IngestObserver | None = None
    gathered: Gathered | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    report: RunReport | None = None
    outcomes: list[IngestOutcome] | None = None
    fault: BaseException | None = None

    def execute(self, job: dg.JobDefinition, op: str, config: Mapping[str, Any]) -> bool:
        """Run `job`, whose only op is `op`, in this process.

        Returns:
            Whether the run succeeded.

        Raises:
            BaseException: `fault`, as the op left it.
        """
        import dagster as dg

        from vidpipe.library.leases import this_process
        from vidpipe.operations.services.state import dagster_home
        from vidpipe.pipeline.dagster_tags import REPOSITORY_TAGS
        from vidpipe.pipeline.history_damage import history_explained
        from vidpipe.pipeline.instance import instance
        from vidpipe.pipeline.jobs import FILE_LOGGER
        from vidpipe.pipeline.resources import LibraryResource
        from vidpipe.pipeline.run_launcher import PROCESS_TAG

        resource = LibraryResource(home=str(self.settings.home)).for_run(self)
        with history_explained(dagster_home(self.settings)):
            with instance(self.settings) as opened, _keep_signal_handlers(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = job.execute_in_process(
                    run_config={"ops": {op: {"config": dict(config)}}, "loggers": {FILE_LOGGER: {}}},
                    instance=opened,
                    raise_on_error=False,
                    tags={**REPOSITORY_TAGS, PROCESS_TAG: this_process()},
                    resources={"library": dg.ResourceDefinition.hardcoded_resource(resource)},
                )
            if result.dagster_run.status == dg.DagsterRunStatus.CANCELED:
                self.cancelled.set()
            if self.fault is not None:
                raise self.fault
        return result.success


def run_process(
    settings: Settings,
    request: RunRequest | None = None,
    *,
    observer: Observer | None = None,
    cancelled: threading.Event | None = None,
    graph: StageGraph | None = None,
    library: Library | None = None,
) -> RunReport:
    """Fulfil `request` (None: all that is due) by the job `process`.

    If nothing has to be computed, there is no Dagster run. Ctrl-C, SIGTERM and `cancelled` stop the run gracefully:
    finished work is stored, the Dagster run is marked as cancelled, and the report is `interrupted`.

    Args:
        settings: The settings in force.
        request: Which videos, which stages, and how.
        observer: Receives what happens to each video and stage.
        cancelled: Stops the run once set.
        graph: The stages; those of vidpipe by default.
        library: An open library, which stays open; by default one is opened and closed.

    Raises:
        SettingsError: A stage is unknown.
        UnavailableError: MongoDB is unreachable for too long.
    """
    graph = graph or default_graph()
    request = request or RunRequest()
    with open_library(settings, graph, library) as opened:
        run = InProcessRun(settings, opened, observer, cancelled=cancelled or threading.Event())
        report = _run_without_work(run, graph, request)
        if report is not None:
            return report

        from vidpipe.pipeline.jobs import PROCESS_OP, process_job

        succeeded = run.execute(process_job(graph, settings), PROCESS_OP, request.as_config())
        if run.report is None:
            raise unexplained(succeeded)
        return run.report


def report_results_again(settings: Settings, library: Library) -> None:
    """Materialise every good result that Dagster does not know, for instance in a new history."""
    from vidpipe.pipeline.clean_up import OP_NAME, clean_up_job

    if not InProcessRun(settings, library).execute(clean_up_job(library.graph), OP_NAME, {"only_show": True}):
        raise unexplained(succeeded=False)


def default_graph() -> StageGraph:
    from vidpipe.stages.registry import GRAPH  # loads every stage's libraries

    return GRAPH


def open_library(
    settings: Settings, graph: StageGraph, library: Library | None
) -> contextlib.AbstractContextManager[Library]:
    return Library.open(settings, graph) if library is None else contextlib.nullcontext(library)


def _run_without_work(run: InProcessRun, graph: StageGraph, request: RunRequest) -> RunReport | None:
    """Return the report of a run that has nothing to compute; None if there is work."""
    began = time.monotonic()
    plan = Plan.make(graph, run.settings, request.stages)
    try:
        selection = Selection(run.library, plan, request)
        if request.videos is None:
            if len(selection.due()):
                return None
            return RunReport(problems=dict(plan.unavailable), seconds=time.monotonic() - began)
        given = selection.given(request.videos)
        if any(state is not None and selection.wants_any(state) for _, state in selection.states(given)):
            return None
        checked = request.model_copy(update={"check_files": False})
        return Runner(run.library, plan, run.observer or NullObserver(), cancelled=run.cancelled).run(checked)
    finally:
        plan.close()


@contextlib.contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which Dagster replaces while it runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def unexplained(succeeded: bool) -> VidpipeError:
    return VidpipeError(
        f"The run {'ended' if succeeded else 'failed'} before it started its work.",
        "The log file says why; `vidpipe doctor` checks what is missing.",
    )
