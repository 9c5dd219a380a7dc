"""All metrics of a home at one moment, read within a bounded time and at a cost that does not grow with the library."""

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pymongo
from pydantic import SecretStr
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library import embedded
from vidpipe.library.connection import Connection, connect
from vidpipe.library.runs import Runs
from vidpipe.library.schema import SIZES, SIZES_INDEX, Document
from vidpipe.library.states import State, States, due_branches
from vidpipe.library.workers import Workers
from vidpipe.redaction import redact
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

log = logging.getLogger(__name__)

Value = TypeVar("Value")

#: Longest wait for MongoDB to respond.
RESPONSE_LIMIT_S = 2.0
#: Longest time for reading the library. The page shows the previous figures meanwhile.
_READ_LIMIT_S = 120.0
#: Longest wait of the page for all metrics; Prometheus gives a page ten seconds.
PAGE_LIMIT_S = 6.0
_BAD_HINT = 2  # MongoDB's error code for a missing index: a library of an older version


@dataclass(frozen=True)
class CachedValue(Generic[Value]):
    """A computed value.

    Attributes:
        value: None if computing it failed; then `error` says why.
        at: When it was computed (`time.monotonic`).
        cost_s: How long that took.
    """

    value: Value | None
    at: float
    cost_s: float
    error: str = ""

    @property
    def age_s(self) -> float:
        """Seconds since it was computed."""
        return time.monotonic() - self.at


class BackgroundCache(Generic[Value]):
    """Computes a value when it is requested and the cached one is too old.

    Args:
        name: Of the value, as shown in the log.
        compute: May raise; may take long.
        min_age_s: A younger value is not computed again.
        max_load: Maximum share of the time that is spent on computing, from 0 to 1.
    """

    def __init__(self, name: str, compute: Callable[[], Value], min_age_s: float, max_load: float = 0.05) -> None:
        self._name = name
        self._compute = compute
        self._min_age_s = min_age_s
        self._max_load = max_load
        self._changed = threading.Condition()
        self._cached: CachedValue[Value] | None = None
        self._busy = False
        self._logged_error = ""

    def get(self, wait_s: float) -> CachedValue[Value] | None:
        """Return the value.

        Args:
            wait_s: How long to wait if it has to be computed.

        Returns:
            The last value, however old, if that takes longer; None if there has never been one.
        """
        with self._changed:
            cached = self._cached
            is_old = cached is None or cached.age_s > max(self._min_age_s, cached.cost_s / self._max_load)
            if is_old and not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name=f"metrics-{self._name}", daemon=True).start()
            self._changed.wait_for(lambda: not self._busy, timeout=max(wait_s, 0.0))
            return self._cached

    def _work(self) -> None:
        began = time.monotonic()
        value, error = None, ""
        try:
            value = self._compute()
        except Exception as failure:  # whatever it is, the page reports that the metrics are missing
            error = redact(str(failure)) or type(failure).__name__
        ended = time.monotonic()
        if error and error != self._logged_error:
            log.warning("the metrics of %s are unavailable: %s", self._name, error)
        with self._changed:
            self._logged_error = error
            self._cached = CachedValue(value, ended, ended - began, error)
            self._busy = False
            self._changed.notify_all()


@dataclass(frozen=True)
class LibraryFigures:
    """Figures of the library under today's settings.

    Attributes:
        stages: Stage -> state -> videos; without the `unavailable` stages.
        unavailable: Stages that cannot run (their rules do not parse).
        sources: State -> sources.
        due: Step -> videos with something due in it.
        leased: Videos that runs are working on.
        workers: Processes that take runs from the queue of [Cluster] Broker.
        totals: Of all runs ever; see `vidpipe.library.runs.Runs.totals`.
    """

    videos: int
    stages: Mapping[str, Mapping[State, int]]
    unavailable: tuple[str, ...]
    sources: Mapping[str, int]
    due: Mapping[str, int]
    media_bytes: int
    footage_s: float
    frame_pack_bytes: int
    leased: int
    workers: int
    totals: Document = field(default_factory=dict)


