"""What a run did, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vidpipe.errors import VidpipeError
from vidpipe.stages.contract import StageEvent

#: Of each kind; what a run keeps in memory must not grow with the number of videos.
_MOST_KEPT = 1000


@dataclass
class RunReport:
    """
    videos:        how many were chosen
    counts:        stage -> state of `StageEvent` -> number
    failures:      the first failed events; `counts` has all
    busy:          the first videos that another run held; `busy_videos` counts all
    unknown:       the first given ids that are no video's; `unknown_videos` counts all
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
    busy_videos: int = 0
    unknown_videos: int = 0

    def count(self, event: StageEvent) -> None:
        if event.state == "started":
            return
        if event.stage not in self.counts:
            self.counts[event.stage] = Counter()
        self.counts[event.stage][event.state] += 1
        self.stage_seconds[event.stage] = self.stage_seconds.get(event.stage, 0.0) + event.seconds
        if event.state == "failed" and len(self.failures) < _MOST_KEPT:
            self.failures.append(event)

    def note_busy(self, sha256: str) -> None:
        self.busy_videos += 1
        if len(self.busy) < _MOST_KEPT:
            self.busy.append(sha256)

    def note_unknown(self, sha256: str) -> None:
        self.unknown_videos += 1
        if len(self.unknown) < _MOST_KEPT:
            self.unknown.append(sha256)

    def total(self, state: str) -> int:
        return sum(counter[state] for counter in self.counts.values())

    @property
    def ok(self) -> bool:
        """Nothing failed, could not run, was unknown or was cut off."""
        return not (self.total("failed") or self.problems or self.unknown or self.interrupted)
