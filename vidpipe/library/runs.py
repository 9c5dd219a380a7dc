"""The figures of each run (collection `runs`), and their totals over all time.

One document a run: who began what and when, how many videos each stage computed, found current, failed, and the seconds
that took; what the describing model was asked, the tokens that it read and wrote, and its time; for ingest what became
of the sources, and the bytes. It is brought up to date while the run goes on, so that a killed run loses the last
seconds of its figures and no more: it then says "running" for ever, with the name of a process that is gone, and
`status_of` says "lost". `vidpipe ask` counts as a run; what the model did for it stands with the stage that asks it
otherwise.

Every figure is counted a second time in the document `TOTALS`, which no clean-up deletes: old runs may go, and the
counters that are made of it never fall.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

import pymongo
from pymongo import DESCENDING, UpdateOne
from pymongo.collection import Collection

from vidpipe.library.processes import is_dead, this_process
from vidpipe.library.schema import Document
from vidpipe.redaction import redact
from vidpipe.stages.contract import ModelTokens, StageEvent

log = logging.getLogger(__name__)

#: _id of the document that sums up all runs, deleted ones included.
TOTALS = "totals"

RunStatus = Literal["running", "success", "failure", "canceled", "lost"]
SourceResult = Literal["stored", "known", "failed", "refused"]

_FLUSH_S = 15.0
#: Longest wait for the server; figures are not worth holding a run back for.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class RunName:
    """Which run, and which of its steps: several steps of one run add to the same document.

    by: who started it: command, page, sensor, schedule, backfill
    """

    id: str
    job: str
    by: str
    step: str


@dataclass(frozen=True)
class ModelUse(ModelTokens):
    """What the describing model did, and model_seconds: the time in the stages that ask it, failures included."""

    model_seconds: float = 0.0

    def __add__(self, other: ModelUse) -> ModelUse:
        return ModelUse(*(getattr(self, name) + getattr(other, name) for name in MODEL_FIGURES))


#: The figures of `ModelUse` as a stage's figures in a run's document name them.
MODEL_FIGURES = tuple(field.name for field in fields(ModelUse))


class Figures:
    """Counts what a step of a run does. May be called from any thread.

    stopped: a person ended it before its end, though the block ends as one that succeeds
    """

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._added: defaultdict[str, float] = defaultdict(float)
        self._videos = 0
        self._in_stage: Counter[str] = Counter()
        self._model = ""
        self._asking: frozenset[str] = frozenset()
        self._use: defaultdict[str, float] = defaultdict(float)

    def asks(self, model: str, stages: Iterable[str]) -> None:
        """Says which model `stages` ask: their time is the model's from now on."""
        with self._lock:
            self._model, self._asking = model, frozenset(stages)

    @property
    def model(self) -> str:
        """The name of the model that is asked; "" where none is."""
        return self._model

    @property
    def model_use(self) -> ModelUse:
        """What the model has done in this step so far."""
        with self._lock:
            counts = {name: int(self._use[name]) for name in MODEL_FIGURES if name != "model_seconds"}
            return ModelUse(**counts, model_seconds=self._use["model_seconds"])

    def count(self, event: StageEvent) -> None:
        """What became of one video in one stage."""
        if event.state == "started":
            return
        with self._lock:
            place = f"stages.{event.stage}"
            # One that failed in an earlier run was counted there.
            self._added[f"{place}.{'failed_before' if event.earlier else event.state}"] += 1
            self._added[f"{place}.seconds"] += event.seconds
            if event.changed:
                self._added[f"{place}.changed"] += 1
            if event.stage in self._asking:
                self._count_model(place, event.used, event.seconds)
            self._in_stage[event.stage] += 1
            self._videos = max(self._videos, self._in_stage[event.stage])

    def count_answers(self, stage: str, used: ModelTokens, seconds: float) -> None:
        """What the model did besides the work of a stage; it stands with `stage`."""
        with self._lock:
            self._count_model(f"stages.{stage}", used, seconds)

    def _count_model(self, place: str, used: ModelTokens | None, seconds: float) -> None:
        figures: dict[str, float] = {"model_seconds": seconds, **(asdict(used) if used else {})}
        for name, number in figures.items():
            self._added[f"{place}.{name}"] += number
            self._use[name] += number

    def count_source(self, result: SourceResult, size_bytes: int = 0) -> None:
        """What became of one source. size_bytes: of what is new in the library."""
        with self._lock:
            self._added[f"sources.{result}"] += 1
            self._added["bytes_in"] += size_bytes

    def take(self) -> tuple[Mapping[str, float], int]:
        """(what was counted since the last call, by its place in the document; videos so far)."""
        with self._lock:
            added, self._added = self._added, defaultdict(float)
            return added, self._videos

    def put_back(self, added: Mapping[str, float]) -> None:
        """What could not be stored is stored with what comes next."""
        with self._lock:
            for place, number in added.items():
                self._added[place] += number


