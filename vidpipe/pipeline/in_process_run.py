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
from typing import TYPE_CHECKING, Any

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.runner.due import Selection
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import NullObserver, Runner
from vidpipe.settings import Settings
from vidpipe.stages.contract import Observer
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.registry import GRAPH

if TYPE_CHECKING:
    import dagster as dg

    from vidpipe.pipeline.resources import InProcessRun

#: Names the code location of workspace.yaml on runs that start in a terminal. Dagster's page lists only runs with this
#: tag under their job, and adds it to those it launches itself. Dagster's documentation does not name it.
_REPOSITORY_TAGS = {".dagster/repository": "__repository__@vidpipe"}


def execute(run: InProcessRun, job: dg.JobDefinition, op: str, config: Mapping[str, Any]) -> bool:
    """Run `job`, whose only op is `op`, in this process.

    Returns:
        Whether the run succeeded.

    Raises:
        BaseException: `fault`, as the op left it.
    """
    import dagster as dg

    from vidpipe.library.leases import this_process
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.execution import FILE_LOGGER
    from vidpipe.pipeline.instance import history_explained, instance
    from vidpipe.pipeline.resources import LibraryResource
    from vidpipe.pipeline.run_launcher import PROCESS_TAG

    resource = LibraryResource.of(run.settings.home, caller=run)
    with history_explained(dagster_home(run.settings)):
        with instance(run.settings) as opened, _keep_signal_handlers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = job.execute_in_process(
                run_config={"ops": {op: {"config": dict(config)}}, "loggers": {FILE_LOGGER: {}}},
                instance=opened,
                raise_on_error=False,
                tags={**_REPOSITORY_TAGS, PROCESS_TAG: this_process()},
                resources={"library": dg.ResourceDefinition.hardcoded_resource(resource)},
            )
        if result.dagster_run.status == dg.DagsterRunStatus.CANCELED:
            run.cancelled.set()
        if run.fault is not None:
            raise run.fault
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
    graph = graph or GRAPH
    request = request or RunRequest()
    with open_library(settings, graph, library) as opened:
        cancelled = cancelled or threading.Event()
        report = _run_without_work(
            settings, opened, graph, request, observer=observer or NullObserver(), cancelled=cancelled
        )
        if report is not None:
            return report

        from vidpipe.pipeline.jobs import PROCESS_OP, process_job
        from vidpipe.pipeline.resources import InProcessRun

        run = InProcessRun(settings, opened, observer, cancelled=cancelled)
        succeeded = execute(run, process_job(graph, settings), PROCESS_OP, request.as_config())
        if run.report is None:
            raise unexplained(succeeded)
        return run.report


def open_library(
    settings: Settings, graph: StageGraph, library: Library | None
) -> contextlib.AbstractContextManager[Library]:
    """Return a context with `library`, which stays open, or with one that is opened for it."""
    return Library.open(settings, graph) if library is None else contextlib.nullcontext(library)


def _run_without_work(
    settings: Settings,
    library: Library,
    graph: StageGraph,
    request: RunRequest,
    *,
    observer: Observer,
    cancelled: threading.Event,
) -> RunReport | None:
    """Return the report of a run that has nothing to compute; None if there is work."""
    began = time.monotonic()
    with contextlib.closing(Plan.make(graph, settings, request.stages)) as plan:
        selection = Selection(library, plan, request)
        if request.videos is None:
            if len(selection.due()):
                return None
            return RunReport(problems=dict(plan.unavailable), seconds=time.monotonic() - began)
        given = selection.given(request.videos)
        if any(state is not None and selection.wants_any(state) for _, state in selection.states(given)):
            return None
        checked = request.model_copy(update={"check_files": False})
        return Runner(library, plan, observer, cancelled=cancelled).run(checked)


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
    """Return the error of a run that neither did its work nor raised an error."""
    return VidpipeError(
        f"The run {'ended' if succeeded else 'failed'} before it started its work.",
        "The log file says why; `vidpipe doctor` checks what is missing.",
    )
