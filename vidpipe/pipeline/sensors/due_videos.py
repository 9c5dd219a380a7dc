"""The sensor due_videos: turns what is due into runs of prepare_list, describe_list and label_list.

The budget of [Budget] decides which videos may be described, and [Concurrency] Ahead how many are prepared for that.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import BY_ITSELF, REASONS, LaunchableVideo, due_branches, launchable, note_launch
from vidpipe.library.videos import chunked
from vidpipe.operations.alerts.delivery import queue_budget
from vidpipe.pipeline.assets import model_requirements, steps
from vidpipe.pipeline.cluster_config import CPU_QUEUE, QUEUE_TAG
from vidpipe.pipeline.dagster_internals import ASSET_JOB
from vidpipe.pipeline.ingest import JOB as INGEST
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.lost_runs import end_lost_runs
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
from vidpipe.pipeline.sensors.batches import RunGroup, VideoBatch, batch_size, choose_batches, least_priority, most_runs
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
        end_lost_runs(instance, library)
        unfinished = unfinished_runs(instance, {INGEST, "process", ASSET_JOB, *STEPS, *map(list_job_name, STEPS)})
        ingesting = held_by_ingest(library, [run for run in unfinished if run.job_name == INGEST])
        seen: list[_StepLauncher] = []
        for name, stages in reversed(steps(library.graph).items()):  # what is begun is finished before more is begun
            step = _StepLauncher(name, stages, plan, instance, library, unfinished, ingesting, tuple(seen))
            step.launch()
            seen.insert(0, step)
        requests = [request for step in seen for request in step.requests]
        waiting = [why for step in seen if step.budget is not None and (why := step.budget.explain(instance))]
        if requests:
            return dg.SensorResult(run_requests=requests)
        problems = [f"Stage {name} cannot run: {error}" for name, error in plan.unavailable.items()]
        said = [sentence for step in seen for sentence in step.sentences()]
    return dg.SensorResult(skip_reason=" ".join(problems + said + waiting) or "Nothing is due.")


@dataclass
class _StepLauncher:
    """Launches the runs of one step.

    Attributes:
        name: The step.
        stages: Its stages.
        plan: All stages.
        instance: Dagster's instance.
        library: The open library.
        unfinished: The unfinished runs of all steps.
        ingesting: Videos that ingest runs are about to process.
        later: The later steps, which have launched their runs.
        requests: The runs to launch now.
        wait: Why videos that could be launched are not.
    """

    name: str
    stages: Sequence[Stage]
    plan: Plan
    instance: dg.DagsterInstance
    library: Library
    unfinished: Sequence[dg.DagsterRun]
    ingesting: Collection[str]
    later: "Sequence[_StepLauncher]"
    requests: Sequence[dg.RunRequest] = ()
    wait: str = ""

    def __post_init__(self) -> None:
        self._specs = {
            stage.name: self.plan.specs[stage.name] for stage in self.stages if stage.name in self.plan.specs
        }
        jobs = (list_job_name(self.name), "process", self.name, ASSET_JOB)
        self._runs = [run for run in self.unfinished if run.job_name in jobs]
        self._own = [run for run in self._runs if run.tags.get(STEP_TAG) == self.name and SWEEP_TAG not in run.tags]
        runnable = [stage for stage in self.stages if stage.name in self._specs]
        self._unfinished = [group_of(run, runnable) for run in self._own]
        self.budget = DescribingBudget.of(self.library, self.plan, self._specs)
        self.reasons = REASONS if self._changed_too else BY_ITSELF
        self.model = model_requirements(self.stages, self.plan.settings)
        others = [run for run in self.unfinished if run.tags.get(STEP_TAG, self.name) != self.name]
        queues = [run.tags.get(QUEUE_TAG, CPU_QUEUE) for run in others]
        queues += [step.model.queue for step in self.later for _ in step.requests]
        self._most_runs = most_runs(self.library, self.plan.settings, self.model, queues)

    @property
    def _changed_too(self) -> bool:
        """Whether videos that a changed spec made due may start; in label the sensor changed_rules starts them."""
        return launches_changed(self.plan.settings, self.name, self.stages)

    def launch(self) -> None:
        """Choose the runs to launch now, and note their launches in the library."""
        most: int = getattr(self.plan.settings.sensors, f"{self.name}_batch")
        held = held_by_runs(self.instance, self._runs).union(self.ingesting)
        found = launchable(
            self.library.collections["videos"],
            self.name,
            self._specs,
            reasons=self.reasons,
            held=held,
            above=least_priority(self._unfinished, self._most_runs),
            limit=self._most_runs * most,
            also={} if self.plan.settings.storage.refetch_mb else dict.fromkeys(file_readers(self.stages), NOT_DROPPED),
        )
        if self.budget is not None:
            found = self.budget.within(found, held)
        if found and self.name == "prepare":
            found = self._ahead(found, most)
        if found:
            size = batch_size(self.library, self.plan, list_job_name(self.name), self._specs, most)
            batches = choose_batches(found, self._unfinished, size, self._most_runs)
            self.requests = [self._request(batch) for batch in batches]

    def _ahead(self, found: list[LaunchableVideo], most: int) -> list[LaunchableVideo]:
        """Return those of `found` that may be prepared ahead of the describing model, in batches of `most` videos.

        All may if no model is asked, or if the budget holds it back; those with a priority above 0 always may.
        """
        describe = next((step for step in self.later if step.name == "describe"), None)
        if describe is None or (budget := describe.budget) is None or (budget.decision and budget.decision.held_back):
            return found
        ahead = self.plan.settings.concurrency.ahead
        due = [due_branches(name, spec, reasons=describe.reasons) for name, spec in describe._specs.items()]
        waiting = {"$or": [branch for branches in due for branch in branches]}
        prepared = self.library.collections["videos"].count_documents(waiting, limit=ahead)
        if prepared >= ahead:
            self.wait = f"Preparing waits: {ahead:,} videos are prepared and wait for the model ([Concurrency] Ahead)."
        room = ahead - prepared - sum(1 for run in self._own for _ in config_list(run, "keys"))
        return found[: max(room, most)] if room > 0 else [video for video in found if video.priority > 0]

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
        sentences = [self.wait] if self.wait else []
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
    def of(cls, library: Library, plan: Plan, stages: Collection[str]) -> "DescribingBudget | None":
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
        save_budget_note(self.library, sentence)
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
