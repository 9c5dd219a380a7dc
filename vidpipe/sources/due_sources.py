"""Which recorded sources are fetched next, in batches, and the requests for sources that are given by id."""

import contextlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Protocol

from vidpipe.errors import VidpipeError
from vidpipe.redaction import mask, source_secrets
from vidpipe.safe_files import file_url_path
from vidpipe.settings import Settings
from vidpipe.sources.failures import Dependencies, failed_record
from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.inputs import Gathered, folder_requests
from vidpipe.sources.list_files import read_list
from vidpipe.sources.lists import ListEntry
from vidpipe.sources.local_files import LocalMode
from vidpipe.sources.records import (
    NO_FAILURE,
    DueSource,
    IngestOutcome,
    ListedSource,
    ListedSourceStore,
    SourceRecord,
    SourceStore,
)
from vidpipe.sources.source_request import SourceRequest, local_path, request_for
from vidpipe.sources.urls import SourceUrl, readable_url

log = logging.getLogger(__name__)

#: Unfinished runs of a priority or a higher one; a source that is more urgent than all of them does not wait for them.
MOST_RUNS = 4
_MOST_RUNS_OF_ALL = 12
#: Sources of a run that fetches all that are due.
_MOST_DUE = 100_000
#: A folder of S3 is listed again after this time: each listing costs requests.
_LIST_AGAIN = timedelta(minutes=10)
_MOST_CRASHES = 5
#: A URL without any of these contains no secret, except one of the environment.
_MAY_HOLD_SECRET = re.compile("[@?#]")


class DueSourceStore(ListedSourceStore, Protocol):
    """Finds the due sources of watched lists."""

    def due(
        self, names: Sequence[str], *, limit: int, held: Collection[str] = (), today: Dependencies | None = None
    ) -> list[DueSource]:
        """Return at most `limit` due sources of the lists `names`, the highest priority first, without those `held`."""


@dataclass(frozen=True)
class IngestBatch:
    """Sources of one priority, for one run.

    Attributes:
        priority: Of the run.
        sources: Ids; of an unfinished run, empty if it fetches all that are due.
    """

    priority: int
    sources: tuple[str, ...]


def all_due(listed: DueSourceStore, settings: Settings) -> list[str]:
    """Return the ids of all due sources of the watched lists, the highest priority first."""
    due = listed.due(settings.paths.source_lists, limit=_MOST_DUE, today=Dependencies.of(settings))
    return [source.id for source in due]


def next_batches(listed: DueSourceStore, unfinished: Sequence[IngestBatch], settings: Settings) -> list[IngestBatch]:
    """Return the batches to launch now; other due sources wait for the next call.

    Args:
        listed: Finds the due sources.
        unfinished: Batches of the runs that have not ended.
        settings: Those in force.
    """
    if len(unfinished) >= _MOST_RUNS_OF_ALL or any(not run.sources for run in unfinished):
        return []
    size = settings.sensors.ingest_batch
    held = {source for run in unfinished for source in run.sources}
    names, today = settings.paths.source_lists, Dependencies.of(settings)
    due = listed.due(names, limit=MOST_RUNS * size, held=held, today=today)
    return choose(due, [run.priority for run in unfinished], size)


def choose(due: Iterable[DueSource], unfinished: Sequence[int], size: int) -> list[IngestBatch]:
    """Return batches of the `due` sources, as many as the unfinished runs leave room for.

    Args:
        due: In order of falling priority.
        unfinished: Priorities of the runs that have not ended.
        size: Sources in a batch.
    """
    chosen: list[IngestBatch] = []
    for priority, sources in groupby(due, key=lambda one: one.priority):
        ids = [one.id for one in sources]
        for start in range(0, len(ids), size):
            before = sum(other >= priority for other in unfinished) + len(chosen)
            if before >= MOST_RUNS or len(unfinished) + len(chosen) >= _MOST_RUNS_OF_ALL:
                return chosen
            chosen.append(IngestBatch(priority, tuple(ids[start : start + size])))
    return chosen


