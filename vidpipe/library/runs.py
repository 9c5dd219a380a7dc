"""The statistics of each run (collection `runs`), and their totals over all time.

One document per run: who started what and when, how many videos each stage computed, found current, failed, and the
seconds it took; the model's questions, tokens and time, and how busy its servers were; for ingest the outcome of the
sources, and the bytes. It is updated during the run, so that a killed run loses only its last seconds: its status stays
"running", with the name of a process that has ended, and `status_of` returns "lost". `vidpipe ask` counts as a run; its
use of the model is counted for the stage that normally asks it.

Every number is also added to the document `TOTALS`, which no clean-up deletes: old runs may be deleted, and the
counters derived from it never fall.
"""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import pymongo
from pymongo import DESCENDING, UpdateOne
from pymongo.collection import Collection

from vidpipe.library import server_clock
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.library.retry import repeating
from vidpipe.library.schema import Document
from vidpipe.redaction import redact
from vidpipe.stages.contract import ModelTokens
from vidpipe.stages.events import StageEvent

log = logging.getLogger(__name__)

#: `_id` of the document that sums up all runs, deleted ones included.
TOTALS = "totals"

#: Model servers -> figures; see `vidpipe.models.describing_model.DescribingModel.server_use`.
ServerFigures = Callable[[], Mapping[str, Mapping[str, float]]]
#: In an address that is the key of a document.
_DOT = "%2E"

RunStatus = Literal["running", "success", "failure", "canceled", "lost"]
SourceResult = Literal["stored", "known", "failed", "refused", "gone"]

#: Seconds between two updates of a run's document.
FLUSH_S = 10.0
#: Longest wait for the server; statistics must not delay a run.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class RunStep:
    """A step of a run; several steps of one run add to the same document.

    Attributes:
        id: The run's id.
        job: Its job.
        by: Who started it: command, page, sensor, schedule, backfill.
        step: The step.
    """

    id: str
    job: str
    by: str
    step: str


@dataclass(frozen=True)
class ModelUse(ModelTokens):
    """What the model did.

    Attributes:
        model_seconds: Time spent in the stages that ask it, failures included.
    """

    model_seconds: float = 0.0

    @classmethod
    def of(cls, sums: Mapping[str, float]) -> "ModelUse":
        """Return the use with these figures; missing ones are 0."""
        counts = {name: int(sums.get(name, 0)) for name in MODEL_FIGURES if name != "model_seconds"}
        return cls(**counts, model_seconds=float(sums.get("model_seconds", 0.0)))


#: The fields of `ModelUse`, which are also their names in a run's document.
MODEL_FIGURES = tuple(field.name for field in fields(ModelUse))


class RunCounters:
    """Counts what a step of a run does. May be called from any thread.

    Attributes:
        stopped: A person stopped it early, although the block ends like one that succeeds.
        model: The name of the model that is asked; "" if none is.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._added: defaultdict[str, float] = defaultdict(float)
        self._in_stage: Counter[str] = Counter()
        self.model = ""
        self._asking: frozenset[str] = frozenset()
        self._use: defaultdict[str, float] = defaultdict(float)
        self._server_use: ServerFigures = dict
        self._servers_before: Mapping[str, float] = {}

    def asks(self, model: str, stages: Iterable[str], server_use: ServerFigures = dict) -> None:
        """Declare which model `stages` ask: from now on their time counts as the model's.

        Args:
            model: Its name.
            stages: The stages.
            server_use: How busy its servers were since the model was made, for this run alone.
        """
        with self._lock:
            self.model, self._asking, self._server_use = model, frozenset(stages), server_use

    @property
    def model_use(self) -> ModelUse:
        """What the model has done in this step so far."""
        with self._lock:
            return ModelUse.of(self._use)

    def count(self, event: StageEvent) -> None:
        """Count the outcome of one video in one stage."""
        if event.state == "started":
            return
        with self._lock:
            place = f"stages.{event.stage}"
            # One that failed in an earlier run was counted in that run.
            self._added[f"{place}.{'failed_before' if event.earlier else event.state}"] += 1
            self._added[f"{place}.seconds"] += event.seconds
            self._added[f"{place}.changed"] += bool(event.changed)
            if event.stage in self._asking:
                self._count_model(place, event.used, event.seconds)
            self._in_stage[event.stage] += 1

    def count_answers(self, stage: str, used: ModelTokens, seconds: float) -> None:
        """Count what the model did outside of a stage's work; it is added to `stage`."""
        with self._lock:
            self._count_model(f"stages.{stage}", used, seconds)

    def _count_model(self, place: str, used: ModelTokens | None, seconds: float) -> None:
        figures: dict[str, float] = {"model_seconds": seconds, **(asdict(used) if used else {})}
        for name, number in figures.items():
            self._added[f"{place}.{name}"] += number
            self._use[name] += number

    def count_source(self, result: SourceResult, size_bytes: int = 0) -> None:
        """Count the outcome of one source.

        Args:
            result: The outcome.
            size_bytes: Size of what is new in the library.
        """
        with self._lock:
            self._added[f"sources.{result}"] += 1
            self._added["bytes_in"] += size_bytes

    def take(self) -> tuple[Mapping[str, float], int]:
        """Return (what was counted since the last call, by its place in the document; videos so far)."""
        with self._lock:
            servers = self._servers()
            for place, number in servers.items():
                self._added[place] += number - self._servers_before.get(place, 0)
            added, self._added, self._servers_before = self._added, defaultdict(float), servers
            return added, max(self._in_stage.values(), default=0)

    def _servers(self) -> dict[str, float]:
        use = {address.replace(".", _DOT): figures for address, figures in self._server_use().items()}
        return {f"servers.{key}.{name}": number for key, figures in use.items() for name, number in figures.items()}

    def put_back(self, added: Mapping[str, float]) -> None:
        """Return what could not be stored; it is stored with what comes next."""
        with self._lock:
            for place, number in added.items():
                self._added[place] += number


