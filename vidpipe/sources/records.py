"""Records of sources, the stores that keep them, the outcome of an ingest, and its observer."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, Field, field_validator

from vidpipe.sources.source_data import Segment, SourceData, StatedByUser
from vidpipe.sources.urls import readable_url
from vidpipe.storage.object_store import LOCAL

#: "http", "s3", "file", "site", ...: see `vidpipe.sources.fetchers.registry`.
SourceKind = str
SourceState = Literal["new", "fetching", "stored", "failed", "refused", "gone", "listed", "forgotten"]
OutcomeState = Literal["stored", "already stored", "unchanged", "failed", "refused", "gone", "cancelled"]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,;)]+[^\s,;).:]")
_PATH = re.compile(r"(?<![\w/.])/(?:[^\s,;:)]+/)*[^\s,;:)]*[^\s,;:).]")


class Dependency(BaseModel, frozen=True):
    """Something besides the source that a failure depended on, and a fingerprint of its value at that time.

    Attributes:
        name: As in `vidpipe.sources.failures`.
        value: The fingerprint.
    """

    name: str
    value: str


class SourceRecord(BaseModel, frozen=True, extra="ignore"):
    """One URL or file and its state. Contains no secret: `url` is redacted, `id` is a hash of the real URL.

    The states:
        new: Never tried.
        fetching: An attempt was started; if no process holds the source any more, it was killed and is due again.
        stored: `video` has its bytes.
        failed: The bytes could not be fetched; see `last_error`.
        refused: vidpipe rejects it: address not allowed, not a video, too large.
        gone: It never gave a video, and its server says that there is none (any more): see `gone_since`. A stored
            source that is gone stays stored.
        listed: A folder, playlist or channel whose entries have become sources; listed again at `next_try_at`.
        forgotten: The user removed its video, and nothing else is known of it any more; only
            `vidpipe add --include-forgotten` adds it again.

    A URL that later gives other bytes is a new video: `video` is the new one, the others are in `earlier_videos`.
    """

    id: str
    url: str = Field(description="without secrets; empty once it is forgotten")
    has_secret: bool = Field(False, description="the real URL, which is not stored, is needed to fetch it")
    fragment_dropped: bool = Field(False, description="it was given with a fragment, which is not sent to servers")
    kind: SourceKind = "http"
    state: SourceState = "new"
    attempts: int = Field(0, description="requests for bytes so far, over all runs")
    failures: int = Field(0, description="runs that failed since the last success")
    video: str | None = Field(None, description="sha256 of the bytes it gave last")
    earlier_videos: tuple[str, ...] = Field((), description="sha256 of bytes it gave before, oldest first")
    etag: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    final_url: str | None = Field(None, description="after redirects, without secrets; None: not redirected")
    size_bytes: int | None = None
    modified_ns: int | None = Field(None, description="of a local file, when it was read")
    file_name: str | None = None
    last_error: str | None = None
    last_error_kind: Literal["transient", "permanent"] | None = None
    next_try_at: datetime | None = Field(None, description="UTC; None: not retried automatically")
    failed_at: datetime | None = Field(None, description="UTC; when `last_error` occurred")
    gone_since: datetime | None = Field(None, description="UTC; when its server first said that it does not exist")
    blocked_by: tuple[Dependency, ...] = Field((), description="what the error depended on; due again once one differs")
    needed_bytes: int | None = Field(None, description="disk space that was missing; due again once it is free")
    first_seen: datetime | None = None
    last_fetched: datetime | None = None
    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None
    licence: str | None = Field(None, description="as a list states it; the site's own is in `data`")
    segments: tuple[Segment, ...] = Field((), description="labelled parts: ground truth, which no stage reads")
    data: SourceData | None = Field(None, description="what its site or page says")
    lists: tuple[str, ...] = Field((), description="watched lists that name it now, as in [Paths] SourceLists")
    folder: str | None = Field(None, description="id of the watched folder or playlist in which it was found")

    @field_validator("next_try_at", "failed_at", "gone_since", "first_seen", "last_fetched")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        """Databases return times without their zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def is_of(self, found: os.stat_result) -> bool:
        """Return whether a local file has the size and time that it had when it was added."""
        return (found.st_size, found.st_mtime_ns) == (self.size_bytes, self.modified_ns)


