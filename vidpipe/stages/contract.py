"""The stage contract: what a stage declares, what it is given, what it yields.

A stage is one `Stage` declaration and one function. The function takes a batch of videos and yields one `Outcome`
for each. It knows neither Dagster nor MongoDB; caching, lineage, progress, leases and storage belong to the runner.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, computed_field

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.settings import Settings
from vidpipe.tagging.words import search_forms

Pool = Literal["network", "cpu", "gpu"]
JobName = Literal["prepare", "describe", "label"]
#: The steps in order.
STEPS: tuple[JobName, ...] = get_args(JobName)

#: The pseudo-stage whose fields ingest writes: `ingest.names`, `ingest.urls`, `ingest.path`, ...
INGEST = "ingest"


class StageResult(BaseModel):
    """Base of every stage's result. Each field has a data version of its own; other stages read single fields.

    unversioned:  fields that are stored, but whose change makes nothing else due (a modification time, a path)
    scene_fields: fields that hold a list with one entry a scene (models with an `index`); they are stored in the
                  scenes' documents, not in the video's
    root:         the only field is stored itself as the video's `Stage.stored_as`, instead of an object around it
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    unversioned: ClassVar[frozenset[str]] = frozenset()
    scene_fields: ClassVar[frozenset[str]] = frozenset()
    root: ClassVar[bool] = False

    def key_figures(self) -> dict[str, Any]:
        """A few plain values worth showing where the result is reported (Dagster's page, progress)."""
        return {}

    def thumbnail(self) -> str | None:
        """Path, relative to the home, of a JPEG that shows the video; None where this result has none."""
        return None


class IngestFacts(StageResult):
    """What ingest knows of a stored video; the root that `raw_video` and the rules read.

    path:      of the stored file, relative to the home (absolute where the file is referenced in place)
    names:     the file names the video came under, sorted
    urls:      the URLs (or file: addresses) it came from, sorted, without secrets
    labels:    what users and lists label those sources, sorted; those that differ only in case are one
    titles:    what users and lists call them, likewise

    Limited to the first ones (see `vidpipe.library.schema`).
    """

    unversioned: ClassVar[frozenset[str]] = frozenset({"path", "size_bytes", "modified_ns", "referenced"})

    path: str
    size_bytes: int
    modified_ns: int
    referenced: bool = False
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def words(self) -> tuple[str, ...]:
        """Stored for the text index only; it has no version."""
        return search_forms((*self.titles, *self.labels), self.names)


class StageError(VidpipeError):
    """One video failed in one stage.

    transient: the same attempt may succeed later (network, busy server); it is tried again after a while.
    """

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message, hint)
        self.transient = transient


@dataclass(frozen=True)
class AnswerCell:
    """One answer of the describing model, stored in `answers`. `key` names everything the answer depends on.

    prompt_hash:   of the text that was asked; template: of what it was rendered from
    model:         the model's version; frames_version: of what it was shown
    value:         the answer read in the form that was asked for; None where it cannot be read so
    fault:         why it cannot; "" where it can
    tokens:        generated; prompt_tokens: read for it
    seconds:       of the model's time: since the answers before it, shared by those that came together; right in sum
    """

    key: str
    video: str
    scope: Literal["video", "scene"]
    start_s: float
    end_s: float
    prompt_id: str
    prompt_hash: str
    template: str
    model: str
    frames_version: str
    raw_text: str
    value: Any
    fault: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0


class CellStore(Protocol):
    """The answers already given."""

    def get(self, keys: Iterable[str]) -> dict[str, AnswerCell]: ...

    def keep(self, cells: Sequence[AnswerCell]) -> None:
        """Stores answers as they come, so that a run that is killed has not asked in vain. May be repeated."""


@dataclass(frozen=True)
class Item:
    """One video as a stage sees it.

    fields:   "stage.field" -> value, exactly the fields that the stage declares in `reads`, typed as in the result
              model of the stage that made them
    inputs:   their data versions
    previous: the stage's own last good result, if the stage declares `reads_previous`
    """

    sha256: str
    fields: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    previous: StageResult | None = None

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def name(self) -> str:
        """How the video is called in messages."""
        return video_name(self.sha256)


def video_name(sha256: str) -> str:
    """How a stage, which knows no file name, calls a video in its messages; the runner puts its name before them."""
    return f"video {sha256[:12]}"


