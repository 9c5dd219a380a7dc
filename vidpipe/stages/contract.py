"""The stage contract: what a stage declares, what it gets, what it yields.

A stage is one `Stage` declaration and one function. The function takes a batch of videos and yields one `Outcome` for
each. It knows neither Dagster nor MongoDB; caching, lineage, progress, leases and storage belong to the runner.
"""

import errno
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cache, wraps
from operator import add
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

from pydantic import BaseModel, ConfigDict

from vidpipe.errors import MediaError, UnavailableError, VidpipeError
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import Settings
from vidpipe.stages.search_fields import SearchField
from vidpipe.storage.media_files import MediaFiles
from vidpipe.storage.object_store import StoreError

Pool = Literal["network", "cpu", "gpu"]
JobName = Literal["prepare", "describe", "label"]
#: The steps in order.
STEPS: tuple[JobName, ...] = get_args(JobName)

#: The pseudo-stage whose fields ingest writes: `ingest.names`, `ingest.urls`, `ingest.path`, ...
INGEST = "ingest"


class StageResult(BaseModel):
    """Base of every stage's result. Each field has its own data version; other stages read single fields.

    Attributes:
        unversioned: Stored fields whose change makes nothing else due (a modification time, a path).
        scene_fields: Fields with one entry per scene (models with an `index`), stored in the scenes' documents.
        root: The first field is stored directly as the video's `Stage.stored_as`, without an object around it, and each
            other one under its own name.
        search_fields: Fields of the query language that are filled from it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    unversioned: ClassVar[frozenset[str]] = frozenset()
    scene_fields: ClassVar[frozenset[str]] = frozenset()
    root: ClassVar[bool] = False
    search_fields: ClassVar[tuple[SearchField, ...]] = ()

    def key_figures(self) -> dict[str, Any]:
        """Return a few plain values to show with the result, on Dagster's page for instance."""
        return {}

    def thumbnail(self) -> str | None:
        """Return the path of a JPEG that shows the video, relative to the home; None without one."""
        return None


class Part(BaseModel):
    """Base of the models inside results."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageError(VidpipeError):
    """One video failed in one stage.

    Attributes:
        transient: A later attempt may succeed (network, busy server); it is retried after a while.
    """

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message, hint)
        self.transient = transient

    @classmethod
    def of_disk(cls, item: "Item", what: str, error: OSError, settings: Settings) -> Self:
        """Return the error that what was decoded could not be written to, or read from, ProcessedDirectory."""
        folder = settings.derived_directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return cls(
                f"{item.name}: the disk of {folder} is full; {what} could not be written.",
                "Free space, or move ProcessedDirectory (section [Paths] of config.ini) to a larger disk; then run "
                "`vidpipe run --retry`.",
                transient=True,
            )
        return cls(
            f"{item.name}: {what} could not be written or read: {error}.",
            f"Check the disk and the permissions of {folder} (ProcessedDirectory); then run `vidpipe run --retry`.",
            transient=True,
        )


@dataclass(frozen=True)
class AnswerCell:
    """One answer of the describing model, stored in `answers`. `key` names everything the answer depends on.

    Attributes:
        key: Hash of everything the answer depends on.
        video: sha256 of the video.
        scope: Whether it is about a scene or the whole video.
        start_s: Start of what it is about.
        end_s: End of what it is about.
        prompt_id: Name of the prompt.
        prompt_hash: Hash of the rendered prompt.
        template: Hash of the prompt's template.
        model: Version of the model.
        frames_version: Version of the frames it was shown.
        raw_text: The answer as given.
        value: The answer in the requested form; None if it is malformed.
        fault: Why it is malformed, or "".
        tokens: Tokens generated.
        prompt_tokens: Tokens read.
        seconds: Model time since the previous answers. Only sums are exact: answers may come together.
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

    def get(self, keys: Iterable[str]) -> dict[str, AnswerCell]:
        """Return key -> answer of those of `keys` that are stored."""

    def keep(self, cells: Sequence[AnswerCell]) -> None:
        """Store answers as they come, so that a killed run has not asked in vain. May be repeated."""


@dataclass(frozen=True)
class Item:
    """One video as a stage sees it.

    Attributes:
        sha256: Its id.
        fields: "stage.field" -> value of exactly the fields in the stage's `reads`, typed as in their result models.
        inputs: Stage -> field -> data version.
        previous: The stage's own last good result, if the stage declares `reads_previous`.
    """

    sha256: str
    fields: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    previous: StageResult | None = None

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def name(self) -> str:
        """The video's name in messages."""
        return video_name(self.sha256)


def video_name(sha256: str) -> str:
    """Return the name of a video in a stage's messages; the runner adds the file name, which stages do not know."""
    return f"video {sha256[:12]}"


@dataclass(frozen=True)
class ModelTokens:
    """What the describing model did.

    Attributes:
        asked: Answers it gave.
        reused: Answers that were stored already.
        prompt_tokens: Tokens it read.
        output_tokens: Tokens it wrote.
    """

    asked: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Outcome:
    """What a stage made of one video: a result or an error, never both.

    Attributes:
        sha256: The video.
        result: The result.
        error: The error.
        lineage: Further entries for the lineage (a changed tag), each plain JSON.
        used: What the describing model did for it, even if it failed.
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
    """What a stage uses besides the video: a rule set, a model. Its version is part of the stage's spec."""

    @property
    def version(self) -> str:
        """Identifies what results depend on (contents, weights), not where it is stored."""

    def texts(self) -> Mapping[str, str]:
        """Return hash -> text of rules and prompts, kept in the lineage so that old tags can be explained."""


