"""Which sources are launched next, in batches: the highest priority first, and no more at once than keeps runs busy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from vidpipe.ingest.dependencies import Dependencies
from vidpipe.library.listed_sources import DueSource, ListedSources
from vidpipe.settings import Settings

#: Unfinished runs of a priority or a higher one; what is more urgent than all of them does not wait for their end.
MOST_RUNS = 4
_MOST_RUNS_OF_ALL = 12


@dataclass(frozen=True)
class Batch:
    """Sources of one priority, for one run."""

    priority: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class UnfinishedIngest:
    """A run of the job ingest that has not ended. sources: empty where it takes inputs of its own (`vidpipe add`)."""

    priority: int
    sources: tuple[str, ...]


def next_batches(listed: ListedSources, unfinished: Sequence[UnfinishedIngest], settings: Settings) -> list[Batch]:
    """The batches to launch now. The rest of what is due stays where it is, for the next look."""
    names, size = settings.paths.source_lists, settings.sensors.ingest_batch
    if len(unfinished) >= _MOST_RUNS_OF_ALL:
        return []
    held = {source for run in unfinished for source in run.sources}
    # What `vidpipe add` fetches at this moment is not named by its run; afterwards a killed one's is due again.
    adding = any(not run.sources for run in unfinished)
    states = ("new",) if adding else ("new", "fetching")
    due = listed.due(names, limit=MOST_RUNS * size, held=held, states=states, today=Dependencies.of(settings))
    return choose(due, [run.priority for run in unfinished if run.sources], size)


def choose(due: Iterable[DueSource], unfinished: Sequence[int], size: int) -> list[Batch]:
    """Batches of `size` of the `due` ones, which come by falling priority, as far as runs of the priorities
    `unfinished` leave room."""
    chosen: list[Batch] = []
    for priority, sources in groupby(due, key=lambda one: one.priority):
        ids = [one.id for one in sources]
        for start in range(0, len(ids), size):
            before = sum(other >= priority for other in unfinished) + len(chosen)
            if before >= MOST_RUNS or len(unfinished) + len(chosen) >= _MOST_RUNS_OF_ALL:
                return chosen
            chosen.append(Batch(priority, tuple(ids[start : start + size])))
    return chosen