def requests_by_id(
    ids: Iterable[str], sources: SourceStore, listed: ListedSourceStore, settings: Settings, *, listed_only: bool
) -> Gathered:
    """Return the requests for recorded sources; secrets in their URLs come from the watched lists.

    A remote folder or playlist gives no request: its entries become sources of the same lists, due from now on.

    Args:
        ids: Of the sources.
        sources: Keeps the records.
        listed: Keeps which list names which source.
        settings: Those in force.
        listed_only: Skip sources that no watched list names any more.
    """
    gathered = Gathered()
    unique = list(dict.fromkeys(ids))
    lists = set(settings.paths.source_lists)
    records = [
        record
        for record in sources.get_many(unique).values()
        if record.state != "forgotten" and not (listed_only and lists.isdisjoint(record.lists))
    ]
    if skipped := len(unique) - len(records):
        log.info("%d sources are skipped: unknown, forgotten, or no longer in a watched list", skipped)
    secret = {one for record in records if record.has_secret for one in (record.id, record.folder)}
    found = {one.id: one for one in _requests_with_secrets(settings) if one.id in secret} if secret else {}
    fetchers = Fetchers(settings)
    for record in records:
        request = known_request(record, settings.paths.watched_files) or found.get(record.id) or _below(record, found)
        crash = _count_crash(record, sources) if record.state == "fetching" else None
        try:
            if crash is not None:
                raise crash
            if request is None:
                raise VidpipeError(
                    f"{record.url}: the URL contains a secret, and no readable watched list has the full URL.",
                    f"Check {', '.join(record.lists)}." if record.lists else "Run `vidpipe add` with the full URL.",
                )
            if request.path is None and fetchers.of_kind(request.kind).is_folder(request.url.reveal()):
                gathered.problems += _list_folder(record, request, sources, listed, settings)
            else:
                gathered.requests.append(request)
        except VidpipeError as error:
            failed = failed_record(record, error, SourceUrl(record.url), settings)
            sources.save(failed)
            gathered.problems.append(IngestOutcome.failed(readable_url(record.url), failed))
    return gathered


def known_request(record: SourceRecord, mode: LocalMode) -> SourceRequest | None:
    """Return the request for a recorded source; None if its URL contained a secret.

    Args:
        record: Of the source; a local file need not exist any more.
        mode: How a local file is added.
    """
    if record.has_secret:
        return None
    path = file_url_path(record.url) if record.kind == "file" else None
    shown = readable_url(record.url)
    return SourceRequest(SourceUrl(record.url), record.kind, path, mode, shown, record.fragment_dropped)


def _requests_with_secrets(settings: Settings) -> Iterator[SourceRequest]:
    """Yield the URLs with a secret in the watched lists: they are stored nowhere else."""
    secrets = source_secrets()

    def may_hold_secret(text: str) -> bool:
        return bool(_MAY_HOLD_SECRET.search(text)) or mask(text, secrets) != text

    for name in settings.paths.source_lists:
        with contextlib.suppress(VidpipeError):  # an unreadable list is reported by the watch
            for entry in read_list(settings.resolve(name), settings.lists):
                if isinstance(entry, ListEntry) and not local_path(entry.text) and may_hold_secret(entry.text):
                    with contextlib.suppress(VidpipeError):
                        request = request_for(entry.text)
                        if request.has_secret:
                            yield request


def _below(record: SourceRecord, found: Mapping[str, SourceRequest]) -> SourceRequest | None:
    """Return the request for an object of a folder whose URL contains a secret."""
    folder = found.get(record.folder or "")
    if folder is None or not record.url.startswith(folder.url.display_url):
        return None
    request = request_for(folder.url.reveal() + record.url[len(folder.url.display_url) :])
    return request if request.id == record.id else None


def _count_crash(record: SourceRecord, sources: SourceStore) -> VidpipeError | None:
    """Count that a process was killed while it fetched the source; return an error if that happened repeatedly."""
    if record.failures + 1 < _MOST_CRASHES:
        sources.save(record.model_copy(update={"state": "new", "failures": record.failures + 1}))
        return None
    return VidpipeError(
        f"{readable_url(record.url)}: the process died {record.failures + 1} times while adding this source.",
        "Check the run's log and this machine's memory; `vidpipe add --retry` retries it now.",
    )


def _list_folder(
    record: SourceRecord, folder: SourceRequest, sources: SourceStore, listed: ListedSourceStore, settings: Settings
) -> list[IngestOutcome]:
    """Record what a remote folder or playlist contains now; what has changed since is due again.

    Returns:
        The entries that cannot be added.

    Raises:
        VidpipeError: It cannot be listed.
    """
    found = folder_requests(folder, settings)
    known = sources.get_many([one.id for one in found.requests])
    said = {"labels": record.labels, "priority": record.priority}
    entries = [ListedSource(**one.identity | said, etag=one.version or None) for one in found.requests]
    for one in entries:
        if one.etag and (before := known.get(one.id)) and before.etag not in (None, one.etag):
            if before.video is None:  # perhaps it was being uploaded; this version is tried once, too
                sources.save(before.model_copy(update={"etag": one.etag}))
            listed.again([one.id])
    for name in record.lists:
        listed.save_many(name, entries, folder=record.id)
        listed.drop(name, set(listed.ids(name, record.id)) - {one.id for one in entries})
    now = datetime.now(UTC)
    changes = {**NO_FAILURE, "state": "listed", "last_fetched": now, "next_try_at": now + _LIST_AGAIN}
    sources.save(record.model_copy(update=changes))
    return found.problems
