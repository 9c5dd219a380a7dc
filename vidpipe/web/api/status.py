"""The state of the library: stages, sources, servers, failures, statistics."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from vidpipe.library.queries.json_encoding import jsonable
from vidpipe.operations.metrics.statistics import collect_statistics, statistics_json
from vidpipe.operations.status import FAILED, failed_sources, failures, list_problems, status_of
from vidpipe.web.access import Reader
from vidpipe.web.home import Opened, OpenHome

router = APIRouter(tags=["status"])

#: Statistics read every video: they are this old at most.
_STATISTICS_AGE_S = 30.0
_SLOWEST = 10


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
    dagster: str


class FailedStage(BaseModel):
    """Why a stage failed for a video, and what to do."""

    video: str
    name: str
    stage: str
    state: Literal["failed", "quarantined"]
    message: str
    hint: str
    attempts: int
    next_try_at: datetime | None


class FailedSource(BaseModel):
    """Why a source could not be added; `due`: the setting that blocked it has changed, and it is tried again."""

    url: str
    state: str
    message: str
    attempts: int
    failed_at: datetime | None
    next_try_at: datetime | None
    due: bool


class ListProblem(BaseModel):
    """A problem of a watched list: a file, or a line of it."""

    where: str
    message: str


class Failures(BaseModel):
    """What failed."""

    stages: list[FailedStage]
    sources: list[FailedSource]
    lists: list[ListProblem]


class _StatisticsCache:
    """The latest statistics by span."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._made: dict[tuple[int, float | None], tuple[float, dict[str, Any]]] = {}

    def get(self, opened: OpenHome, days: float | None) -> dict[str, Any]:
        """Return statistics that are at most `_STATISTICS_AGE_S` old."""
        with self._mutex:  # requests at the same time share what one of them reads
            now = time.monotonic()
            fresh = {key: made for key, made in self._made.items() if now - made[0] < _STATISTICS_AGE_S}
            self._made, key = fresh, (id(opened), days)
            if key not in fresh:
                since = datetime.now(UTC) - timedelta(days=days) if days is not None else None
                with opened.library.connection.errors_explained():
                    found = collect_statistics(opened.library, opened.plan, since, _SLOWEST)
                fresh[key] = (now, jsonable(statistics_json(found)))
            return fresh[key][1]


_STATISTICS = _StatisticsCache()


@router.get("/status")
def status(opened: Opened, caller: Reader) -> LibraryStatus:
    """Return the state of stages, sources, servers and disks, and what waits for a person."""
    with opened.library.connection.errors_explained():
        found = status_of(opened.library, opened.plan)
    dagster = next((one["address"] for one in found["services"] if one["name"] == "web"), "")
    return LibraryStatus(**jsonable(found), dagster=dagster)


@router.get("/stats")
def statistics(
    opened: Opened,
    caller: Reader,
    days: Annotated[float | None, Query(gt=0, le=36_500, description="Only the last days; default: all time.")] = None,
) -> dict[str, Any]:
    """Return times of stages, hit rates, failures and growth by day, as `vidpipe stats --json`; up to 30 s old."""
    return _STATISTICS.get(opened, days)


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
    states = FAILED if state is None else (state,)
    library = opened.library
    with library.connection.errors_explained():
        stages = list(failures(library, opened.plan, limit, None if stage is None else (stage,), states))
        sources = list(failed_sources(library, limit)) if stage is None else []
        lists = list(list_problems(library, limit)) if stage is None else []
    return Failures.model_validate({"stages": stages, "sources": sources, "lists": lists})