@dataclass(frozen=True)
class ModelTokens:
    """What the describing model did.

    asked, reused: answers that it gave, and that were there already
    prompt_tokens, output_tokens: that it read and wrote
    """

    asked: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one video in one stage: a result or an error, never both.

    lineage: further entries for the lineage (a changed tag), plain JSON each
    used:    what it took of the describing model, also where it failed in the end
    """

    sha256: str
    result: StageResult | None = None
    error: StageError | None = None
    lineage: Sequence[Mapping[str, Any]] = ()
    used: ModelTokens | None = None

    def __post_init__(self) -> None:
        if (self.result is None) == (self.error is None):
            raise ValueError("an outcome is either a result or an error")


class StageResource(Protocol):
    """Something a stage uses besides the video: a rule set, a model. `version` is in the stage's spec."""

    @property
    def version(self) -> str:
        """Names what the results depend on (contents, weights), not where it lies."""

    def texts(self) -> Mapping[str, str]:
        """hash -> text of rules and prompts, kept in the lineage so that an old tag can be explained."""


@dataclass
class StageContext:
    """What a stage's function is given besides its videos.

    resources: the resources that the stage declares, by name
    cells:     answers already given, and where new ones are kept
    cancelled: set when the run is to stop; long work looks at it and raises `Cancelled`
    progress:  tells how far a video is, 0 to 1 (may be called often)
    """

    settings: Settings
    resources: Mapping[str, Any] = field(default_factory=dict)
    cells: CellStore | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[str, float], None] = lambda sha256, fraction: None


class Cancelled(Exception):
    """The run was stopped while a video was worked on; nothing is recorded for it."""


class OutOfReach(UnavailableError):
    """What a stage asks of the outside (the describing model) is out of reach: no video is to blame.

    Nothing is recorded for the videos without an outcome, which stay due; the run goes on without the stage.
    """


StageFunction = Callable[[Sequence[Item], StageContext], Iterator[Outcome]]


@dataclass(frozen=True)
class Stage:
    """The declaration of a stage.

    name:           also the name of the Dagster asset
    job:            which of the three Dagster steps it belongs to
    description:    one sentence for the asset's page
    result:         model of its result
    function:       takes a batch, yields one outcome a video, in any order
    reads:          "stage.field" names; a change of one of them makes this stage due
    settings:       dotted names of settings its result depends on ("scene_detection.threshold"), properties included
    resources:      names in `vidpipe.stages.resources.BUILDERS`
    code_version:   raised by hand whenever the code would give another result
    stored_as:      key of the result in the video's document
    pool:           what it waits for: network, cpu (MaxWorkers at once) or gpu (one at once)
    batch_size:     most videos given to one call
    kinds:          words for the asset's page in Dagster
    reads_previous: the stage is given its own last good result
    still_there:    checks files the stored result names; False makes the stage due. Called for every current
                    video of a run, so it must cost no more than a stat.
    quick:          the result follows from the fields read, without files or answers, in less time than storing it
                    takes; where only the spec changed, many videos are computed at once and equal results confirmed
    """

    name: str
    job: JobName
    description: str
    result: type[StageResult]
    function: StageFunction
    reads: tuple[str, ...]
    settings: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    code_version: str = "1"
    stored_as: str = ""
    pool: Pool = "cpu"
    batch_size: int = 1
    kinds: tuple[str, ...] = ()
    reads_previous: bool = False
    artifacts_exist: Callable[[StageResult, Settings], bool] | None = None
    quick: bool = False

    @property
    def key(self) -> str:
        """Key of the result in the video's document."""
        return self.stored_as or self.name


@dataclass(frozen=True)
class FieldRead:
    """One entry of `Stage.reads`, taken apart."""

    stage: str
    field: str

    @classmethod
    @cache
    def parse(cls, name: str) -> FieldRead:
        stage, _, field_name = name.partition(".")
        return cls(stage, field_name)


@dataclass(frozen=True)
class StageEvent:
    """What the runner tells an observer about one video and stage.

    state: started   work on it begins
           computed  a new result is stored; `changed` says whether any data version differs from before
           current   nothing to do
           blocked   an earlier stage has no usable result
           failed    the error is stored
           busy      another run holds the video
           discarded the result was not stored, because something changed meanwhile; it is due again
    earlier: it failed in an earlier run, and was not tried now
    used:    of the describing model, whatever became of it
    """

    sha256: str
    stage: str
    state: Literal["started", "computed", "current", "blocked", "failed", "busy", "discarded"]
    name: str = ""
    seconds: float = 0.0
    changed: bool = False
    result: StageResult | None = None
    error: StageError | None = None
    data_version: str = ""
    code_version: str = ""
    earlier: bool = False
    used: ModelTokens | None = None


class Observer(Protocol):
    """Follows a run: a progress bar, Dagster. Called from one thread at a time."""

    def on_event(self, event: StageEvent) -> None: ...

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...
