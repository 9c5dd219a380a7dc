"""Runs jobs in the caller's own process, on the home's Dagster instance, so that there is one history.

Dagster is loaded only if there is work to do: a run that finds everything current ends without it. Loading it and
opening the instance take about a second, so the work of the job `process` begins meanwhile.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidpipe.datasets.duplicates.sharing import copies, run_in_turns, share, shares
from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.pipeline.started_work import StartedWork
from vidpipe.runner.due import Selection
from vidpipe.runner.plan import DescribingStages, Plan, record_specs
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.rule_changes import record_in_force
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.events import NullObserver, Observer
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.registry import build_graph

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

    from vidpipe.library.process_names import this_process
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.execution import FILE_LOGGER
    from vidpipe.pipeline.instance import history_explained, instance
    from vidpipe.pipeline.resources import LibraryResource
    from vidpipe.pipeline.run_launcher import PROCESS_TAG

    resource = LibraryResource.of(run.settings.home, caller=run)
    with history_explained(dagster_home(run.settings)):
        with instance(run.settings) as opened, _stopped_by_signals(run.cancelled), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = job.execute_in_process(
                run_config={"ops": {op: {"config": dict(config)}}, "loggers": {FILE_LOGGER: {}}},
                instance=opened,
                raise_on_error=False,
                run_id=run.work.run_id if run.work else None,
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
    by: str = "command",
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
        by: Who starts it (see `RunStep`).

    Raises:
        SettingsError: A stage is unknown, or Dagster's instance cannot be opened, which stops the work.
        DamagedError: Files of Dagster's history are damaged, which stops the work.
        UnavailableError: MongoDB is unreachable for too long.
    """
    graph = graph or build_graph(settings)
    request = request or RunRequest()
    cancelled = cancelled or threading.Event()
    observer = observer or NullObserver()
    with (
        open_library(settings, graph, library) as opened,
        contextlib.closing(Plan.make(graph, settings, request.stages, fetch=True)) as plan,
    ):
        report = _run_without_work(opened, plan, request, observer=observer, cancelled=cancelled)
        if report is not None and shares(plan) and share(opened, plan, copies(opened))[1]:
            report = _run_without_work(opened, plan, request, observer=observer, cancelled=cancelled)
        if report is not None:
            return report

        from vidpipe.runner.estimate import estimate

        record_specs(opened, plan)
        record_in_force(opened, plan, by)
        work = StartedWork(observer, plan, estimate(opened, plan, request).model if DescribingStages.of(plan) else None)
        runner = Runner(opened, plan, work, work.run_id, cancelled)
        with _stopped_by_signals(cancelled), ThreadPoolExecutor(1, thread_name_prefix="dagster") as pool:
            recorded = pool.submit(_record, work, request, opened, plan, cancelled, by=by)
            try:
                work.end(run_in_turns(runner, request.model_copy(update={"check_files": False})))  # it has checked them
            except KeyboardInterrupt:
                work.end(replace(runner.report, interrupted=True))
            except BaseException as error:
                work.end(error)
            return recorded.result()


def _record(
    work: StartedWork, request: RunRequest, library: Library, plan: Plan, cancelled: threading.Event, *, by: str
) -> RunReport:
    """Follow the work by a Dagster run until it ends. If Dagster fails, the work is stopped."""
    try:
        from vidpipe.pipeline.jobs import PROCESS_OP, process_job
        from vidpipe.pipeline.resources import InProcessRun

        run = InProcessRun(plan.settings, library, cancelled=cancelled, work=work, by=by)
        succeeded = execute(run, process_job(plan.graph, plan.settings), PROCESS_OP, request.as_config())
        if run.report is None:
            raise unexplained(succeeded)
    except BaseException:
        cancelled.set()
        with contextlib.suppress(BaseException):
            work.follow(NullObserver())  # it must not wait for a step
        raise
    return run.report


def open_library(
    settings: Settings, graph: StageGraph, library: Library | None
) -> contextlib.AbstractContextManager[Library]:
    """Return a context with `library`, which stays open, or with one that is opened for it."""
    return Library.open(settings, graph) if library is None else contextlib.nullcontext(library)


def _run_without_work(
    library: Library, plan: Plan, request: RunRequest, *, observer: Observer, cancelled: threading.Event
) -> RunReport | None:
    """Return the report of a run that has nothing to compute; None if there is work."""
    began = time.monotonic()
    selection = Selection(library, plan, request)
    if request.videos is None:
        if len(selection.due()):
            return None
        return RunReport(problems=plan.problems, unavailable=dict(plan.unavailable), seconds=time.monotonic() - began)
    given = selection.given(request.videos)
    if any(state is not None and selection.wants_any(state) for _, state in selection.states(given)):
        return None
    checked = request.model_copy(update={"check_files": False})
    return Runner(library, plan, observer, cancelled=cancelled).run(checked)


@contextlib.contextmanager
def _stopped_by_signals(cancelled: threading.Event) -> Iterator[None]:
    """In the main thread, have SIGINT and SIGTERM set `cancelled`, and interrupt if it is set already.

    Dagster replaces the handlers while it runs in the main thread; leaving restores those from before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
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
