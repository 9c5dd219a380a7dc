"""Many sources at once: threads, progress, and a stop that leaves nothing broken."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime

from vidpipe.ingest.dependencies import Dependencies
from vidpipe.ingest.intake import FRAGMENT_HINT, Intake, described, said_of
from vidpipe.ingest.local import touched_since
from vidpipe.ingest.records import IngestObserver, IngestOutcome, SourceRecord, SourceStore
from vidpipe.ingest.sources import SourceRequest
from vidpipe.ingest.store import MediaStore
from vidpipe.settings import Settings

_PROGRESS_EVERY_S = 0.1
_LOOK_EVERY_S = 0.2


class Ingest:
    """Takes sources into the media store and tells the library.

    sources:   where the records are kept
    observer:  gets starts, bytes and outcomes, from one thread at a time
    cancelled: set it to stop: partial files stay, and the next run resumes them
    """

    def __init__(
        self,
        settings: Settings,
        sources: SourceStore,
        observer: IngestObserver | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._observer = observer
        self._observer_lock = threading.Lock()
        self._cancelled = cancelled or threading.Event()
        self._stop = threading.Event()  # what ends a run from inside is not the caller's wish
        self._store = MediaStore(settings)
        self._intake = Intake(settings, self._store, sources, self._stop)

    def run(
        self, requests: Sequence[SourceRequest], *, refresh: bool = False, retry: bool = True
    ) -> list[IngestOutcome]:
        """Takes `requests` in, `[Download] Parallel` at once; one outcome for each, in their order.

        refresh: ask again for sources that are stored already, whether they give other bytes now
        retry:   try failed and refused sources again at once; otherwise only those whose next try is due, and those
                 whose file, or what else their failure depended on, has changed; the others come back with the error
                 that is known
        What goes wrong with one source is its outcome. Errors of the SourceStore end the run, and so does Ctrl-C
        (KeyboardInterrupt), in both cases after every transfer was ended in good order.
        """
        self._stop.clear()
        self._store.clean()
        unique = list({request.id: request for request in requests}.values())
        known = self._sources.get_many([request.id for request in unique])
        today = None if retry else Dependencies.of(self._settings)
        outcomes: dict[str, IngestOutcome] = {}
        due: list[SourceRequest] = []
        for request in unique:
            outcome = self._without_asking(request, known.get(request.id), refresh=refresh, today=today)
            if outcome is None:
                due.append(request)
            else:
                outcomes[request.id] = outcome
                self._tell_outcome(outcome)
        outcomes.update(self._take_all(due, refresh))
        return [outcomes[request.id] for request in requests]

    def _without_asking(
        self, request: SourceRequest, record: SourceRecord | None, *, refresh: bool, today: Dependencies | None
    ) -> IngestOutcome | None:
        """The outcome of a source that has not to be asked; None for one that has. today: None retries every failure"""
        if record is None:
            return None
        if self._intake.settled(request, record):
            if refresh:
                return None
            news = described(request, record)
            if news != record:
                self._sources.save(news, said_of(request))
            return IngestOutcome(request.given, "already stored", news, news.video)
        if today is None or record.state not in ("failed", "refused"):
            return None
        due = record.next_try_at is not None and record.next_try_at <= datetime.now(UTC)
        if due or today.changed_for(record) or (request.path and touched_since(request.path, record.failed_at)):
            return None
        return IngestOutcome.failed(request.given, record, known=True)

    def _take_all(self, due: Sequence[SourceRequest], refresh: bool) -> dict[str, IngestOutcome]:
        outcomes: dict[str, IngestOutcome] = {}
        if not due:
            return outcomes
        at_once = self._settings.download.parallel
        waiting = iter(due)
        running: dict[Future[IngestOutcome], str] = {}
        with ThreadPoolExecutor(at_once, thread_name_prefix="ingest") as pool:
            try:
                while True:
                    if self._cancelled.is_set():
                        self._stop.set()
                    # a long list is handed out bit by bit: waiting for all of it at once costs its square
                    for request in itertools.islice(waiting, 2 * at_once - len(running)):
                        running[pool.submit(self._take, request, refresh)] = request.id
                    if not running:
                        break
                    # with a time limit, so that Ctrl-C reaches this thread
                    for future in wait(running, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED).done:
                        outcomes[running.pop(future)] = future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return outcomes

    def _take(self, request: SourceRequest, refresh: bool) -> IngestOutcome:
        outcome = self._intake.take(
            request, refresh=refresh, on_start=self._tell_start, on_bytes=self._byte_teller(request.id)
        )
        if request.fragment_dropped and outcome.error is None and outcome.state != "cancelled":
            outcome = replace(outcome, note=FRAGMENT_HINT)
        self._tell_outcome(outcome)
        return outcome

    def _tell_start(self, record: SourceRecord) -> None:
        if self._observer:
            with self._observer_lock:
                self._observer.on_start(record)

    def _tell_outcome(self, outcome: IngestOutcome) -> None:
        if self._observer:
            with self._observer_lock:
                self._observer.on_outcome(outcome)

    def _byte_teller(self, source_id: str) -> Callable[[int, int | None], None]:
        """Passes on a few of the calls a second, and the last one."""
        last = 0.0

        def tell(done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if self._observer and (now - last >= _PROGRESS_EVERY_S or done == total):
                last = now
                with self._observer_lock:
                    self._observer.on_bytes(source_id, done, total)

        return tell
