"""One source from request to outcome: fetch, check, store, and write down what became of it."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vidpipe.errors import MediaError, VidpipeError, readable
from vidpipe.ingest.dependencies import Dependencies
from vidpipe.ingest.download import download
from vidpipe.ingest.faults import DiskFullError, FaultKind, FetchCancelled, FetchError
from vidpipe.ingest.local import take_local
from vidpipe.ingest.partial import Validators
from vidpipe.ingest.records import NO_FAILURE, IngestOutcome, OutcomeState, SourceRecord, SourceStore, StoredVideo
from vidpipe.ingest.s3 import Buckets
from vidpipe.ingest.sources import SourceRequest
from vidpipe.ingest.store import MediaStore, StoredFile
from vidpipe.ingest.urls import readable_url, scrub
from vidpipe.redaction import MASK
from vidpipe.settings import Settings

#: Said of a URL that was given with a fragment.
FRAGMENT_HINT = "The part after # is not sent to servers; a # that belongs to the name is written %23."

log = logging.getLogger(__name__)

_FIRST_RETRY_S = 60.0
_LONGEST_RETRY_S = 86400.0
_LONGEST_RETRY_AFTER_S = 7 * 86400.0
#: Failures in a row after which an unexpected error is final.
_MOST_UNEXPECTED = 5


@dataclass(frozen=True)
class _Taken:
    """What a fetch brought: a file in the store (None: the known one is still right), and news of the source."""

    file: StoredFile | None
    news: dict[str, object]
    name: str


class Intake:
    """Takes sources in, one at a time; several threads may use one Intake."""

    def __init__(self, settings: Settings, store: MediaStore, sources: SourceStore, cancelled: threading.Event) -> None:
        self._settings = settings
        self._store = store
        self._sources = sources
        self._cancelled = cancelled
        self._buckets = Buckets(settings.download)

    def settled(self, request: SourceRequest, record: SourceRecord | None) -> bool:
        """Whether the source is known and its bytes are there, so that nothing has to be asked."""
        if record is None or record.state != "stored" or record.video is None:
            return False
        if request.path is None:
            return self._store.find(record.video) is not None
        try:
            same = record.is_of(request.path.stat())
        except OSError:
            return False
        return same and (request.mode == "reference" or self._store.find(record.video) is not None)

    def take(
        self,
        request: SourceRequest,
        *,
        refresh: bool,
        on_start: Callable[[SourceRecord], None],
        on_bytes: Callable[[int, int | None], None],
    ) -> IngestOutcome:
        """What became of the source. Errors: the SourceStore's VidpipeErrors, which end the run (no database)."""
        record: SourceRecord | None = None
        try:
            with self._store.hold(request.id, self._cancelled):
                record = described(request, self._sources.get_many([request.id]).get(request.id))
                if not refresh and self.settled(request, record):  # another process has just fetched it
                    return IngestOutcome(request.given, "already stored", record, record.video)
                return self._take(request, record, refresh, on_start, on_bytes)
        except FetchCancelled:
            return IngestOutcome(request.given, "cancelled")
        except VidpipeError:
            raise
        except Exception as unexpected:  # one source must not stop the others, whatever it came up with
            return self._failed_unexpectedly(request, record or described(request, None), unexpected)

    def _take(
        self,
        request: SourceRequest,
        before: SourceRecord,
        refresh: bool,
        on_start: Callable[[SourceRecord], None],
        on_bytes: Callable[[int, int | None], None],
    ) -> IngestOutcome:
        attempts = 0

        def count() -> None:
            nonlocal attempts
            attempts += 1

        record = before.model_copy(update={"state": "fetching"})
        self._sources.save(record, said_of(request))
        on_start(record)
        error: VidpipeError
        try:
            taken = self._fetch(request, before, refresh, on_bytes, count)
        except FetchCancelled:
            before = before.model_copy(update={"attempts": before.attempts + attempts})
            self._sources.save(before)
            return IngestOutcome(request.given, "cancelled", before, before.video)
        except VidpipeError as caught:
            error = caught
        except Exception as unexpected:
            error = _unexpected(request, before, unexpected)
        else:
            counted = before.model_copy(update={"attempts": before.attempts + attempts})
            return self._succeeded(request, counted, taken)
        return self._failed(request, before.model_copy(update={"attempts": before.attempts + attempts}), error)

    def _fetch(
        self,
        request: SourceRequest,
        record: SourceRecord,
        refresh: bool,
        on_bytes: Callable[[int, int | None], None],
        on_attempt: Callable[[], None],
    ) -> _Taken:
        if request.path is not None:
            on_attempt()
            file, seen = take_local(
                request.path, request.id, mode=request.mode, store=self._store, cancelled=self._cancelled,
                on_bytes=on_bytes,
            )  # fmt: skip
            news: dict[str, object] = {"size_bytes": seen.st_size, "modified_ns": seen.st_mtime_ns}
            return _Taken(file, news, readable(request.path.name))
        known = None
        if refresh and record.video and self._store.find(record.video):
            known = Validators(etag=record.etag, last_modified=record.last_modified)
        got = download(
            request.address, request.id, settings=self._settings, store=self._store, cancelled=self._cancelled,
            buckets=self._buckets, known=known, on_bytes=on_bytes, on_attempt=on_attempt,
        )  # fmt: skip
        if got.unchanged:
            got.part.discard()
            return _Taken(None, {}, record.file_name or "")
        try:
            file = self._store.enter(got.part.path, got.sha256, name=request.url)
        except (MediaError, DiskFullError):
            got.part.discard()
            raise
        got.part.forget()
        final_url = got.answer.final_url
        news = {
            **got.answer.validators.model_dump(),
            "content_type": got.answer.content_type,
            "final_url": final_url if final_url != request.url else None,
            "size_bytes": got.size_bytes,
        }
        return _Taken(file, news, got.answer.file_name)

    def _succeeded(self, request: SourceRequest, before: SourceRecord, taken: _Taken) -> IngestOutcome:
        now = datetime.now(UTC)
        settled: dict[str, object] = {**NO_FAILURE, "state": "stored", "last_fetched": now}
        file = taken.file
        if file is None:
            record = before.model_copy(update=settled)
            self._sources.save(record)
            return IngestOutcome(request.given, "unchanged", record, record.video)
        earlier = before.earlier_videos
        if before.video not in (None, file.sha256):
            earlier = (*(video for video in earlier if video != before.video), str(before.video))
        changes = {"video": file.sha256, "earlier_videos": earlier, "file_name": taken.name, **taken.news, **settled}
        record = before.model_copy(update=changes)
        stored = StoredVideo(
            sha256=file.sha256,
            path=self._settings.relative(file.path),
            size_bytes=file.size_bytes,
            modified_ns=file.modified_ns,
            referenced=file.referenced,
            file_name=taken.name,
            url=record.url,
        )
        self._sources.record_stored(record, stored)
        same = before.video == file.sha256
        state: OutcomeState = "unchanged" if same else "already stored"
        if file.new and not (same and file.referenced):
            state = "stored"
        return IngestOutcome(request.given, state, record, file.sha256, stored)

    def _failed_unexpectedly(self, request: SourceRequest, before: SourceRecord, error: Exception) -> IngestOutcome:
        failure = _unexpected(request, before, error)
        try:
            return self._failed(request, before, failure)
        except VidpipeError:
            raise
        except Exception:  # not even that can be written down
            return IngestOutcome(request.given, "failed", before, error=str(failure), transient=True)

    def _failed(self, request: SourceRequest, before: SourceRecord, error: VidpipeError) -> IngestOutcome:
        record = failed_record(before, error, request.address, self._settings)
        if request.fragment_dropped and record.last_error_kind == "permanent" and not record.blocked_by:
            record = record.model_copy(update={"last_error": f"{record.last_error} {FRAGMENT_HINT}"})
        self._sources.save(record)
        return IngestOutcome.failed(request.given, record)


