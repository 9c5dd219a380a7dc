"""What a run did, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vidpipe.errors import VidpipeError
from vidpipe.stages.contract import StageEvent

_MOST_FAILURES_KEPT = 1000


@dataclass
class RunReport:
    """
    videos:        how many were chosen
    counts:        stage -> state of `StageEvent` -> number
    failures:      the first failed events; `counts` has all
    busy:          videos that another run held
    unknown:       given ids that are no video's
    problems:      stages that could not run at all, and why
    seconds:       wall time of the run
    stage_seconds: stage -> sum of the time spent in its function
    interrupted:   the run was stopped before its end
    """

    videos: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[StageEvent] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: dict[str, VidpipeError] = field(default_factory=dict)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    def count(self, event: StageEvent) -> None:
        if event.state == "started":
            return
        self.counts.setdefault(event.stage, Counter())[event.state] += 1
        self.stage_seconds[event.stage] = self.stage_seconds.get(event.stage, 0.0) + event.seconds
        if event.state == "failed" and len(self.failures) < _MOST_FAILURES_KEPT:
            self.failures.append(event)

    def total(self, state: str) -> int:
        return sum(counter[state] for counter in self.counts.values())

    @property
    def ok(self) -> bool:
        """Nothing failed, could not run, was unknown or was cut off."""
        return not (self.total("failed") or self.problems or self.unknown or self.interrupted)