@dataclass
class StageContext:
    """What a stage's function gets besides its videos.

    Attributes:
        settings: The settings, limited to those the stage declares (see `declared_settings`).
        resources: The resources the stage declares, by name.
        cells: Stored answers of the describing model.
        cancelled: Set when the run is to stop; long work checks it and raises `Cancelled`.
        progress: Reports how far a video is, 0 to 1. May be called often.
        files: The videos' files and frame packs; by default, those in the local folders.
    """

    settings: Settings
    resources: Mapping[str, Any] = field(default_factory=dict)
    cells: CellStore | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[str, float], None] = lambda sha256, fraction: None
    files: MediaFiles = None  # type: ignore[assignment]  # never None after __post_init__

    def __post_init__(self) -> None:
        self.files = self.files or MediaFiles(self.settings)


class Cancelled(Exception):
    """The run was stopped while a video was in progress; nothing is recorded for it."""


class OutOfReach(UnavailableError):
    """A service that a stage needs (the describing model) is unreachable: no video is to blame.

    Nothing is recorded for the videos without an outcome, which stay due; the run continues without the stage.
    """


StageFunction = Callable[[Sequence[Item], StageContext], Iterator[Outcome]]


def per_video(function: Callable[[Item, StageContext], StageResult | Outcome]) -> StageFunction:
    """Turn a function that processes one video into a stage's function.

    A StageError, MediaError, StoreError or UnavailableError (transient), but not OutOfReach, is the outcome of that
    video alone.
    """

    @wraps(function)
    def of_batch(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in items:
            if context.cancelled.is_set():
                raise Cancelled
            try:
                made = function(item, context)
            except StageError as error:
                made = Outcome(item.sha256, error=error)
            except OutOfReach:
                raise
            except FetchCancelled:
                raise Cancelled from None
            except (MediaError, StoreError, UnavailableError) as error:
                transient = error.transient if isinstance(error, StoreError) else isinstance(error, UnavailableError)
                made = Outcome(item.sha256, error=StageError(error.message, error.hint, transient=transient))
            yield made if isinstance(made, Outcome) else Outcome(item.sha256, made)

    return of_batch


@dataclass(frozen=True)
class Stage:
    """The declaration of a stage.

    Attributes:
        name: Name of the stage and of its Dagster asset.
        job: The step it belongs to.
        description: One sentence for the asset's page.
        result: Model of its result.
        function: Takes a batch and yields one outcome per video, in any order.
        reads: "stage.field" names; a change of one of them makes this stage due.
        optional_reads: Likewise, but None while that stage is disabled or has no result: it is not waited for, and its
            failure blocks nothing.
        settings: Dotted names of settings or their properties that results depend on ("scene_detection.threshold").
        environment: Dotted names of settings or sections that the stage reads, but that never change a result: limits,
            timeouts. They are not part of its spec.
        resources: Names that `vidpipe.stages.registry.build_resource` knows.
        code_version: Raised by hand whenever the code gives other results.
        stored_as: Key of the result in the video's document.
        pool: What it waits for: network, cpu (MaxWorkers at once) or gpu (one at once).
        batch_size: Most videos of one call.
        kinds: Kinds of the asset on Dagster's page.
        reads_previous: The stage gets its own last good result.
        artifacts_exist: Checks the files that a result names; False makes the stage due. Called for every current
            video of a run, so it must cost no more than a stat.
        quick: The result follows from the fields read alone, faster than it is stored. If only the spec has changed,
            many videos are computed at once, and equal results are confirmed.
        looks_at: Takes the stage's resources, and whether people judged scenes of the video; returns which of its reads
            the stage looks at under these resources. By default all.
        optional: Whether it can be disabled (see `vidpipe.stages.analyses`).
        costly: A change of what it reads optionally makes it due as a changed setting does: sensors start it only if
            DescribeChanged or a budget allows it.
    """

    name: str
    job: JobName
    description: str
    result: type[StageResult]
    function: StageFunction
    reads: tuple[str, ...]
    optional_reads: tuple[str, ...] = ()
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
    looks_at: Callable[[Mapping[str, Any], bool], Collection[str]] | None = None
    optional: bool = False
    costly: bool = False

    @property
    def all_reads(self) -> tuple[str, ...]:
        """What it reads, optionally or not."""
        return (*self.reads, *self.optional_reads)

    @property
    def reads_file(self) -> bool:
        """Whether it reads the video's file, which may have been deleted on purpose."""
        return not {"ingest.path", "raw_video.path"}.isdisjoint(self.all_reads)

    @property
    def key(self) -> str:
        """Key of the result in the video's document."""
        return self.stored_as or self.name


@dataclass(frozen=True)
class FieldRead:
    """One entry of `Stage.reads`."""

    stage: str
    field: str

    @classmethod
    @cache
    def parse(cls, name: str) -> "FieldRead":
        """Split "stage.field"."""
        stage, _, field_name = name.partition(".")
        return cls(stage, field_name)