@contextmanager
def record_run(
    runs: Collection[Document], step: RunStep, flush_s: float = FLUSH_S, patience_s: float = PATIENCE_S
) -> Iterator[RunCounters]:
    """Give the block counters that are stored in MongoDB at its start and end, and by a thread while it runs.

    A block that raises counts as failed, or as canceled if what it raises is not an Exception (Ctrl-C, Dagster's
    interruption). Problems with the statistics are logged and never reach the run.

    Args:
        runs: The collection `runs`.
        step: Which run.
        flush_s: Seconds between two updates.
        patience_s: Longest wait for the server in seconds.
    """
    counters = RunCounters()
    began = server_clock.now()
    final: RunStatus = "success"
    warned = False

    def write(status: RunStatus) -> None:
        nonlocal warned
        taken = counters.take()
        try:
            with pymongo.timeout(patience_s):
                runs.bulk_write(_updates(step, began, counters.model, taken, status), ordered=True)
        except Exception as error:
            counters.put_back(taken[0])
            if not warned:
                log.warning("the statistics of run %s could not be stored: %s", step.id, redact(str(error)))
            warned = True

    write("running")
    try:
        with repeating(partial(write, "running"), flush_s, "run-statistics"):
            yield counters
        final = "canceled" if counters.stopped else "success"
    except BaseException as error:
        final = "failure" if isinstance(error, Exception) else "canceled"
        raise
    finally:
        write(final)


def _updates(
    step: RunStep, began: datetime, model: str, taken: tuple[Mapping[str, float], int], status: RunStatus
) -> list[UpdateOne]:
    """Return the updates of the run's document and, after it, of the totals.

    A kill between the two loses some seconds' worth of totals. If the server did not say whether it stored them, they
    are sent again: these are statistics, not accounts.
    """
    now = server_clock.now()
    added, videos = taken
    figures = {place: number for place, number in added.items() if number}
    values = {"status": status, "owner": this_process(), "job": step.job, "by": step.by}
    run: Document = {
        "$set": {f"steps.{key_of(step.step)}": status, **values},
        "$currentDate": {"updated_at": True},  # the server's time: a run that is not updated any more has vanished
        "$min": {"began_at": began},
        "$max": {"videos": videos},
    }
    total: Document = dict(figures)
    if status != "running":
        total[f"steps.{key_of(step.job)}.{status}"] = 1
        run["$max"]["ended_at"] = now
    if figures:
        run["$inc"] = figures
    if model:
        run["$addToSet"] = {"models": model}
    updates = [UpdateOne({"_id": step.id}, run, upsert=True)]
    if total:
        updates.append(UpdateOne({"_id": TOTALS}, {"$inc": total, "$min": {"since": began}}, upsert=True))
    return updates


def key_of(name: str) -> str:
    """Return `name` as the key of a document."""
    return name.replace(".", "_").replace("$", "_") or "_"


def status_of(run: Mapping[str, Any]) -> RunStatus:
    """Return the status of a run's document: its worst step's; a running one whose process died is lost.

    (The field `status` is that of the step that wrote last.)
    """
    steps = set((run.get("steps") or {}).values())
    if "running" in steps:
        return "lost" if is_dead(run.get("owner", "")) else "running"
    return "failure" if "failure" in steps else "canceled" if "canceled" in steps else "success"


def model_figures(stages: Mapping[str, Mapping[str, float]]) -> ModelUse:
    """Return what the model did in all of the `stages` of a run's document, or of the totals."""
    return ModelUse.of({name: sum(stage.get(name, 0) for stage in stages.values()) for name in MODEL_FIGURES})


def server_use(document: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Return how busy each model server was in a run, or in all for the totals, by its address."""
    return {key.replace(_DOT, "."): figures for key, figures in (document.get("servers") or {}).items()}


class Runs:
    """The stored statistics."""

    def __init__(self, runs: Collection[Document]) -> None:
        self._runs = runs

    def since(self, moment: datetime | None = None, *, limit: int = 0) -> Iterator[Document]:
        """Yield the documents of runs that began at or after `moment` (None: all), latest first."""
        began: Document = {"began_at": {"$gte": moment or datetime.fromtimestamp(0, UTC)}}
        yield from self._runs.find(began).sort("began_at", DESCENDING).limit(limit)

    def latest_server_use(self) -> dict[str, Mapping[str, float]]:
        """Return how busy each model server was in the latest run that asked one, if it is recent; see `server_use`."""
        recent = self._runs.find({"_id": {"$ne": TOTALS}}, {"servers": 1}).sort("began_at", DESCENDING).limit(200)
        return next((server_use(run) for run in recent if "servers" in run), {})

    def totals(self) -> Document:
        """Return the sums over all runs, deleted ones included; empty if nothing ran yet.

        The keys are `stages.<name>.<figure>`, `servers.<address>.<figure>`, `sources.<result>`, `bytes_in`,
        `steps.<job>.<status>` and `since`.
        """
        return self._runs.find_one({"_id": TOTALS}) or {}
