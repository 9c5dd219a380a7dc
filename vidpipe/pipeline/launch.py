"""Runs jobs in the caller's own process, on the home's Dagster instance, so that everything is in one history.

Nothing here needs Dagster until there is work to do: a run that finds everything current is over before Dagster's
packages are loaded.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidpipe.errors import VidpipeError, readable
from vidpipe.ingest.records import IngestObserver, IngestOutcome
from vidpipe.ingest.urls import redacted_url
from vidpipe.library.library import Library
from vidpipe.pipeline.caller import CALLER, Caller
from vidpipe.runner.plan import Plan
from vidpipe.runner.report import RunReport
from vidpipe.runner.runner import Runner, Silent
from vidpipe.runner.selection import RunOptions, Selection
from vidpipe.settings import Settings
from vidpipe.stages.contract import Observer
from vidpipe.stages.graph import StageGraph

if TYPE_CHECKING:
    import dagster as dg

    from vidpipe.ingest.local import LocalMode

#: Names the code location of workspace.yaml, so that Dagster's page lists these runs with their job.
_REPOSITORY_TAG = {".dagster/repository": "__repository__@vidpipe"}


def run_process(
    settings: Settings,
    videos: Sequence[str] | None = None,
    *,
    stages: Sequence[str] | None = None,
    retry: bool = False,
    force: Sequence[str] = (),
    observer: Observer | None = None,
    cancelled: threading.Event | None = None,
    graph: StageGraph | None = None,
    library: Library | None = None,
) -> RunReport:
    """Brings `videos` (sha256; None: all that are due) up to date in `stages` (None: all), by the job `process`.

    Where nothing has to be computed there is no Dagster run. Ctrl-C, SIGTERM and `cancelled` end the run in good
    order: what is finished is stored, Dagster's run is marked as cancelled, and the report says `interrupted`.
    library: open; it stays open. Otherwise one is opened and closed.
    Raises SettingsError for unknown stages, UnavailableError when MongoDB is out of reach for too long.
    """
    graph = graph or _stages()
    options = RunOptions(retry=retry, force=frozenset(force))
    with _opened(settings, graph, library) as opened:
        caller = Caller(settings, opened, observer, cancelled=cancelled or threading.Event())
        done = _without_work(caller, graph, stages, videos, options)
        if done is not None:
            return done
        config: dict[str, Any] = {"retry": retry, "force": list(force)}
        if videos is not None:
            config["keys"] = list(dict.fromkeys(videos))
        if stages is not None:
            config["stages"] = list(stages)

        from vidpipe.pipeline.jobs import process_job

        ok = _execute(process_job(graph, settings), "process_videos", config, caller)
        if caller.report is None:
            raise _unexplained(ok)
        return caller.report


def run_ingest(
    settings: Settings,
    inputs: Sequence[str],
    *,
    mode: LocalMode = "copy",
    labels: Sequence[str] = (),
    title: str = "",
    refresh: bool = False,
    retry: bool = True,
    observer: IngestObserver | None = None,
    cancelled: threading.Event | None = None,
    graph: StageGraph | None = None,
    library: Library | None = None,
) -> list[IngestOutcome]:
    """Takes `inputs` (URLs, files, folders, lists) in by the job `ingest`; one outcome for each source, in order.

    labels: of all of them, besides those in lists; title: of the only one

    Secrets in URLs do not reach Dagster. Stopped by Ctrl-C, SIGTERM or `cancelled`, it gives the outcomes there are;
    partial downloads are resumed next time. Raises UnavailableError when MongoDB cannot be reached.
    """
    graph = graph or _stages()
    with _opened(settings, graph, library) as opened:
        caller = Caller(
            settings, opened, ingest_observer=observer, inputs=tuple(inputs), cancelled=cancelled or threading.Event()
        )
        config = {
            "inputs": [readable(redacted_url(text)) for text in inputs], "mode": mode, "labels": list(labels),
            "title": title, "refresh": refresh, "retry": retry,
        }  # fmt: skip

        from vidpipe.pipeline.ingesting.job import ingest_job

        ok = _execute(ingest_job(graph), "ingest_sources", config, caller)
        if caller.outcomes is None:
            if caller.cancelled.is_set():
                return []
            raise _unexplained(ok)
        return caller.outcomes


def show_again(settings: Settings, library: Library) -> None:
    """Makes every good result a materialization if Dagster does not know it, in a new history for instance."""
    from vidpipe.pipeline.clean_up import OP_NAME, clean_up_job

    if not _execute(clean_up_job(library.graph), OP_NAME, {"only_show": True}, Caller(settings, library)):
        raise _unexplained(ok=False)


def _stages() -> StageGraph:
    from vidpipe.stages.registry import GRAPH  # brings in every stage's libraries

    return GRAPH


def _opened(
    settings: Settings, graph: StageGraph, library: Library | None
) -> contextlib.AbstractContextManager[Library]:
    return Library.open(settings, graph) if library is None else contextlib.nullcontext(library)


def _without_work(
    caller: Caller,
    graph: StageGraph,
    stages: Sequence[str] | None,
    videos: Sequence[str] | None,
    options: RunOptions,
) -> RunReport | None:
    """The report of a run that has nothing to compute; None where there is work."""
    began = time.monotonic()
    plan = Plan.make(graph, caller.settings, stages)
    try:
        selection = Selection(caller.library, plan, options)
        if videos is None:
            if len(selection.due()):
                return None
            return RunReport(problems=dict(plan.unavailable), seconds=time.monotonic() - began)
        given = selection.given(videos)
        if any(state is not None and selection.wants_any(state) for _, state in selection.states(given)):
            return None
        seen = replace(options, check_files=False)
        return Runner(caller.library, plan, caller.observer or Silent(), seen, cancelled=caller.cancelled).run(given)
    finally:
        plan.close()


def _execute(job: dg.JobDefinition, op: str, config: Mapping[str, Any], caller: Caller) -> bool:
    """Runs `job` here, with `caller` at hand for its op. Gives whether the run succeeded; raises `caller.fault`."""
    from vidpipe.library.processes import this_process
    from vidpipe.pipeline.history_damage import history_explained
    from vidpipe.pipeline.instance import dagster_home, instance
    from vidpipe.pipeline.jobs import FILE_LOGGER
    from vidpipe.pipeline.processes import PROCESS_TAG
    from vidpipe.pipeline.resources import LibraryResource

    run_config = {"ops": {op: {"config": config}}, "loggers": {FILE_LOGGER: {}}}
    token = CALLER.set(caller)
    try:
        with (
            history_explained(dagster_home(caller.settings)), instance(caller.settings) as opened, _own_signals(),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            result = job.execute_in_process(
                run_config=run_config,
                instance=opened,
                raise_on_error=False,
                tags={**_REPOSITORY_TAG, PROCESS_TAG: this_process()},
                resources={"library": LibraryResource(home=str(caller.settings.home))},
            )
            if result.dagster_run.status == _cancelled():
                caller.cancelled.set()
    finally:
        CALLER.reset(token)
    if caller.fault is not None:
        with history_explained(dagster_home(caller.settings)):
            raise caller.fault
    return result.success


def _cancelled() -> dg.DagsterRunStatus:
    import dagster as dg

    return dg.DagsterRunStatus.CANCELED


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Dagster takes SIGINT and SIGTERM over while it runs and leaves SIGTERM changed; here they are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _unexplained(ok: bool) -> VidpipeError:
    return VidpipeError(
        f"The run {'ended' if ok else 'failed'} before it began its work.",
        "The log file says why; `vidpipe doctor` looks for what is missing.",
    )
