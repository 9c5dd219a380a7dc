"""What a run is asked to do, and what it reports back: the same two types for every caller.

The command line, sensors, Dagster's run configs and the runner all use `RunRequest` and `RunReport`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vidpipe.errors import VidpipeError
from vidpipe.stages.events import StageEvent

#: Entries of each kind that a report lists; its memory must not grow with the number of videos.
_MOST_LISTED = 1000
_OF_ERRORS = {"message": "", "hint": "", "transient": False}
#: States of a stage's results that reports count.
RESULT_STATES = ("computed", "current", "failed", "blocked", "busy", "discarded", "waiting")


class RunRequest(BaseModel):
    """Which videos to bring up to date in which stages, and how.

    As a run config of Dagster (`as_config`, `from_config`) it holds hashes only, no names or URLs.

    Attributes:
        videos: sha256 of the videos; None means all that are due.
        stages: Names of the stages; None means all.
        retry: Retry failed and quarantined videos too.
        force: Stages to recompute even if their results are current.
        check_files: Check that the files of current results still exist.
        isolate_crashes: Retry videos that crashed the process in a child process.
        refetch: Download deleted originals again where a due stage needs them; of the stages, raw_video does so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    videos: tuple[str, ...] | None = Field(None, alias="keys")
    refetch: bool = False
    stages: tuple[str, ...] | None = None
    retry: bool = False
    force: frozenset[str] = frozenset()
    check_files: bool = True
    isolate_crashes: bool = True

    @field_validator("videos", mode="before")
    @classmethod
    def _unique(cls, given: Iterable[str] | str | None) -> tuple[str, ...] | None:
        """Accept a list, or a text with one key a line, as typed into Dagster's launchpad."""
        if given is None:
            return None
        texts = [given] if isinstance(given, str) else given
        lines = (line.strip() for text in texts for line in str(text).splitlines())
        return tuple(dict.fromkeys(line for line in lines if line))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "RunRequest":
        """Read a run config, where an empty list means no restriction."""
        return cls.model_validate({name: value for name, value in config.items() if value not in ([], "")})

    def as_config(self) -> dict[str, Any]:
        """Return the run config of this request: plain JSON, without default values but for `keys`.

        Raises:
            ValueError: The request names no video at all: a run config cannot say that.
        """
        if self.videos == ():
            raise ValueError("a request for no videos needs no run")
        config = {"keys": [], **self.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
        return {name: sorted(value) if name == "force" else value for name, value in config.items()}

    def stage_names(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return the requested ones of the `known` stages, in their order."""
        return tuple(name for name in known if self.stages is None or name in self.stages)


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        videos: Number of videos chosen.
        counts: Stage -> state of `StageEvent` -> number of videos.
        failures: The first failed events; `counts` has all.
        busy: The first videos that another run held; `busy_videos` counts all.
        unknown: The first given ids that are not in the library; `unknown_videos` counts all.
        problems: Stages that could not run at all, and why.
        unavailable: The same and optional stages that lack a model or package, which is no error.
        seconds: Wall time of the run.
        stage_seconds: Stage -> sum of the time spent in its function.
        interrupted: The run was stopped before its end.
    """

    videos: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[StageEvent] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: dict[str, VidpipeError] = field(default_factory=dict)
    unavailable: dict[str, VidpipeError] = field(default_factory=dict)
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False
    busy_videos: int = 0
    unknown_videos: int = 0

    def count(self, event: StageEvent) -> None:
        """Add an event to the report."""
        if event.state == "started":
            return
        self.counts.setdefault(event.stage, Counter())[event.state] += 1
        self.stage_seconds[event.stage] = self.stage_seconds.get(event.stage, 0.0) + event.seconds
        if event.state == "failed" and len(self.failures) < _MOST_LISTED:
            self.failures.append(event)

    def skip(self, kind: Literal["busy", "unknown"], sha256: str) -> None:
        """Add a video that another run holds, or an id that is not in the library."""
        setattr(self, f"{kind}_videos", getattr(self, f"{kind}_videos") + 1)
        listed: list[str] = getattr(self, kind)
        if len(listed) < _MOST_LISTED:
            listed.append(sha256)

    def total(self, state: str) -> int:
        """Return the number of results in `state` over all stages."""
        return sum(counter[state] for counter in self.counts.values())

    @property
    def optional_faults(self) -> dict[str, VidpipeError]:
        """Stages that could not run, without error: stage -> why."""
        return {name: error for name, error in self.unavailable.items() if name not in self.problems}

    def as_json(self, stages: Iterable[str]) -> dict[str, Any]:
        """Return the report as JSON values, with the counts of `stages`."""
        none: Counter[str] = Counter()
        counts = {name: {state: self.counts.get(name, none)[state] for state in RESULT_STATES} for name in stages}
        return {
            "videos": self.videos,
            "stages": {
                name: {**counted, "seconds": round(self.stage_seconds.get(name, 0.0), 3)}
                for name, counted in counts.items()
            },
            "failures": [
                {"video": event.sha256, "name": event.name, "stage": event.stage}
                | {name: getattr(event.error, name, empty) for name, empty in _OF_ERRORS.items()}
                for event in self.failures
            ],
            "busy": list(self.busy),
            "unknown": list(self.unknown),
            "problems": {name: error.as_json() for name, error in self.problems.items()},
            "unavailable": {name: error.as_json() for name, error in self.optional_faults.items()},
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
        }

    @property
    def ok(self) -> bool:
        """Nothing failed, could not run, was unknown or was interrupted."""
        return not (self.total("failed") or self.problems or self.unknown or self.interrupted)
