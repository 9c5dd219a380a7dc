"""Work of the stages that begins before its Dagster run, while Dagster is being loaded."""

import queue
import uuid
from dataclasses import dataclass, field

from vidpipe.runner.estimate import ModelEstimate
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport
from vidpipe.stages.events import Observer, StageEvent

#: More events than this that no step has taken hold the work back, so that memory does not grow with the videos.
_MAX_WAITING = 500


@dataclass(frozen=True)
class StartedWork:
    """Work that has begun before its Dagster run; its events wait for the step that reports them.

    Attributes:
        observer: The caller's, which receives everything at once.
        plan: What is computed, with the model that is asked.
        expected: What the describing model was expected to do before the work began; None if no stage asks it.
        run_id: Of the work, and of the Dagster run.
    """

    observer: Observer
    plan: Plan
    expected: ModelEstimate | None = None
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _events: queue.Queue[StageEvent | RunReport | BaseException] = field(
        default_factory=lambda: queue.Queue(_MAX_WAITING), init=False
    )

    def on_event(self, event: StageEvent) -> None:
        """Pass an event on to the caller, and keep it for the step."""
        self.observer.on_event(event)
        self._events.put(event)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """Pass progress on to the caller."""
        self.observer.on_progress(sha256, stage, fraction)

    def end(self, outcome: RunReport | BaseException) -> None:
        """Declare that the work has ended, with its report or an error."""
        self._events.put(outcome)

    def follow(self, observer: Observer) -> RunReport:
        """Pass the events on to `observer` until the work has ended. Returns its report, or raises its error."""
        while isinstance(found := self._events.get(), StageEvent):
            observer.on_event(found)
        self.end(found)  # for those that follow after the end
        if isinstance(found, BaseException):
            raise found
        return found
