"""Adds sources to the media store: fetch, check, store and record, several at once."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from vidpipe.errors import MediaError, VidpipeError, readable
from vidpipe.media.quick_check import QuickCheck
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.network.http_response import Validators
from vidpipe.redaction import MASK
from vidpipe.settings import Settings
from vidpipe.sources.download import download
from vidpipe.sources.failures import Dependencies, failed_record, unexpected_error
from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.local_files import OnBytes, add_local_file, touched_since
from vidpipe.sources.media_store import DiskFullError, ForgottenError, MediaStore, StoredFile
from vidpipe.sources.records import (
    NO_FAILURE,
    USER_FIELDS,
    IngestObserver,
    IngestOutcome,
    NullIngestObserver,
    OutcomeState,
    SourceRecord,
    SourceStore,
    StoredVideo,
)
from vidpipe.sources.source_request import SourceRequest
from vidpipe.storage.media_files import MediaFiles
from vidpipe.storage.object_store import LOCAL, StoreError

#: Appended for a URL that was given with a fragment.
FRAGMENT_HINT = "The part after # is not sent to servers; if the # is part of the name, write it as %23."

#: Downloaded files that are checked and recorded while others are downloaded.
_FINISHING = 28
_PROGRESS_EVERY_S = 0.1
_POLL_INTERVAL_S = 0.2


#: The stored file, None if the known one is still current; and new values of the record's fields.
_Fetched = tuple[StoredFile | None, dict[str, Any]]


class Ingest:
    """Adds sources to the media store and records them in the library."""

    def __init__(
        self,
        settings: Settings,
        sources: SourceStore,
        observer: IngestObserver | None = None,
        *,
        cancelled: threading.Event | None = None,
        files: MediaFiles | None = None,
    ) -> None:
        """Prepare an ingest.

        Args:
            settings: Those in force.
            sources: Keeps the records.
            observer: Gets starts, bytes and outcomes, from one thread at a time.
            cancelled: Set it to stop: partial files are kept, and the next run resumes them.
            files: Puts the files into their store; by default, new ones into that of [Storage] Media.
        """
        self._settings = settings
        self._sources = sources
        self._observer = observer or NullIngestObserver()
        self._observer_lock = threading.Lock()
        self._cancelled = cancelled or threading.Event()
        self._stop = threading.Event()  # also set when an error ends the run, which must not look like a cancellation
        self._quick_check = QuickCheck()
        self._store = MediaStore(settings, self._quick_check)
        self._store.admit = self._admit
        self._include_forgotten = False
        self._fetchers = Fetchers(settings)
        self._files = files or MediaFiles(settings)
        self._transfers = threading.Semaphore(settings.download.parallel)

    def run(
        self,
        requests: Sequence[SourceRequest],
        *,
        refresh: bool = False,
        retry: bool = True,
        include_forgotten: bool = False,
        on_added: Callable[[IngestOutcome], None] = lambda outcome: None,
    ) -> list[IngestOutcome]:
        """Add `requests`, `[Download] Parallel` at once.

        Errors of one source are its outcome. Errors of the SourceStore end the run, and so does Ctrl-C
        (KeyboardInterrupt), both after every transfer was ended cleanly.

        Args:
            requests: The sources.
            refresh: Check stored sources for changed content.
            retry: Retry failed and refused sources now. Otherwise only those that are due are retried, and those whose
                file, or what else their failure depended on, has changed; the others get their known error.
            include_forgotten: Also add sources and videos that were forgotten.
            on_added: Called in this thread with the outcome of each source that was tried, while others are fetched.

        Returns:
            One outcome for each request, in their order.
        """
        self._stop.clear()
        self._include_forgotten = include_forgotten
        self._store.clean()
        unique = list({request.id: request for request in requests}.values())
        known = self._sources.get_many([request.id for request in unique])
        today = None if retry else Dependencies.of(self._settings)
        outcomes: dict[str, IngestOutcome] = {}
        due: list[SourceRequest] = []
        for request in unique:
            outcome = self._known_outcome(request, known.get(request.id), refresh=refresh, today=today)
            if outcome is None:
                due.append(request)
            else:
                outcomes[request.id] = outcome
                self._report(outcome)
        with contextlib.closing(self._quick_check):
            outcomes.update(self._add_all(due, refresh, on_added))
        return [outcomes[request.id] for request in requests]

    def _known_outcome(
        self, request: SourceRequest, record: SourceRecord | None, *, refresh: bool, today: Dependencies | None
    ) -> IngestOutcome | None:
        """Return the outcome of a source that need not be fetched; None if it must. `today` = None retries failures."""
        if record is None or record.state == "forgotten":
            kept_out = record is not None and not self._include_forgotten
            return IngestOutcome(request.given, "refused", error=str(ForgottenError())) if kept_out else None
        if self._is_stored(request, record):
            if refresh:
                return None
            updated = described(request, record)
            if updated != record:
                self._sources.save(updated, request.user_fields)
            return IngestOutcome(request.given, "already stored", updated, updated.video)
        due = record.next_try_at is not None and record.next_try_at <= datetime.now(UTC)
        if today is None or record.state not in ("failed", "refused", "gone") or due:
            return None
        if today.changed_for(record) or (request.path and touched_since(request.path, record.failed_at)):
            return None
        return IngestOutcome.failed(request.given, record, known=True)

    def _is_stored(self, request: SourceRequest, record: SourceRecord) -> bool:
        if record.state != "stored" or record.video is None:
            return False
        if request.path is None:
            return self._has(record.video)
        try:
            same = record.is_of(request.path.stat())
        except OSError:
            return False
        return same and (request.mode == "reference" or self._has(record.video))

    def _has(self, video: str) -> bool:
        return self._store.find(video) is not None or self._files.store_of(video) != LOCAL

    def _add_all(
        self, due: Sequence[SourceRequest], refresh: bool, on_added: Callable[[IngestOutcome], None]
    ) -> dict[str, IngestOutcome]:
        outcomes: dict[str, IngestOutcome] = {}
        if not due:
            return outcomes
        threads = self._settings.download.parallel + _FINISHING
        waiting = iter(due)
        running: dict[Future[IngestOutcome], str] = {}
        with ThreadPoolExecutor(threads, thread_name_prefix="ingest") as pool:
            try:
                while True:
                    if self._cancelled.is_set():
                        self._stop.set()
                    # a long list is submitted bit by bit: waiting for all of it at once takes quadratic time
                    for request in itertools.islice(waiting, 2 * threads - len(running)):
                        running[pool.submit(self._add, request, refresh)] = request.id
                    if not running:
                        break
                    # with a timeout, so that Ctrl-C reaches this thread
                    for future in wait(running, timeout=_POLL_INTERVAL_S, return_when=FIRST_COMPLETED).done:
                        outcome = outcomes[running.pop(future)] = future.result()
                        on_added(outcome)
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return outcomes

    @contextlib.contextmanager
    def _transfer(self) -> Iterator[Callable[[], None]]:
        """Be one of `[Download] Parallel` transfers, until the yielded function is called. Raises FetchCancelled."""
        while not self._transfers.acquire(timeout=_POLL_INTERVAL_S):
            if self._stop.is_set():
                raise FetchCancelled
        with contextlib.ExitStack() as turn:
            turn.callback(self._transfers.release)
            yield turn.close

    def _add(self, request: SourceRequest, refresh: bool) -> IngestOutcome:
        """Return what became of one source. Raises the SourceStore's VidpipeErrors, which end the run."""
        record = described(request, None)
        try:
            with self._transfer() as end_transfer, self._store.hold(request.id, self._stop):
                record = described(request, self._sources.get_many([request.id]).get(request.id))
                if not refresh and self._is_stored(request, record):  # another process has just fetched it
                    outcome = IngestOutcome(request.given, "already stored", record, record.video)
                else:
                    outcome = self._fetch_and_record(request, record, refresh, end_transfer)
        except FetchCancelled:
            outcome = IngestOutcome(request.given, "cancelled")
        except VidpipeError:
            raise
        except Exception as unexpected:  # one source must not stop the others
            outcome = self._failed(request, record, unexpected_error(request.url, record.failures, unexpected))
        if request.fragment_dropped and outcome.error is None and outcome.state != "cancelled":
            outcome = replace(outcome, note=FRAGMENT_HINT)
        self._report(outcome)
        return outcome

    def _fetch_and_record(
        self, request: SourceRequest, before: SourceRecord, refresh: bool, on_transferred: Callable[[], None]
    ) -> IngestOutcome:
        attempts = 0

        def count_attempt() -> None:
            nonlocal attempts
            attempts += 1

        record = before.model_copy(update={"state": "fetching"})
        self._sources.save(record, request.user_fields)
        with self._observer_lock:
            self._observer.on_start(record)
        fetched: _Fetched | None = None
        error: VidpipeError | None = None
        try:
            fetched = self._fetch(request, before, refresh, count_attempt, on_transferred)
        except FetchCancelled:
            pass
        except VidpipeError as expected:
            error = expected
        except Exception as unexpected:
            error = unexpected_error(request.url, before.failures, unexpected)
        counted = before.model_copy(update={"attempts": before.attempts + attempts})
        if error is not None:
            return self._failed(request, counted, error)
        if fetched is not None:
            return self._succeeded(request, counted, fetched)
        self._sources.save(counted)
        return IngestOutcome(request.given, "cancelled", counted, counted.video)

    def _fetch(
        self,
        request: SourceRequest,
        record: SourceRecord,
        refresh: bool,
        on_attempt: Callable[[], None],
        on_transferred: Callable[[], None],
    ) -> _Fetched:
        on_bytes = self._byte_reporter(request.id)
        if request.path is not None:
            on_attempt()
            file, stat = add_local_file(
                request.path, request.id, mode=request.mode, store=self._store, cancelled=self._stop, on_bytes=on_bytes
            )
            if not file.referenced:
                file = replace(file, store=self._files.keep_video(file.sha256, file.path, self._stop))
            name = readable(request.path.name)
            return file, {"size_bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "file_name": name}
        known = None
        if refresh and record.video and self._has(record.video):
            known = Validators(etag=record.etag, last_modified=record.last_modified)
        part, result = download(
            request.url,
            settings=self._settings,
            store=self._store,
            cancelled=self._stop,
            fetchers=self._fetchers,
            known=known,
            chosen=record.data.chosen if record.data else "",
            on_bytes=on_bytes,
            on_attempt=on_attempt,
        )
        on_transferred()
        if result.unchanged:
            part.discard()
            return None, {}
        try:
            file = self._store.enter(part.path, part.sha256(), name=request.url.display_url)
        except (MediaError, DiskFullError):
            part.discard()
            raise
        try:
            file = replace(file, store=self._files.keep_video(file.sha256, file.path, self._stop))
        except (StoreError, FetchCancelled):
            if file.new:  # the next attempt finds the whole download
                file.path.replace(part.path)
            raise
        part.forget()
        return file, {
            **result.validators.model_dump(),
            "data": result.data,
            "content_type": result.content_type,
            "final_url": result.final_url if result.final_url != request.url.display_url else None,
            "size_bytes": part.size,
            "file_name": result.file_name,
        }

    def _admit(self, sha256: str) -> None:
        """Raise ForgottenError if the user removed the video with this hash, and did not ask for it again."""
        when = self._sources.forgotten(sha256, recall=self._include_forgotten)
        if when is not None and not self._include_forgotten:
            raise ForgottenError(when)

    def _succeeded(self, request: SourceRequest, before: SourceRecord, fetched: _Fetched) -> IngestOutcome:
        success: dict[str, object] = {**NO_FAILURE, "state": "stored", "last_fetched": datetime.now(UTC)}
        file, changes = fetched
        if file is None:
            record = before.model_copy(update=success)
            self._sources.save(record)
            return IngestOutcome(request.given, "unchanged", record, record.video)
        earlier = before.earlier_videos
        if before.video not in (None, file.sha256):
            earlier = (*(video for video in earlier if video != before.video), str(before.video))
        record = before.model_copy(update={"video": file.sha256, "earlier_videos": earlier, **changes, **success})
        place = {"path": self._settings.relative(file.path), "url": record.url, "file_name": record.file_name}
        stored = StoredVideo.model_validate({**asdict(file), **place})
        self._sources.record_stored(record, stored)
        same = before.video == file.sha256
        state: OutcomeState = "unchanged" if same else "already stored"
        if file.new and not (same and file.referenced):
            state = "stored"
        return IngestOutcome(request.given, state, record, file.sha256, stored)

    def _failed(self, request: SourceRequest, before: SourceRecord, error: VidpipeError) -> IngestOutcome:
        if isinstance(error, ForgottenError) and before.video is None:  # nothing of this source is kept either
            record = SourceRecord(id=before.id, url="", state="forgotten", first_seen=before.first_seen)
            self._sources.save(record, USER_FIELDS - {"lists", "folder"})
            return IngestOutcome(request.given, "refused", error=str(error))
        record = failed_record(before, error, request.url, self._settings)
        if request.fragment_dropped and record.last_error_kind == "permanent" and not record.blocked_by:
            record = record.model_copy(update={"last_error": f"{record.last_error} {FRAGMENT_HINT}"})
        try:
            self._sources.save(record)
        except VidpipeError:
            raise
        except Exception:  # an unexpected error may be that of saving the record
            return IngestOutcome(request.given, "failed", before, error=record.last_error, transient=True)
        if self._is_stored(request, record) and record.gone_since:
            note = f"gone since {record.gone_since.astimezone():%Y-%m-%d}; its video is kept"
            return IngestOutcome(request.given, "unchanged", record, record.video, note=note)
        return IngestOutcome.failed(request.given, record)

    def _report(self, outcome: IngestOutcome) -> None:
        with self._observer_lock:
            self._observer.on_outcome(outcome)

    def _byte_reporter(self, source_id: str) -> OnBytes:
        """Return a function that passes on a few of its calls a second, and the last one."""
        last = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _PROGRESS_EVERY_S or done == total:
                last = now
                with self._observer_lock:
                    self._observer.on_bytes(source_id, done, total)

        return report


def described(request: SourceRequest, record: SourceRecord | None) -> SourceRecord:
    """Return the source's record with the title, labels and priority of the request; a new one if there is none."""
    url = request.url.display_url
    if record is None:
        record = SourceRecord(**request.identity, first_seen=datetime.now(UTC))
    changes = {name: value for name, value in request.user_fields.items() if value != getattr(record, name)}
    if record.state == "forgotten":
        changes |= request.identity
    if url.count(MASK) > record.url.count(MASK):  # a secret that was not known before
        changes |= {"url": url, "has_secret": True}
    return record.model_copy(update=changes) if changes else record


def register(requests: Sequence[SourceRequest], sources: SourceStore) -> None:
    """Record new sources before they are fetched, so that a run can refer to them by id."""
    known = sources.get_many([request.id for request in requests])
    for request in requests:
        if request.id not in known:
            sources.save(described(request, None), request.user_fields)