@contextmanager
def recorded(runs: Collection[Document], name: RunName, flush_s: float = _FLUSH_S) -> Iterator[Figures]:
    """Figures to count in, kept in MongoDB while the block runs and at its end, by a thread of their own.

    A block that raises counts as failed, or as canceled where what it raises is no Exception (Ctrl-C, Dagster's
    interruption). Trouble with the figures is logged and never reaches the run.
    """
    figures = Figures()
    record = _Record(runs, name, figures)
    ended = threading.Event()
    thread = threading.Thread(target=record.keep, args=(ended, flush_s), name="run-figures", daemon=True)
    thread.start()
    try:
        yield figures
        record.status = "canceled" if figures.stopped else "success"
    except Exception:
        record.status = "failure"
        raise
    except BaseException:
        record.status = "canceled"
        raise
    finally:
        ended.set()
        thread.join(2 * _PATIENCE_S)


class _Record:
    def __init__(self, runs: Collection[Document], name: RunName, figures: Figures) -> None:
        self.status: RunStatus = "running"
        self._runs = runs
        self._name = name
        self._figures = figures
        self._began = datetime.now(UTC)
        self._quiet = False

    def keep(self, ended: threading.Event, flush_s: float) -> None:
        wait_s = 0.0
        while not ended.wait(wait_s):
            self._write("running")
            wait_s = flush_s
        self._write(self.status)

    def _write(self, status: RunStatus) -> None:
        added, videos = self._figures.take()
        try:
            with pymongo.timeout(_PATIENCE_S):
                self._runs.bulk_write(self._updates(added, videos, status), ordered=True)
        except Exception as error:
            self._figures.put_back(added)
            if not self._quiet:
                log.warning("the figures of run %s could not be stored: %s", self._name.id, redact(str(error)))
                self._quiet = True

    def _updates(self, added: Mapping[str, float], videos: int, status: RunStatus) -> list[UpdateOne]:
        """The run's document; after it the totals: a kill between the two loses some seconds' worth of them. Where the
        server did not say whether it stored them, they are sent again: figures, not accounts."""
        now = datetime.now(UTC)
        step = _key(self._name.step)
        figures = {place: number for place, number in added.items() if number}
        values = {
            f"steps.{step}": status, "status": status, "owner": this_process(), "updated_at": now,
            "job": self._name.job, "by": self._name.by,
        }  # fmt: skip
        beginning = {"began_at": self._began}
        run: Document = {"$set": values, "$min": beginning, "$max": {"videos": videos}}
        total: Document = dict(figures)
        if status != "running":
            total[f"steps.{_key(self._name.job)}.{status}"] = 1
            run["$max"]["ended_at"] = now
        if figures:
            run["$inc"] = figures
        if self._figures.model:
            run["$addToSet"] = {"models": self._figures.model}
        updates = [UpdateOne({"_id": self._name.id}, run, upsert=True)]
        if total:
            updates.append(UpdateOne({"_id": TOTALS}, {"$inc": total, "$min": {"since": self._began}}, upsert=True))
        return updates


def _key(name: str) -> str:
    """`name` as the key of a document."""
    return name.replace(".", "_").replace("$", "_") or "_"


def status_of(run: Mapping[str, Any]) -> RunStatus:
    """How a run's document stands: of its steps the worst counts; a running one whose process died is lost.

    (The field `status` is that of the step that wrote last.)
    """
    steps = set((run.get("steps") or {}).values())
    if "running" in steps:
        return "lost" if is_dead(run.get("owner", "")) else "running"
    found: RunStatus = "failure" if "failure" in steps else "canceled" if "canceled" in steps else "success"
    return found


def model_figures(stages: Mapping[str, Mapping[str, float]]) -> ModelUse:
    """What the model did in all of the `stages` of a run's document, or of the totals."""
    sums = {name: sum(figures.get(name, 0) for figures in stages.values()) for name in MODEL_FIGURES}
    counts = {name: int(number) for name, number in sums.items() if name != "model_seconds"}
    return ModelUse(**counts, model_seconds=float(sums["model_seconds"]))


class Runs:
    """The figures that were kept."""

    def __init__(self, runs: Collection[Document]) -> None:
        self._runs = runs

    def since(self, moment: datetime | None = None, *, limit: int = 0) -> Iterator[Document]:
        """The documents of runs that began at or after `moment` (None: all), latest first."""
        began: Document = {"began_at": {"$gte": moment or datetime.fromtimestamp(0, UTC)}}
        yield from self._runs.find(began).sort("began_at", DESCENDING).limit(limit)

    def totals(self) -> Document:
        """The sums over all runs there ever were: `stages.<name>.<figure>`, `sources.<result>`, `bytes_in`,
        `steps.<job>.<how they ended>`, and `since` when. Empty where nothing ran yet."""
        return self._runs.find_one({"_id": TOTALS}) or {}