_OF_FAILURES = (
    "failures", "last_error", "last_error_kind", "next_try_at", "failed_at", "gone_since", "blocked_by", "needed_bytes",
)  # fmt: skip
#: The fields of a record without failures.
NO_FAILURE: Mapping[str, object] = {name: SourceRecord.model_fields[name].default for name in _OF_FAILURES}
#: Fields that users and lists set; ingest finds out the others.
USER_FIELDS = frozenset({"title", "labels", "priority", "licence", "segments", "lists", "folder"})


@dataclass(frozen=True, slots=True)
class ListedSource(StatedByUser):
    """An entry of a watched list, without secrets.

    Attributes:
        edited: The list had another entry for this source before: fields that are no longer set are cleared.
        etag: Its version, of a file in a remote folder.
    """

    id: str
    url: str
    has_secret: bool = False
    kind: SourceKind = "http"
    edited: bool = False
    fragment_dropped: bool = False
    etag: str | None = None


class StoredVideo(BaseModel, frozen=True, extra="ignore"):
    """A file in the media store, or one that is referenced in place, as the library records it."""

    sha256: str
    path: str = Field(description="relative to the home; absolute where the file lies elsewhere")
    size_bytes: int
    modified_ns: int
    referenced: bool = False
    file_name: str = ""
    url: str = Field("", description="of the source, without secrets")
    store: str = Field(LOCAL, description="URL of the store that holds it")


@dataclass(frozen=True)
class DueSource:
    """A source that is due.

    Attributes:
        id: Of the source.
        priority: Higher ones come first.
    """

    id: str
    priority: int


class SourceStore(Protocol):
    """Keeps the records. Called from several threads at once."""

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        """Return the known ones of `ids`."""

    def save(self, record: SourceRecord, user_fields: Collection[str] = ()) -> None:
        """Write `record` under its id.

        Args:
            record: Of a known source, all fields are written but those in `USER_FIELDS`, which the watched lists may
                change meanwhile.
            user_fields: Those of `USER_FIELDS` that are written all the same.
        """

    def forgotten(self, sha256: str, *, recall: bool) -> str | None:
        """Return when a video was forgotten, as words; None if it was not. `recall` lets it be added again."""

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """Write `record` (state stored) and add the video, or this source's name and URL to a known video."""


class ListedSourceStore(Protocol):
    """Keeps which watched list names which source. All methods can be repeated safely."""

    def save_many(self, name: str, listed: Iterable[ListedSource], *, folder: str | None = None) -> int:
        """Write entries of the list `name`; return the number of new sources."""

    def drop(self, name: str, ids: Iterable[str]) -> None:
        """Remove the sources from the list `name`."""

    def forget(self, name: str) -> None:
        """Remove the list `name`: the file is no longer watched."""

    def again(self, ids: Iterable[str]) -> None:
        """Make the sources due again, because their files have changed."""

    def ids(self, name: str, folder: str | None = None) -> Iterator[str]:
        """Yield the ids of the sources that the list itself names, or of those found in a remote folder in it."""

    def report(self, name: str, **fields: Any) -> None:
        """Store facts about the list itself: problems of its lines, when it was read."""


