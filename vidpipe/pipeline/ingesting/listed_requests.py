"""What an ingest run is to ask for the sources that the sensor named: their own URLs, secrets from the lists, and what
watched folders of S3 hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from vidpipe.errors import VidpipeError
from vidpipe.ingest.intake import failed_record
from vidpipe.ingest.records import NO_FAILURE, IngestOutcome, ListedSource, SourceRecord
from vidpipe.ingest.sources import Gathered, SourceRequest, folder_requests, request_for
from vidpipe.ingest.urls import readable_url
from vidpipe.ingest.watch.addresses import is_s3_folder, known_request, watched_requests
from vidpipe.library.library import Library
from vidpipe.library.listed_sources import ListedSources
from vidpipe.settings import Settings

log = logging.getLogger(__name__)

#: A folder of S3 is listed again after so long: each listing costs requests.
_LIST_AGAIN = timedelta(minutes=10)
_MOST_DEATHS = 5


def request_listed(sources: Sequence[str], library: Library, settings: Settings) -> Gathered:
    """Requests for the sources with these ids, as far as a watched list names them today.

    A folder of S3 gives none: its objects become sources of the same lists, due at the sensor's next look.
    """
    gathered = Gathered()
    records = library.sources.get_many(list(dict.fromkeys(sources)))
    lists = set(settings.paths.source_lists)
    named = {
        source: record
        for source, record in records.items()
        if record.state != "forgotten" and not lists.isdisjoint(record.lists)
    }
    if left_out := len(set(sources)) - len(named):
        log.info("%d sources are skipped: forgotten, or no longer named by a watched list", left_out)
    secret = {one for record in named.values() if record.has_secret for one in (record.id, record.folder)}
    found = {one.id: one for one in watched_requests(settings) if one.id in secret} if secret else {}
    for record in named.values():
        if record.state == "fetching" and (died := _count_death(record, library)) is not None:
            gathered.problems.append(died)
            continue
        request = known_request(record, settings.paths.watched_files) or found.get(record.id) or _below(record, found)
        if request is not None and is_s3_folder(record):
            gathered.problems += _look_into(record, request, library, settings)
        elif request is None:
            error = VidpipeError(
                f"{record.url}: it holds a secret, and no watched list that can be read has its full address.",
                f"Look into {', '.join(record.lists)}.",
            )
            gathered.problems.append(_failed(record, error, library))
        else:
            gathered.requests.append(request)
    return gathered


def _count_death(record: SourceRecord, library: Library) -> IngestOutcome | None:
    """The process that fetched it was killed. Once is nobody's fault; a source that does it again and again waits."""
    if record.failures + 1 < _MOST_DEATHS:
        library.sources.save(record.model_copy(update={"state": "new", "failures": record.failures + 1}))
        return None
    error = VidpipeError(
        f"{readable_url(record.url)}: the process died {record.failures + 1} times while this was taken in.",
        "Look into the run's log and the machine's memory; `vidpipe add --retry` tries again at once.",
    )
    return _failed(record, error, library)


def _below(record: SourceRecord, found: Mapping[str, SourceRequest]) -> SourceRequest | None:
    """The request for an object of a folder whose address holds a secret."""
    folder = found.get(record.folder or "")
    if folder is None or not record.url.startswith(folder.url):
        return None
    request = request_for(folder.address + record.url[len(folder.url) :])
    return request if request.id == record.id else None


def _look_into(
    record: SourceRecord, folder: SourceRequest, library: Library, settings: Settings
) -> list[IngestOutcome]:
    try:
        held = folder_requests(folder, settings.download)
    except VidpipeError as error:
        return [_failed(record, error, library)]
    listed = ListedSources(library.collections, library.sources)
    for name in record.lists:
        listed.save_many(name, (_listed(request, record) for request in held.requests), folder=record.id)
    now = datetime.now(UTC)
    looked = {**NO_FAILURE, "state": "listed", "last_fetched": now, "next_try_at": now + _LIST_AGAIN}
    library.sources.save(record.model_copy(update=looked))
    return held.problems


def _listed(request: SourceRequest, folder: SourceRecord) -> ListedSource:
    return ListedSource(request.id, request.url, request.has_secret, request.kind, None, folder.labels, folder.priority)


def _failed(record: SourceRecord, error: VidpipeError, library: Library) -> IngestOutcome:
    record = failed_record(record, error, record.url, library.settings)
    library.sources.save(record)
    return IngestOutcome.failed(readable_url(record.url), record)
