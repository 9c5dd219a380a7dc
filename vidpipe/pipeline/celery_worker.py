"""The Celery app that `vidpipe worker` runs: that of dagster-celery, with the addresses of this home.

While it runs, it is listed in the library, and what dead processes of its machine were working on is freed. Each run is
executed by a child process, which the system kills if this process is killed.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil
from celery.signals import task_postrun, task_prerun, worker_process_init, worker_ready, worker_shutdown
from celery.worker import state
from dagster_celery.app import app
from pymongo.errors import PyMongoError

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.process_names import this_process
from vidpipe.library.retry import repeating
from vidpipe.library.workers import BEAT_S, Workers
from vidpipe.pipeline.dagster_internals import interrupts
from vidpipe.runner.plan import Plan
from vidpipe.settings import configure_logging, load
from vidpipe.stages.registry import build_graph

_SETTINGS = load().settings
configure_logging(_SETTINGS)
_IS_REDIS = os.environ["CELERY_BROKER_URL"].startswith("redis")
app.conf.update(
    broker_url=os.environ["CELERY_BROKER_URL"],
    result_backend=os.environ["CELERY_RESULT_BACKEND"],
    # A machine reserves no run beyond its slots, which another could begin; for other brokers than Redis, Celery can do
    # so only by late acknowledgement. Dagster ignores a run that is delivered again.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=_IS_REDIS,
    task_acks_late=not _IS_REDIS,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_hijack_root_logger=False,
)
_SPECS_S = 30.0
_PRESENCE, _RUN = contextlib.ExitStack(), contextlib.ExitStack()


@worker_ready.connect  # type: ignore[untyped-decorator]
def join(sender: Any, **_: Any) -> None:
    """List this worker, and free what dead processes of its machine hold, until it ends."""
    try:
        library = _PRESENCE.enter_context(Library.open(_SETTINGS, build_graph(_SETTINGS)))
    except VidpipeError as error:  # Celery would go on
        _say(str(error))
        os._exit(error.exit_code)
    workers, name = Workers(library.collections), this_process()
    queues, slots = [queue.name for queue in sender.task_consumer.queues], sender.pool.num_processes
    specs: Mapping[str, str] = {}

    def look_at_specs() -> None:  # not as part of a beat: a large model takes minutes to be hashed
        nonlocal specs
        specs = _specs_of_today()

    def beat() -> None:
        taken = [request.kwargs.get("execute_job_args_packed", {}) for request in [*state.requests.values()]]
        runs = [launched.get("pipeline_run_id", "") for launched in taken]
        workers.beat(name, queues, slots, runs, specs)
        with contextlib.suppress(VidpipeError, OSError):
            library.free_dead()

    _PRESENCE.callback(lambda: workers.leave(name))
    with contextlib.suppress(PyMongoError):  # the next beat repeats it
        beat()
    _PRESENCE.enter_context(repeating(beat, BEAT_S, "presence"))
    _PRESENCE.enter_context(repeating(look_at_specs, _SPECS_S, "specs"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    _say(f"Joined as {os.uname().nodename}: takes runs of {' and '.join(queues)}, {slots} at once. Ctrl-C stops.")


def _specs_of_today() -> Mapping[str, str]:
    """Return stage -> its spec on this machine, by its present settings and rules."""
    try:
        settings = load().settings
        with contextlib.closing(Plan.make(build_graph(settings), settings)) as plan:
            return plan.specs
    except (VidpipeError, OSError):  # which its runs report
        return {}


def stop(number: int, _frame: Any) -> None:
    """Take no more runs, and have those in progress store what is finished and end; the second time, end at once."""
    if state.should_stop is not None:
        os._exit(128 + number)
    state.should_stop = 0
    _say("Stopping: runs in progress store what is finished. Press Ctrl-C again to quit.")
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            child.send_signal(signal.SIGINT)


@task_prerun.connect  # type: ignore[untyped-decorator]
def begin(kwargs: Any, **_: Any) -> None:
    """Say which run this process begins, and when it ends. An interrupt that comes before its start waits for it."""
    run, began = kwargs["execute_job_args_packed"], time.monotonic()
    name = f"Run {run['pipeline_run_id']} ({run['pipeline_origin']['pipeline_name']})"
    _say(f"{name} begins.")
    _RUN.callback(lambda: _say(f"{name} has ended after {time.monotonic() - began:.0f} s."))
    _RUN.enter_context(interrupts.capture_interrupts())


def _say(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)  # sys.stderr leads to the log


task_postrun.connect(lambda **_: _RUN.close(), weak=False)
worker_shutdown.connect(lambda **_: _PRESENCE.close(), weak=False)
# processes that execute runs miss the Ctrl-C in the terminal, of which `stop` tells them
worker_process_init.connect(lambda **_: os.setsid(), weak=False)