@dataclass(frozen=True)
class IngestOutcome:
    """What became of one input.

    Attributes:
        input: As the user gave it, without secrets.
        state: `stored`: its bytes are new in the library. `already stored`: the library had them, from the same URL or
            another one. `unchanged`: checked again, and not modified. `cancelled`: the run was stopped; what was
            fetched is kept and resumed. `failed`, `refused` and `gone`: see `error`.
        source: Record of the source.
        video: sha256 of its video, if there is one.
        stored: The stored file, if it was stored now.
        error: What went wrong, and what to do.
        transient: Whether another attempt may succeed.
        known: The error is that of an earlier attempt; nothing was requested now.
        note: What else the user should know; may be empty.
    """

    input: str
    state: OutcomeState
    source: SourceRecord | None = None
    video: str | None = None
    stored: StoredVideo | None = None
    error: str | None = None
    transient: bool = False
    known: bool = False
    note: str = ""

    @classmethod
    def failed(cls, given: str, record: SourceRecord, *, known: bool = False) -> "IngestOutcome":
        """Return the outcome of a failed or refused source from its record."""
        state: OutcomeState = record.state if record.state in ("refused", "gone") else "failed"
        transient = record.last_error_kind == "transient"
        return cls(given, state, record, record.video, error=record.last_error, transient=transient, known=known)

    @property
    def sentence(self) -> str:
        """`error`, with its date if it is that of an earlier attempt; empty if there is none."""
        if not self.error or not self.known:
            return self.error or ""
        failed_at = self.source.failed_at if self.source else None
        when = f"on {failed_at.astimezone():%Y-%m-%d %H:%M}" if failed_at else "earlier"
        verb = "Rejected" if self.state == "refused" else "Failed"
        return f"{verb} {when}: {self.error} Use `vidpipe add --retry` to retry."

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values, with the facts of its source that matter to users."""
        names = ("input", "state", "video", "error", "transient", "known", "note")
        source = self.source
        data = source.data if source and source.data else SourceData()
        return {
            **{name: getattr(self, name) for name in names},
            "failed_at": source.failed_at if source else None,
            "url": readable_url(source.url) if source else None,
            "attempts": source.attempts if source else 0,
            "next_try_at": source.next_try_at if source else None,
            "gone_since": source.gone_since if source else None,
            "chosen": data.chosen,
            "reason": data.reason,
        }

    @property
    def anonymous_error(self) -> str:
        """`error` without URLs, paths and names of the source: Dagster's history must not identify a video."""
        error = self.error or ""
        names = {self.input}
        if self.source is not None:
            shown = unquote(self.source.url)
            host = urlsplit(self.source.url.replace("[", "").replace("]", "")).hostname
            path = shown.removeprefix("file://")
            names |= {self.source.url, shown, path, path.rpartition("/")[2], host or ""}
            names |= {self.source.final_url or "", self.source.file_name or "", self.source.title or ""}
        for name in sorted(names - {""}, key=len, reverse=True):
            error = error.replace(name, "the source")
        return _PATH.sub("a path", _URL.sub("a URL", error)).removeprefix("the source: ")


@dataclass(frozen=True)
class IngestNote:
    """A message about an input as a whole that is not the outcome of a source.

    Attributes:
        input: As the user gave it, without secrets.
        sentence: The message.
        skipped: Of a folder: kind of file that is not a video -> number of files.
    """

    input: str
    sentence: str
    skipped: Mapping[str, int] = field(default_factory=dict)


def outcomes_as_json(outcomes: Sequence[IngestOutcome], notes: Sequence[IngestNote]) -> dict[str, Any]:
    """Return the outcomes and notes of adding as JSON values."""
    return {
        "inputs": [outcome.as_json() for outcome in outcomes],
        "counts": dict(Counter(outcome.state for outcome in outcomes)),
        "notes": [{"input": one.input, "note": one.sentence, "skipped": one.skipped} for one in notes],
    }


class IngestObserver(Protocol):
    """Follows an ingest: a progress bar, for instance. Called from one thread at a time."""

    def on_note(self, note: IngestNote) -> None:
        """There is a message about an input."""

    def on_start(self, source: SourceRecord) -> None:
        """An attempt starts."""

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """The number of bytes so far has changed; `total` is None if it is unknown."""

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """An input is done."""


class NullIngestObserver:
    """Ignores what happens in an ingest."""

    def on_note(self, note: IngestNote) -> None:
        """Ignore the message."""

    def on_start(self, source: SourceRecord) -> None:
        """Ignore the start."""

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Ignore the progress."""

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Ignore the outcome."""