@dataclass(frozen=True)
class PoolFigures:
    """Slots of a Dagster pool, those that are taken, and the steps that wait for one."""

    slots: int
    taken: int
    waiting: int


@dataclass(frozen=True)
class QueueFigures:
    """Figures of Dagster.

    Attributes:
        unfinished: (job, Dagster's status in lower case) -> number of runs.
        oldest_s: Age of the oldest run that has not begun, in seconds; 0 if there is none.
        ticks: Sensor -> its last tick, in seconds since 1970.
        heartbeats: Dagster daemon -> its last heartbeat, in seconds since 1970.
        pools: Figures of each pool.
    """

    unfinished: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_s: float = 0.0
    ticks: Mapping[str, float] = field(default_factory=dict)
    heartbeats: Mapping[str, float] = field(default_factory=dict)
    pools: Mapping[str, PoolFigures] = field(default_factory=dict)

    @property
    def queued(self) -> Counter[str]:
        """Job -> its runs that have not begun."""
        found: Counter[str] = Counter()
        for (job, status), number in self.unfinished.items():
            if status in ("queued", "not_started"):
                found[job] += number
        return found


@dataclass(frozen=True)
class MetricsSnapshot:
    """The metrics; parts that are unavailable are None or empty.

    Attributes:
        settings_ok: Whether config.ini can be read; if not, the previous settings apply.
        free_bytes: Folder -> free space on its disk.
        ages_s: Part -> seconds since it was read.
        costs_s: Part -> seconds that reading it took.
    """

    mongodb_up: bool
    dagster_up: bool
    settings_ok: bool
    library: LibraryFigures | None = None
    queue: QueueFigures | None = None
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    ages_s: Mapping[str, float] = field(default_factory=dict)
    costs_s: Mapping[str, float] = field(default_factory=dict)


class HomeMetrics:
    """Reads the metrics of a home; settings, rules and prompts are read each time. Thread-safe.

    Args:
        load: Returns today's settings; raises SettingsError if they are wrong.
        graph: The stages.
        read_queue: Reads Dagster's figures.
        min_age_s: Younger figures are not read again.
        max_load: Maximum share of the time that is spent on reading the library or Dagster, from 0 to 1.
    """

    def __init__(
        self,
        load: Callable[[], Settings],
        graph: StageGraph,
        read_queue: Callable[[], QueueFigures],
        min_age_s: float = 5.0,
        max_load: float = 0.05,
    ) -> None:
        self._load = load
        self._graph = graph
        self._settings = load()
        self._settings_ok = True
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._mongodb = BackgroundCache("MongoDB", self._ping, min(1.0, min_age_s), max(1.0, max_load))
        self._library = BackgroundCache("the library", self._read_library, min_age_s, max_load)
        self._queue = BackgroundCache("Dagster", read_queue, min_age_s, max_load)

    def snapshot(self, limit_s: float = PAGE_LIMIT_S) -> MetricsSnapshot:
        """Return what is available within `limit_s` seconds."""
        deadline = time.monotonic() + limit_s
        ping = self._mongodb.get(min(limit_s, RESPONSE_LIMIT_S + 1))
        up = ping is not None and bool(ping.value) and ping.age_s < RESPONSE_LIMIT_S + 1
        library = self._library.get(deadline - time.monotonic()) if up else None
        queue = self._queue.get(deadline - time.monotonic())
        parts: dict[str, CachedValue[Any] | None] = {"library": library, "dagster": queue}
        known = {name: part for name, part in parts.items() if part is not None and part.value is not None}
        return MetricsSnapshot(
            mongodb_up=up,
            dagster_up="dagster" in known,
            settings_ok=self._settings_ok,
            library=library.value if library else None,
            queue=queue.value if queue else None,
            free_bytes=self._free_bytes(),
            ages_s={name: part.age_s for name, part in known.items()},
            costs_s={name: part.cost_s for name, part in known.items()},
        )

    def close(self) -> None:
        """Close the connection to MongoDB."""
        with self._lock:
            self._disconnect()

    def _ping(self) -> bool:
        """Whether MongoDB responds. If not, it is located again next time: an embedded server may have moved."""
        try:
            with pymongo.timeout(RESPONSE_LIMIT_S):
                self._connect().client.admin.command("ping")
        except Exception:
            with self._lock:
                self._disconnect()
            raise
        return True

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = connected(self._settings)
            return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _read_library(self) -> LibraryFigures:
        try:
            settings = self._load()
            self._settings_ok = True
        except SettingsError:
            settings, self._settings_ok = self._settings, False
        if settings.mongodb != self._settings.mongodb:
            with self._lock:
                self._disconnect()
        self._settings = settings
        with closing(Plan.make(self._graph, settings)) as plan, pymongo.timeout(_READ_LIMIT_S):
            return read_library(self._connect(), plan)

    def _free_bytes(self) -> dict[str, int]:
        folders = {name: getattr(self._settings, f"{name}_directory") for name in ("data", "media", "derived")}
        return {name: shutil.disk_usage(folder).free for name, folder in folders.items() if folder.is_dir()}


