"""The sensor due_videos: turns what is due into runs of prepare_list, describe_list and label_list.

Batches grow with the number of waiting videos, and more urgent videos overtake the runs of others. The budget of
[Budget] decides which videos may be described.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import BY_ITSELF, REASONS, LaunchableVideo, due_branches, launchable, note_launch
from vidpipe.library.videos import chunked
from vidpipe.operations.alerts.delivery import queue_budget
from vidpipe.pipeline.assets import steps
from vidpipe.pipeline.dagster_internals import ASSET_JOB
from vidpipe.pipeline.ingest import JOB as INGEST
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_metrics import estimate_tags
from vidpipe.pipeline.run_queue import (
    STEP_TAG,
    SWEEP_TAG,
    config_list,
    held_by_runs,
    run_priority,
    run_tags,
    unfinished_runs,
)
from vidpipe.pipeline.sensors.alerts import alert_queue
from vidpipe.pipeline.small_batches import DUE_VIDEOS, held_by_ingest
from vidpipe.runner.budget import (
    Allowance,
    BudgetDecision,
    ModelWork,
    Prices,
    delete_budget_note,
    held_back_sentence,
    recent_usages,
    save_budget_note,
    total,
)
from vidpipe.runner.due import NOT_DROPPED, due_ids, file_readers
from vidpipe.runner.estimate import AnswerCounter, sampled_work
from vidpipe.runner.plan import DescribingStages, Plan, launches_changed, pending_sentences, record_specs
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import STEPS, Stage
from vidpipe.stages.graph import StageGraph

#: Unfinished runs of a step with the same or a higher priority: one in progress, one ready to follow.
MOST_RUNS = 2
_MOST_RUNS_OF_ALL = 6
#: Videos of unfinished runs whose work is counted; that of the others is extrapolated.
_MOST_PENDING = 100


def due_videos_sensor(
    graph: StageGraph, settings: Settings, jobs: Mapping[str, dg.JobDefinition]
) -> dg.SensorDefinition:
    """Return the sensor. Its target jobs are in `jobs`, by name."""

    @dg.sensor(
        name=DUE_VIDEOS,
        jobs=[jobs[list_job_name(step)] for step in steps(graph)],
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Launches prepare, describe and label for videos that are new, have changed inputs or lost files, "
        "or may be retried; never for videos that wait for a person, are in progress, or failed for good.",
    )
    def due_videos(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        try:
            today = library.settings()
            with library.opened(graph, today) as opened, opened.connection.errors_explained():
                return evaluate(context.instance, opened, today)
        except VidpipeError as error:
            return dg.SensorResult(skip_reason=str(error))

    return due_videos


def evaluate(instance: dg.DagsterInstance, library: Library, settings: Settings) -> dg.SensorResult:
    """Return the runs to launch now, or why there are none. Launches are noted in the library."""
    with closing(Plan.make(library.graph, settings)) as plan:
        record_specs(library, plan)
        unfinished = unfinished_runs(instance, {INGEST, "process", ASSET_JOB, *STEPS, *map(list_job_name, STEPS)})
        ingesting = held_by_ingest(library, [run for run in unfinished if run.job_name == INGEST])
        seen = [
            _StepLauncher(name, stages, plan, instance, library, unfinished, ingesting)
            for name, stages in steps(library.graph).items()
        ]
        requests = [request for step in seen for request in step.requests()]
        waiting = [why for step in seen if step.budget is not None and (why := step.budget.explain(instance))]
        if requests:
            return dg.SensorResult(run_requests=requests)
        problems = [f"Stage {name} cannot run: {error}" for name, error in plan.unavailable.items()]
        said = [sentence for step in seen for sentence in step.sentences()]
    return dg.SensorResult(skip_reason=" ".join(problems + said + waiting) or "Nothing is due.")


@dataclass
class _StepLauncher:
    """Launches the runs of one step."""

    name: str
    stages: Sequence[Stage]
    plan: Plan
    instance: dg.DagsterInstance
    library: Library
    unfinished: Sequence[dg.DagsterRun]
    ingesting: Collection[str]

    def __post_init__(self) -> None:
        self._specs = {
            stage.name: self.plan.specs[stage.name] for stage in self.stages if stage.name in self.plan.specs
        }
        jobs = (list_job_name(self.name), "process", self.name, ASSET_JOB)
        self._runs = [run for run in self.unfinished if run.job_name in jobs]
        own = [run for run in self._runs if run.tags.get(STEP_TAG) == self.name and SWEEP_TAG not in run.tags]
        self._unfinished = [group_of(run, [stage for stage in self.stages if stage.name in self._specs]) for run in own]
        self.budget = DescribingBudget.of(self.library, self.plan, self._specs)

    @property
    def _changed_too(self) -> bool:
        """Whether videos that a changed spec made due may start; in label the sensor changed_rules starts them."""
        return launches_changed(self.plan.settings, self.name, self.stages)

    def requests(self) -> list[dg.RunRequest]:
        """Return the runs to launch now."""
        sensors = self.plan.settings.sensors
        size = {"prepare": sensors.prepare_batch, "describe": sensors.describe_batch, "label": sensors.label_batch}
        held = held_by_runs(self.instance, self._runs).union(self.ingesting)
        found = launchable(
            self.library.collections["videos"],
            self.name,
            self._specs,
            reasons=REASONS if self._changed_too else BY_ITSELF,
            held=held,
            above=least_priority(self._unfinished),
            limit=MOST_RUNS * size[self.name],
            also={} if self.plan.settings.storage.refetch_mb else dict.fromkeys(file_readers(self.stages), NOT_DROPPED),
        )
        if self.budget is not None:
            found = self.budget.within(found, held)
        return [self._request(batch) for batch in choose_batches(found, self._unfinished, size[self.name])]

    def _request(self, batch: VideoBatch) -> dg.RunRequest:
        note_launch(self.library.collections["videos"], self.name, self._specs, batch.keys)
        # a run of all stages tells of analyses that lack their model, and installs it if Fetch of [Models] allows that
        can_run = all(stage.optional or stage.name in self._specs for stage in self.stages)
        all_of_them = can_run and len(batch.group.stages) == len(self._specs)
        request = RunRequest(videos=batch.keys, stages=None if all_of_them else batch.group.stages)
        estimated = self.budget.tags(batch.keys) if self.budget is not None else {}
        return dg.RunRequest(
            job_name=list_job_name(self.name),
            run_config={"ops": {list_op_name(self.name): {"config": request.as_config()}}},
            tags={**run_tags(self.name, batch.group.priority), "vidpipe/videos": str(len(batch.keys)), **estimated},
        )

    def sentences(self) -> list[str]:
        """Say why nothing is launched."""
        sentences = []
        if self._unfinished:
            number = len(self._unfinished)
            runs = f"{number} runs of {self.name} have" if number > 1 else f"A run of {self.name} has"
            sentences.append(f"{runs} not finished yet.")
        if self.name != "label" and not self._changed_too:
            waiting = [stage for stage in self.stages if stage.name in self._specs]
            sentences += pending_sentences(self.library, self.plan, waiting)
        return sentences


def group_of(run: dg.DagsterRun, stages: Sequence[Stage]) -> RunGroup:
    """Return the group of a run that this sensor launched."""
    return RunGroup(run_priority(run), tuple(config_list(run, "stages")) or tuple(stage.name for stage in stages))


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


def choose_batches(due: Iterable[LaunchableVideo], unfinished: Sequence[RunGroup], size: int) -> list[VideoBatch]:
    """Choose the batches to launch now.

    Fewer videos than `size` wait while a run of their group is unfinished: on a busy machine more of them gather
    meanwhile, on an idle one nothing waits. Videos that are more urgent than all unfinished runs do not wait for them.

    Args:
        due: Videos, by falling priority.
        unfinished: The unfinished runs of the step.
        size: Most videos of a batch.
    """
    waiting: dict[RunGroup, list[str]] = {}
    for video in due:
        waiting.setdefault(RunGroup(video.priority, video.stages), []).append(video.sha256)
    chosen: list[VideoBatch] = []
    for group, keys in sorted(waiting.items(), key=lambda item: -item[0].priority):
        for start in range(0, len(keys), size):
            batch = VideoBatch(group, tuple(keys[start : start + size]))
            runs = [*unfinished, *(other.group for other in chosen)]
            gathers = len(batch.keys) < size and group in runs
            full = sum(run.priority >= group.priority for run in runs) >= MOST_RUNS or len(runs) >= _MOST_RUNS_OF_ALL
            if not gathers and not full:
                chosen.append(batch)
    return chosen


def least_priority(unfinished: Sequence[RunGroup]) -> int | None:
    """Return the priority that a video has to exceed to be launched beside `unfinished`; None if any will do."""
    if len(unfinished) < MOST_RUNS:
        return None
    return sorted((run.priority for run in unfinished), reverse=True)[MOST_RUNS - 1]


@dataclass
class DescribingBudget:
    """The budget at one tick of the sensor.

    Attributes:
        library: The open library.
        plan: All stages.
        describing: The stages that ask the model.
        decision: Which videos fit into the budget; None without a budget, or if nothing was due.
    """

    library: Library
    plan: Plan
    describing: DescribingStages
    decision: BudgetDecision | None = None
    _work: dict[str, ModelWork] = field(default_factory=dict)
    _held_due: int = 0

    @classmethod
    def of(cls, library: Library, plan: Plan, stages: Collection[str]) -> DescribingBudget | None:
        """Return None if none of `stages` asks a describing model whose answers cost anything."""
        describing = DescribingStages.of(plan)
        if describing is None or not set(stages).intersection(describing.names):
            return None
        return cls(library, plan, describing)

    @cached_property
    def counting(self) -> AnswerCounter:
        """The counter, built only if there is something to count: it reads thousands of answers."""
        return AnswerCounter.of(self.library, self.plan, self.describing)

    @property
    def prices(self) -> Prices:
        """The prices in force."""
        return Prices.of(self.plan.settings)

    def within(self, found: Sequence[LaunchableVideo], held: Collection[str]) -> list[LaunchableVideo]:
        """Return those of `found` that may be launched, given the videos `held` by unfinished runs."""
        budget = self.plan.settings.budget
        if not budget.is_limited or not found:
            return list(found)
        allowance = Allowance(budget, self.prices, recent_usages(self.library.collections["runs"], self.prices))
        self.decision = allowance.exhausted()
        if self.decision is not None:  # what each video takes does not matter
            return []
        waiting = self._each([video.sha256 for video in found])
        self.decision = allowance.decide(self._pending(held), waiting)
        fits = set(self.decision.fits)
        return [video for video in found if video.sha256 in fits]

    def tags(self, keys: Sequence[str]) -> dict[str, str]:
        """Return what a run over `keys` is expected to ask, as its tags."""
        missing = [sha256 for sha256 in keys if sha256 not in self._work]
        self._work.update(self.counting.per_video(missing))
        amount = total(self._work[sha256] for sha256 in keys if sha256 in self._work)
        return estimate_tags(amount + self.counting.rates.start if amount.asked else amount, self.prices)

    def explain(self, instance: dg.DagsterInstance) -> str | None:
        """Say why videos wait for the budget, to `vidpipe status` and by an alert; None if none wait."""
        if self.decision is None or (self.decision.held_back is None and not self.decision.too_large):
            delete_budget_note(self.library)
            return None
        sentence = held_back_sentence(self.plan.settings.budget, self.prices, self.decision, self._waiting())
        save_budget_note(self.library, sentence, datetime.now(UTC))
        if not self.decision.is_measuring:
            queue_budget(alert_queue(instance, self.library), self.plan.settings.alerts, sentence)
        return sentence

    def _waiting(self) -> int:
        branches = [branch for name in self.describing.names for branch in due_branches(name, self.plan.specs[name])]
        due = self.library.collections["videos"].count_documents({"$or": branches})
        return max(due - self._held_due - len(self.decision.fits if self.decision else ()), 1)

    def _each(self, ids: Sequence[str]) -> Iterator[tuple[str, ModelWork]]:
        """Yield the work of each of `ids`. One that cannot be counted is launched: the run reports what is wrong."""
        for part in chunked(ids, 20):
            self._work.update(self.counting.per_video(part))
            yield from ((sha256, self._work.get(sha256, ModelWork(videos=1))) for sha256 in part)

    def _pending(self, held: Collection[str]) -> ModelWork:
        request = RunRequest(videos=tuple(held))
        due = {sha256 for name in self.describing.names for sha256 in due_ids(self.library, self.plan, name, request)}
        self._held_due = len(due)
        amounts = sampled_work(self.counting, sorted(due), _MOST_PENDING)
        return total(amounts).scaled(len(due) / len(amounts)) if amounts else ModelWork(videos=len(due))
