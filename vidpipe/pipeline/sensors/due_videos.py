"""The sensor due_videos: what may start by itself becomes runs of prepare_list, describe_list and label_list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.queries.launchable import BY_ITSELF, launchable, note_launch
from vidpipe.library.queries.states import REASONS
from vidpipe.pipeline.assets import steps
from vidpipe.pipeline.dagster_internals import ASSET_JOB
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sensors.describing_budget import DescribingBudget
from vidpipe.pipeline.sensors.launched_runs import (
    PRIORITY_TAG,
    STEP_TAG,
    SWEEP_TAG,
    config_list,
    held_by_runs,
    run_tags,
    unfinished_runs,
)
from vidpipe.pipeline.video_batches import MOST_RUNS, Batch, Kind, choose, least_priority
from vidpipe.runner.pending_changes import launches_changed, pending_sentences, record_specs
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.contract import STEPS, Stage
from vidpipe.stages.graph import StageGraph

NAME = "due_videos"


def due_videos_sensor(
    graph: StageGraph, settings: Settings, jobs: Mapping[str, dg.JobDefinition]
) -> dg.SensorDefinition:
    @dg.sensor(
        name=NAME,
        jobs=[jobs[list_job_name(step)] for step in steps(graph)],
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Launches prepare, describe and label for videos that are new, have other inputs, lost files, or "
        "may be tried again; never what waits for a person, is worked on, or failed for good.",
    )
    def due_videos(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        try:
            today = library.settings()
            with library.opened(graph, today) as opened, opened.connection.errors_explained():
                return look(context.instance, opened, today)
        except VidpipeError as error:
            return dg.SensorResult(skip_reason=str(error))

    return due_videos


def look(instance: dg.DagsterInstance, library: Library, settings: Settings) -> dg.SensorResult:
    """The runs to launch now, or why there are none. Launches are noted in the library."""
    plan = Plan.make(library.graph, settings)
    try:
        record_specs(library, plan)
        unfinished = unfinished_runs(instance, {"process", ASSET_JOB, *STEPS, *map(list_job_name, STEPS)})
        seen = [
            _Step(name, stages, plan, instance, library, unfinished) for name, stages in steps(library.graph).items()
        ]
        requests = [request for step in seen for request in step.requests()]
        waiting = [sentence for step in seen if (sentence := step.told_budget())]
        if requests:
            return dg.SensorResult(run_requests=requests)
        problems = [f"Stage {name} cannot run: {error}" for name, error in plan.unavailable.items()]
        said = [sentence for step in seen for sentence in step.sentences()]
    finally:
        plan.close()
    return dg.SensorResult(skip_reason=" ".join(problems + said + waiting) or "Nothing is due.")


@dataclass
class _Step:
    name: str
    stages: Sequence[Stage]
    plan: Plan
    instance: dg.DagsterInstance
    library: Library
    unfinished: Sequence[dg.DagsterRun]

    def __post_init__(self) -> None:
        self._specs = {
            stage.name: self.plan.specs[stage.name] for stage in self.stages if stage.name in self.plan.specs
        }
        jobs = (list_job_name(self.name), "process", self.name, ASSET_JOB)
        self._runs = [run for run in self.unfinished if run.job_name in jobs]
        own = [run for run in self._runs if run.tags.get(STEP_TAG) == self.name and SWEEP_TAG not in run.tags]
        self._unfinished = [kind_of(run, self.stages) for run in own]
        self._budget = DescribingBudget.of(self.library, self.plan, self._specs)

    @property
    def _changed_too(self) -> bool:
        """Whether what a changed spec made due may start by itself. In label it is the business of changed_rules."""
        return launches_changed(self.plan.settings, self.name, self.stages)

    def requests(self) -> list[dg.RunRequest]:
        sensors = self.plan.settings.sensors
        size = {"prepare": sensors.prepare_batch, "describe": sensors.describe_batch, "label": sensors.label_batch}
        held = held_by_runs(self.instance, self._runs)
        found = launchable(
            self.library.collections["videos"],
            self.name,
            self._specs,
            reasons=REASONS if self._changed_too else BY_ITSELF,
            held=held,
            above=least_priority(self._unfinished),
            limit=MOST_RUNS * size[self.name],
        )
        if self._budget is not None:
            found = self._budget.within(found, held)
        return [self._request(batch) for batch in choose(found, self._unfinished, size[self.name])]

    def _request(self, batch: Batch) -> dg.RunRequest:
        note_launch(self.library.collections["videos"], self.name, self._specs, batch.keys)
        config: dict[str, object] = {"keys": list(batch.keys)}
        if len(batch.kind.stages) < len(self.stages):
            config["stages"] = list(batch.kind.stages)
        estimated = self._budget.tags(batch.keys) if self._budget is not None else {}
        return dg.RunRequest(
            job_name=list_job_name(self.name),
            run_config={"ops": {list_op_name(self.name): {"config": config}}},
            tags={**run_tags(self.name, batch.kind.priority), "vidpipe/videos": str(len(batch.keys)), **estimated},
        )

    def told_budget(self) -> str | None:
        """Why videos wait for the budget of the describing model; None where none do."""
        return self._budget.tell(self.instance) if self._budget is not None else None

    def sentences(self) -> list[str]:
        """Why nothing is launched, as far as it is worth telling."""
        said = []
        if self._unfinished:
            number = len(self._unfinished)
            runs = f"{number} runs of {self.name} have" if number > 1 else f"A run of {self.name} has"
            said.append(f"{runs} not ended yet.")
        if self.name != "label" and not self._changed_too:
            waiting = [stage for stage in self.stages if stage.name in self._specs]
            said += pending_sentences(self.library, self.plan, waiting)
        return said


def kind_of(run: dg.DagsterRun, stages: Sequence[Stage]) -> Kind:
    """What a run that this sensor launched was for."""
    try:
        priority = int(run.tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        priority = 0
    return Kind(priority, tuple(config_list(run, "stages")) or tuple(stage.name for stage in stages))
