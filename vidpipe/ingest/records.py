"""What ingest keeps of each source, what it hands to the library, and how others follow it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

SourceKind = Literal["http", "s3", "file"]
SourceState = Literal["new", "fetching", "stored", "failed", "refused", "listed", "forgotten"]
OutcomeState = Literal["stored", "already stored", "unchanged", "failed", "refused", "cancelled"]


class Dependency(BaseModel):
    """Something besides the source that a failure depended on, and a fingerprint of what it was then."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: str


class SourceRecord(BaseModel):
    """One URL or file, and what became of it. Holds no secret: `url` is redacted, `id` hashes the full address.

    state: new       never tried
           fetching  an attempt was begun; where no process holds it any more, it was killed and is due again
           stored    `video` holds its bytes
           failed    the bytes could not be fetched; `last_error` says why
           refused   vidpipe will not take it: address not allowed, no video, too large
           listed    a folder of S3 whose objects have become sources; looked into again at `next_try_at`
           forgotten the user removed its video; only `vidpipe add` adds it again, no list does
    A URL that later gives other bytes is a new video: `video` is the new one, the others are in `earlier_videos`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    url: str = Field(description="without secrets")
    has_secret: bool = Field(False, description="the full URL is needed again to fetch it; it is not stored")
    fragment_dropped: bool = Field(False, description="it was given with a fragment, which no server is sent")
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
    next_try_at: datetime | None = Field(None, description="UTC; None: no further try by itself")
    failed_at: datetime | None = Field(None, description="UTC; when `last_error` was found")
    blocked_by: tuple[Dependency, ...] = Field((), description="what the error depended on; due again when one differs")
    needed_bytes: int | None = Field(
        None, description="of disk space that it did not find; due again when they are free"
    )
    first_seen: datetime | None = None
    last_fetched: datetime | None = None
    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None
    lists: tuple[str, ...] = Field((), description="watched lists that name it today, as in [Paths] SourceLists")
    folder: str | None = Field(None, description="id of the watched folder of S3 that it was found in")

    @field_validator("next_try_at", "failed_at", "first_seen", "last_fetched")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        """Databases give times back without their zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def is_of(self, found: os.stat_result) -> bool:
        """Whether a local file has the size and time that it had when it was taken in."""
        return (found.st_size, found.st_mtime_ns) == (self.size_bytes, self.modified_ns)


#: What a record says of failures when there are none.
NO_FAILURE: Mapping[str, object] = {
    "failures": 0, "last_error": None, "last_error_kind": None, "next_try_at": None, "failed_at": None,
    "blocked_by": (), "needed_bytes": None,
}  # fmt: skip
#: What users and lists say of a source; the rest is what ingest found out.
SAID = frozenset({"title", "labels", "priority", "lists", "folder"})


@dataclass(frozen=True, slots=True)
class ListedSource:
    """What a watched list says of one source, without secrets.

    edited: the list said something else before: what it no longer says is cleared
    """

    id: str
    url: str
    has_secret: bool = False
    kind: SourceKind = "http"
    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None
    edited: bool = False
    fragment_dropped: bool = False


class StoredVideo(BaseModel):
    """A file that is in the media store (or referenced in place), as the library records it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str
    path: str = Field(description="relative to the home; absolute where the file lies elsewhere")
    size_bytes: int
    modified_ns: int
    referenced: bool = False
    file_name: str = ""
    url: str = Field("", description="of the source, without secrets")


class SourceStore(Protocol):
    """Where the records are kept. Called from several threads at once."""

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        """The known ones of `ids`."""

    def save(self, record: SourceRecord, said: Collection[str] = ()) -> None:
        """Writes `record` under its id; of a known source all but the fields in `SAID`, which the watched lists may
        change meanwhile. said: those of them that are written all the same."""

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """Writes `record` (state stored) and adds the video, or this source's name and URL to a known video."""


@dataclass(frozen=True)
class IngestOutcome:
    """What became of one input.

    input:     as the user gave it, without secrets
    state:     stored          its bytes are new in the library
               already stored  the library had them: the same URL before, or the same bytes under another
               unchanged       asked again, and the server said: not modified
               cancelled       the run was stopped; what was fetched is kept and resumed
    video:     sha256 where there is one
    error:     a sentence; `transient` says whether another try may help
    known:     the error is that of an earlier try; nothing was asked
    note:      what else the user should know; may be empty
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
    def failed(cls, given: str, record: SourceRecord, *, known: bool = False) -> IngestOutcome:
        """The outcome that the record of a failed or refused source tells of."""
        state: OutcomeState = "refused" if record.state == "refused" else "failed"
        transient = record.last_error_kind == "transient"
        return cls(given, state, record, record.video, error=record.last_error, transient=transient, known=known)

    @property
    def sentence(self) -> str:
        """`error`, with its date where it is that of an earlier try; empty where there is none."""
        if not self.error or not self.known:
            return self.error or ""
        failed_at = self.source.failed_at if self.source else None
        when = f"on {failed_at.astimezone():%Y-%m-%d %H:%M}" if failed_at else "earlier"
        verb = "Rejected" if self.state == "refused" else "Failed"
        return f"{verb} {when}: {self.error} `vidpipe add --retry` asks again."


@dataclass(frozen=True)
class IngestNote:
    """Something about an input as a whole that is no outcome of a source.

    input:   as the user gave it, without secrets
    skipped: of a folder: what was found that is no video -> how many
    """

    input: str
    sentence: str
    skipped: Mapping[str, int] = field(default_factory=dict)


class IngestObserver(Protocol):
    """Follows a run: a progress bar each. Called from one thread at a time."""

    def on_note(self, note: IngestNote) -> None: ...

    def on_start(self, source: SourceRecord) -> None: ...

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None: ...

    def on_outcome(self, outcome: IngestOutcome) -> None: ...
