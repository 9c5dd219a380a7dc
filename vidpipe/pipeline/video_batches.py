"""Which videos a step is launched for next, in batches that grow with what waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidpipe.library.queries.launchable import LaunchableVideo

#: Unfinished runs of a step of a priority or a higher one: one at work, one ready to follow.
MOST_RUNS = 2
_MOST_RUNS_OF_ALL = 6


@dataclass(frozen=True)
class Kind:
    """What the videos of one run have in common: their priority, and the stages that may run for them."""

    priority: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    kind: Kind
    keys: tuple[str, ...]


def choose(due: Iterable[LaunchableVideo], unfinished: Sequence[Kind], size: int) -> list[Batch]:
    """Batches of at most `size` of the `due` videos, which come by falling priority, as far as `unfinished` runs of the
    step leave room.

    Fewer videos than `size` wait while a run of their kind is unfinished: on a busy machine more of them gather
    meanwhile, on an idle one nothing waits. What is more urgent than all unfinished runs does not wait for their end.
    """
    waiting: dict[Kind, list[str]] = {}
    for video in due:
        waiting.setdefault(Kind(video.priority, video.stages), []).append(video.sha256)
    chosen: list[Batch] = []
    for kind, keys in sorted(waiting.items(), key=lambda item: -item[0].priority):
        for start in range(0, len(keys), size):
            batch = Batch(kind, tuple(keys[start : start + size]))
            runs = [*unfinished, *(other.kind for other in chosen)]
            gathers = len(batch.keys) < size and kind in runs
            full = sum(run.priority >= kind.priority for run in runs) >= MOST_RUNS or len(runs) >= _MOST_RUNS_OF_ALL
            if not gathers and not full:
                chosen.append(batch)
    return chosen


def least_priority(unfinished: Sequence[Kind]) -> int | None:
    """The priority that a video has to exceed to be launched beside `unfinished`; None: any will do."""
    if len(unfinished) < MOST_RUNS:
        return None
    return sorted((run.priority for run in unfinished), reverse=True)[MOST_RUNS - 1]
