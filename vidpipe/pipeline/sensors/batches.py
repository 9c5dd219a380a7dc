"""Which videos of a step go into one run, and how many of its runs may be unfinished at once.

Batches grow with the number of waiting videos, up to the length of a run; fewer videos are shared out among idle
machines. More urgent videos overtake the runs of others.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vidpipe.library.library import Library
from vidpipe.library.states import LaunchableVideo
from vidpipe.library.workers import Workers
from vidpipe.pipeline.assets import ModelRequirements
from vidpipe.runner.plan import Plan
from vidpipe.runner.stage_rates import measure_stages
from vidpipe.settings import Settings

#: Unfinished runs of a step on one machine: one in progress, one ready to follow.
MOST_RUNS = 2
#: This many times as many may be unfinished if urgent ones have overtaken the others.
_TIMES = 3
#: The runs of all jobs among which those of a step are measured, latest first.
_RECENT_RUNS = 200


@dataclass(frozen=True)
class RunGroup:
    """What the videos of one run have in common: their priority, and the stages that may run for them."""

    priority: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class VideoBatch:
    """Videos for one run."""

    group: RunGroup
    keys: tuple[str, ...]


@dataclass(frozen=True)
class BatchSize:
    """How large the batches of a step are.

    Attributes:
        most: Most videos.
        run_s: Length of a run, in seconds.
        per_video_s: Seconds of a run for each video; 0: not measured.
        per_second_s: Seconds of a run for each second of video.
        duration_s: Length of a video whose length is not known yet.
    """

    most: int
    run_s: float = math.inf
    per_video_s: float = 0.0
    per_second_s: float = 0.0
    duration_s: float = 0.0

    def split(self, videos: Iterable[LaunchableVideo], most: int) -> Iterator[tuple[tuple[str, ...], bool]]:
        """Yield batches of at most `most` videos, and whether each is as large as batches may be."""
        batch: list[str] = []
        left_s = self.run_s
        for video in videos:
            cost_s = self.per_video_s + self.per_second_s * (video.duration_s or self.duration_s)
            if batch and (cost_s > left_s or len(batch) >= most):
                yield tuple(batch), cost_s > left_s or len(batch) >= self.most
                batch, left_s = [], self.run_s
            batch.append(video.sha256)
            left_s -= cost_s
        if batch:
            yield tuple(batch), len(batch) >= self.most


def batch_size(library: Library, plan: Plan, job: str, stages: Collection[str], most: int) -> BatchSize:
    """Return how large batches for `job` are, which computes `stages`: `most` videos or [Cluster] RunMinutes.

    The time of a stage is summed over threads. The latest runs tell how much longer or shorter than their stages they
    took from start to end, on the machines that executed them.
    """
    fields = {"job": 1, "began_at": 1, "ended_at": 1, "stages": 1}
    recent = library.collections["runs"].find({}, fields).sort("began_at", -1).limit(_RECENT_RUNS)
    ended = [run for run in recent if run.get("job") == job and "ended_at" in run]
    wall_s = sum((run["ended_at"] - run["began_at"]).total_seconds() for run in ended)
    work_s = sum(figures.get("seconds", 0.0) for run in ended for figures in (run.get("stages") or {}).values())
    factor = wall_s / work_s if work_s else 0.0
    measured = measure_stages(library, plan, without=[stage.name for stage in plan.stages if stage.name not in stages])
    per_video_s = factor * sum(rate.per_video_s for rate in measured.stages.values())
    per_second_s = factor * sum(rate.per_second_s for rate in measured.stages.values())
    run_s = plan.settings.cluster.run_minutes * 60
    return BatchSize(most, run_s, per_video_s, per_second_s, measured.duration_s or 0.0)


def choose_batches(
    due: Sequence[LaunchableVideo], unfinished: Sequence[RunGroup], size: BatchSize, most_runs: int = MOST_RUNS
) -> list[VideoBatch]:
    """Choose the batches to launch now.

    A batch that could be larger waits while a run of its group is unfinished and no machine is idle: meanwhile more
    videos gather. Videos that are more urgent than all unfinished runs do not wait for them.

    Args:
        due: Videos, by falling priority.
        unfinished: The unfinished runs of the step.
        size: How large batches are.
        most_runs: Most unfinished runs of the step: one for each machine, and one that is ready to follow.
    """
    waiting: dict[RunGroup, list[LaunchableVideo]] = {}
    for video in due:
        waiting.setdefault(RunGroup(video.priority, video.stages), []).append(video)
    most = min(size.most, math.ceil(len(due) / max(most_runs - 1 - len(unfinished), 1)))
    chosen: list[VideoBatch] = []
    for group, videos in sorted(waiting.items(), key=lambda item: -item[0].priority):
        for keys, is_full in size.split(videos, most):
            runs = [*unfinished, *(other.group for other in chosen)]
            gathers = not is_full and group in runs and len(runs) >= most_runs - 1
            enough = sum(run.priority >= group.priority for run in runs) >= most_runs or len(runs) >= _TIMES * most_runs
            if not gathers and not enough:
                chosen.append(VideoBatch(group, keys))
    return chosen


def least_priority(unfinished: Sequence[RunGroup], most_runs: int = MOST_RUNS) -> int | None:
    """Return the priority that a video has to exceed to be launched beside `unfinished`; None if any will do."""
    if len(unfinished) < most_runs:
        return None
    return sorted((run.priority for run in unfinished), reverse=True)[most_runs - 1]


def most_runs(library: Library, settings: Settings, model: ModelRequirements, others: Iterable[str]) -> int:
    """Return how many runs of a step may be unfinished: one for each machine, and one that is ready to follow.

    At least one may, so that no step waits for another one.

    Args:
        library: The open library.
        settings: The settings in force.
        model: What the step needs.
        others: The queue of each unfinished run of other steps.
    """
    if settings.cluster.launcher == "process":
        return MOST_RUNS
    slots, shared = settings.services.max_runs, {model.queue}
    if settings.cluster.launcher == "celery":
        serving = [worker for worker in Workers(library.collections).present() if model.queue in worker.queues]
        slots = min(slots, sum(worker.slots for worker in serving))
        shared = shared.union(*(worker.queues for worker in serving))
    free = slots + 1 - sum(queue in shared for queue in others)
    return max(min(free, settings.cluster.pool_limits[model.pool] + 1 if model.pool else free), 1)
