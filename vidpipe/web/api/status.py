"""The state of the server and the library: stages, sources, servers, failures, statistics."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from pymongo.errors import PyMongoError

from vidpipe import __version__
from vidpipe.errors import VidpipeError
from vidpipe.library.queries.json_encoding import jsonable
from vidpipe.operations.metrics.statistics import collect_statistics, statistics_json
from vidpipe.operations.status import failed_sources, failures, list_problems, status_of
from vidpipe.web.access import Reader
from vidpipe.web.home import Home, Opened
from vidpipe.web.problems import RequestError

router = APIRouter(tags=["status"])

#: Statistics read every video: they may be this old.
_STATISTICS_AGE_S = 30.0
_SLOWEST = 10
_QUICK_S = 0.1


class _Kept:
    """Answers that are given again for a while, so that what many people look at costs little in a large library."""

    def __init__(self, age_s: float, times: float) -> None:
        self._age_s, self._times = age_s, times
        self._kept: dict[object, tuple[float, dict[str, Any]]] = {}
        self._mutex = threading.Lock()

    def get(self, key: object, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what `make` made `age_s` ago at most, or so many times the seconds that it took beyond `_QUICK_S`."""
        with self._mutex:  # requests at once share what one of them reads
            until, found = self._kept.get(key, (0.0, {}))
            if (began := time.monotonic()) > until:
                found = jsonable(make())
                now = time.monotonic()
                self._kept = {key: (now + max(self._age_s, self._times * (now - began - _QUICK_S)), found)}
            return found


_STATUS, _STATISTICS = _Kept(0.0, 5.0), _Kept(_STATISTICS_AGE_S, 20.0)


class Health(BaseModel):
    """The server works and reaches MongoDB."""

    status: str = "ok"
    version: str = __version__


class LibraryStatus(BaseModel):
    """The state of the library, as `vidpipe status --json`.

    Attributes:
        home: Folder of the library's settings.
        videos: Number of videos.
        stages: Stage -> state -> number of videos; `problem`: why the stage cannot run.
        sources: State -> number of sources.
        due_videos: Number of videos with a stage that is due.
        free_bytes: Free disk space for media.
        disks: Folder -> free bytes of its disk.
        services: The servers that run.
        services_down: Those that should run, and do not.
        by_itself: Whether due videos are processed automatically.
        waiting: What waits for a person, as sentences.
        workers: Who takes runs, with [Cluster] Launcher = celery.
        model_servers: Address of a model server -> seconds, busy_seconds, request_seconds, requests and failures in the
            latest run that asked one.
        dagster: Address of Dagster's page on the server's machine; empty: it does not run.
    """

    home: str
    videos: int
    stages: dict[str, dict[str, Any]]
    sources: dict[str, int]
    due_videos: int
    free_bytes: int
    disks: dict[str, int]
    services: list[dict[str, Any]]
    services_down: list[dict[str, Any]]
    by_itself: bool
    waiting: list[str]
    workers: list[dict[str, Any]]
    model_servers: dict[str, dict[str, float]]
    dagster: str


class StatisticsView(BaseModel, extra="allow"):
    """Times, rates and growth, as `vidpipe stats --json` writes them: units in the names, rates from 0 to 1.

    Attributes:
        since: Start of the time that they are about; null: all time.
        library: videos, footage_s, size_bytes.
        stages: Stage -> its figures.
        slowest: The videos that took longest for their duration.
        days: Growth by day.
        runs: Number of runs by state, and their totals.
        model: What the describing model was asked.
    """

    since: datetime | None
    until: datetime
    library: dict[str, float]
    stages: dict[str, dict[str, Any]]
    slowest: list[dict[str, Any]]
    days: list[dict[str, Any]]
    runs: dict[str, Any]
    model: dict[str, Any]


class Failures(BaseModel):
    """What failed, as `vidpipe status --failed --json`.

    Attributes:
        stages: video, name, stage, state, message, hint, attempts, next_try_at.
        sources: id, url, state, message, attempts, failed_at, next_try_at; `due`: the setting that blocked it has
            changed.
        gone: Likewise, sources whose server says that they do not exist, with `gone_since`.
        lists: Problems of watched lists: where, message.
    """

    stages: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    gone: list[dict[str, Any]]
    lists: list[dict[str, Any]]


@router.get("/health")
def get_health(home: Home) -> Health:
    """Return whether the server works and reaches MongoDB; needs no key."""
    try:
        home.opened().library.connection.database.command("ping")
    except (VidpipeError, PyMongoError) as error:  # says where the library is, which is not for everybody
        raise RequestError(503, "The library cannot be reached.", "The log file says why.") from error
    return Health()


@router.get("/status")
def get_status(opened: Opened, caller: Reader) -> LibraryStatus:
    """Return the state of stages, sources, servers and disks, and what waits for a person."""
    found = _STATUS.get(
        (opened.settings.home, *opened.plan.specs.values()), lambda: status_of(opened.library, opened.plan)
    )
    dagster = next((one["address"] for one in found["services"] if one["name"] == "web"), "")
    return LibraryStatus(**found, dagster=dagster)


@router.get("/stats", response_model=StatisticsView)
def get_statistics(
    opened: Opened,
    caller: Reader,
    days: Annotated[float | None, Query(gt=0, le=36_500, description="Only the last days; default: all time.")] = None,
) -> dict[str, Any]:
    """Return times of stages, hit rates, failures and growth by day, as `vidpipe stats --json`; they may be old."""

    def collected() -> dict[str, Any]:
        since = datetime.now(UTC) - timedelta(days=days) if days is not None else None
        return statistics_json(collect_statistics(opened.library, opened.plan, since, _SLOWEST))

    return _STATISTICS.get((opened.settings.home, days), collected)


@router.get("/failures")
def list_failures(
    opened: Opened,
    caller: Reader,
    *,
    stage: Annotated[str | None, Query(max_length=100, description="Only failures of this stage.")] = None,
    state: Annotated[Literal["failed", "quarantined"] | None, Query(description="Only these.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most failures of each stage and state.")] = 50,
) -> Failures:
    """Return what failed, why, and what to do about it."""
    library = opened.library
    found = failures(library, opened.plan, limit)
    stages = [one for one in found if stage in (None, one["stage"]) and state in (None, one["state"])]
    sources = list(failed_sources(library, limit)) if stage is None else []
    lists = list(list_problems(library, limit)) if stage is None else []
    gone = list(failed_sources(library, limit, ("gone",))) if stage is None else []
    return Failures(stages=jsonable(stages), sources=jsonable(sources), gone=jsonable(gone), lists=lists)
