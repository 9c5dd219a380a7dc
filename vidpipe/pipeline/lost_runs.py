"""Ends runs on other machines that have vanished, and runs that no machine ever began.

A step stores its figures in the collection `runs` every few seconds (`vidpipe.library.runs`), and each worker the runs
that it has taken. A run of which neither is heard has lost its machine, or its machine has lost the network: what it
still commits is refused once its leases have expired.
"""

import logging
import threading
import time
from collections.abc import Mapping

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.process_names import is_dead, pid_of
from vidpipe.library.runs import FLUSH_S
from vidpipe.library.workers import Workers
from vidpipe.pipeline.cluster_config import CPU_QUEUE, QUEUE_TAG
from vidpipe.pipeline.dagster_internals import free_pool_slots
from vidpipe.pipeline.run_launcher import PROCESS_TAG

log = logging.getLogger(__name__)

#: A run of which nothing was heard for this long is lost.
_SILENT_S = 4 * FLUSH_S
#: A run that no free machine has begun for this long is lost, by the broker or with the machine that took it.
_UNBEGUN_S = 45.0
_LONGEST_GAP_S = 20.0
_ACTIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
#: Of runs that a worker executes.
_TASK_TAG = "dagster-celery/task_id"
#: Several sensors look for lost runs, in threads of one process.
_LOCK = threading.Lock()


def end_lost_runs(instance: dg.DagsterInstance, library: Library) -> list[str]:
    """End the runs that are lost, and free their slots in pools. Returns their ids.

    To be called every few seconds from the same process, which counts for how long there has been no news.
    """
    ended = []
    with _LOCK:
        remote = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(statuses=_ACTIVE)) if _is_remote(run)}
        for run_id, silent_s in _SILENCE.of(_news(library, remote)).items():
            run, limit_s = remote[run_id], _SILENT_S
            reason = f"Nothing was heard of this run for {silent_s:.0f} s: its machine is gone."
            if run.status == dg.DagsterRunStatus.STARTING:
                limit_s = _UNBEGUN_S
                reason = "No machine has begun this run although one is free: the broker or the machine has lost it."
            if silent_s > limit_s:
                log.warning("ending run %s: %s", run_id, reason)
                canceling = run.status == dg.DagsterRunStatus.CANCELING
                (instance.report_run_canceled if canceling else instance.report_run_failed)(run, reason)
                free_pool_slots(instance, run_id)
                ended.append(run_id)
    return ended


class _Silence:
    """For how long there has been no news of which run.

    While MongoDB or Dagster's database is away, nobody can tell any: such a gap counts for at most `_LONGEST_GAP_S`.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, float]] = {}
        self._asked_s = time.monotonic()

    def of(self, news: Mapping[str, object]) -> dict[str, float]:
        """Return run id -> silence in seconds; whatever differs from last time is news."""
        now_s, before = time.monotonic(), self._known
        gap_s, self._asked_s = min(now_s - self._asked_s, _LONGEST_GAP_S), now_s
        self._known = {
            run_id: (told, before[run_id][1] + gap_s if before.get(run_id, ("", 0))[0] == told else 0.0)
            for run_id, told in news.items()
        }
        return {run_id: silent_s for run_id, (_, silent_s) in self._known.items()}


_SILENCE = _Silence()


def _news(library: Library, remote: Mapping[str, dg.DagsterRun]) -> dict[str, object]:
    """Return run id -> what changes at least every `FLUSH_S` while a machine has the run, or none could have it."""
    if not remote:
        return {}
    rows = library.collections["runs"].find({"_id": {"$in": list(remote)}}, {"updated_at": 1, "steps": 1})
    in_step = {row["_id"]: row["updated_at"] for row in rows if "running" in row.get("steps", {}).values()}
    workers = Workers(library.collections).present()
    taken = {run_id for worker in workers for run_id in worker.runs}
    free = {queue for worker in workers if len(worker.runs) < worker.slots for queue in worker.queues}

    def news(run: dg.DagsterRun) -> object:
        if run.status == dg.DagsterRunStatus.STARTING:
            waits = run.run_id in taken or run.tags.get(QUEUE_TAG, CPU_QUEUE) not in free
            return time.monotonic() if waits else "unbegun"
        if run.run_id in in_step:
            return run.status, in_step[run.run_id]
        # it begins, or waits for a slot in a pool: a worker says so of its runs, Dagster asks Docker and Kubernetes
        # about theirs, and `vidpipe run` on another machine says nothing
        return time.monotonic() if run.run_id in taken or _TASK_TAG not in run.tags else "silent"

    return {run_id: news(run) for run_id, run in remote.items()}


def _is_remote(run: dg.DagsterRun) -> bool:
    """Whether the run is not known to be on this machine."""
    return pid_of(tag := run.tags.get(PROCESS_TAG, "")) is None and not is_dead(tag)