def _unexpected(request: SourceRequest, before: SourceRecord, error: Exception) -> FetchError:
    """The FetchError for an unexpected error, whose traceback goes to the log.

    The same file usually gives the same error, so it is not retried forever.
    """
    trace = scrub("".join(traceback.format_exception(error)), request.address)
    log.error("Unexpected error while %s was taken in:\n%s", request.url, trace)
    said = scrub(f"{type(error).__name__}: {error}", request.address)
    kind: FaultKind = "transient" if before.failures + 1 < _MOST_UNEXPECTED else "permanent"
    return FetchError(f"{readable_url(request.url)}: unexpected error ({said}).", "Please report it.", kind=kind)


def failed_record(before: SourceRecord, error: VidpipeError, address: str, settings: Settings) -> SourceRecord:
    """The source's record after a try that failed. The old video, where there was one, stays the source's video."""
    refused = isinstance(error, MediaError) or (isinstance(error, FetchError) and error.kind == "refused")
    # what is neither about the file nor about the answer (no ffmpeg, say) may be mended meanwhile
    transient = error.transient if isinstance(error, FetchError) else not refused
    failures = before.failures + 1
    now = datetime.now(UTC)
    next_try_at = None
    if transient:
        pause_s = min(_FIRST_RETRY_S * 2.0 ** min(failures - 1, 20), _LONGEST_RETRY_S)
        asked_s = error.retry_after_s if isinstance(error, FetchError) else None
        pause_s = max(pause_s, min(asked_s or 0.0, _LONGEST_RETRY_AFTER_S))
        next_try_at = now + timedelta(seconds=pause_s)
    return before.model_copy(
        update={
            "state": "refused" if refused else "failed",
            "failures": failures,
            "last_error": scrub(str(error.about(readable_url(before.url))), address),
            "last_error_kind": "transient" if transient else "permanent",
            "next_try_at": next_try_at,
            "failed_at": now,
            "blocked_by": Dependencies.of(settings).named(error.depends_on) if error.depends_on else (),
            "needed_bytes": error.needed_bytes if isinstance(error, DiskFullError) else None,
        }
    )


def described(request: SourceRequest, record: SourceRecord | None) -> SourceRecord:
    """The source's record with what the request says of it (title, labels, priority); a new one where there is none."""
    if record is None:
        record = SourceRecord(
            id=request.id,
            url=request.url,
            has_secret=request.has_secret,
            fragment_dropped=request.fragment_dropped,
            kind=request.kind,
            first_seen=datetime.now(UTC),
        )
    news = {name: value for name, value in said_of(request).items() if value != getattr(record, name)}
    if request.url.count(MASK) > record.url.count(MASK):  # a secret that was not known before
        news |= {"url": request.url, "has_secret": True}
    return record.model_copy(update=news) if news else record


def said_of(request: SourceRequest) -> dict[str, object]:
    """What the request says of its source, besides the address."""
    fields = {"title": request.title, "labels": request.labels, "priority": request.priority}
    return {name: value for name, value in fields.items() if value not in (None, ())}