def connected(settings: Settings) -> Connection:
    """Connect to the library's server without starting it.

    Raises:
        UnavailableError: It cannot be reached; immediately if the embedded server is not running.
    """
    mongodb = settings.mongodb
    values: dict[str, Any] = {"timeout_s": min(mongodb.timeout_s, RESPONSE_LIMIT_S)}
    if embedded.is_embedded(settings):
        server = embedded.find(settings)
        if server is None:
            raise UnavailableError("The embedded MongoDB server is not running.", "Start it with `vidpipe up`.")
        values["uri"] = SecretStr(server.uri)
    return connect(settings.model_copy(update={"mongodb": mongodb.model_copy(update=values)}))


def read_library(connection: Connection, plan: Plan) -> LibraryFigures:
    """Read the library's figures from indexes and from documents whose number does not grow with the library.

    Raises:
        PyMongoError: The connection was lost.
    """
    videos = connection.collection("videos")
    by_state: list[Document] = [{"$group": {"_id": "$state", "sources": {"$sum": 1}}}]
    names = ("media_bytes", "footage_s", "frame_pack_bytes")
    sums = _sums(videos, dict(zip(names, SIZES, strict=True)))
    return LibraryFigures(
        videos=videos.count_documents({}, hint="_id_"),  # the server's estimate is wrong after a kill
        stages=States(videos).counts(plan.specs),
        unavailable=tuple(sorted(plan.unavailable)),
        sources={row["_id"]: row["sources"] for row in connection.collection("sources").aggregate(by_state)},
        due=_due_by_step(videos, plan),
        **{name: sums.get(name, 0) for name in names},
        leased=videos.count_documents({"lease.owner": {"$exists": True}}, hint="lease_owner"),
        workers=len(Workers({"workers": connection.collection("workers")}).present()),
        totals=Runs(connection.collection("runs")).totals(),
    )


def _due_by_step(videos: Collection[Document], plan: Plan) -> dict[str, int]:
    branches: dict[str, list[Document]] = {stage.job: [] for stage in plan.graph}
    for stage in plan.graph:
        if stage.name in plan.specs:
            branches[stage.job] += due_branches(stage.name, plan.specs[stage.name])
    return {step: videos.count_documents({"$or": due}) if due else 0 for step, due in branches.items()}


def _sums(videos: Collection[Document], fields: Mapping[str, str]) -> Document:
    sums = {name: {"$sum": f"${field}"} for name, field in fields.items()}
    # The condition lets the server read only the index.
    groups: list[Document] = [{"$match": {SIZES[0]: {"$gte": 0}}}, {"$group": {"_id": None, **sums}}]
    try:
        found = list(videos.aggregate(groups, hint=SIZES_INDEX))
    except OperationFailure as error:
        if error.code != _BAD_HINT:
            raise
        found = list(videos.aggregate(groups))
    return found[0] if found else {}
