"""Sources by their records: the request for one that is known, and the full addresses of those that hold a secret."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from vidpipe.errors import VidpipeError
from vidpipe.ingest.list_files import read_list
from vidpipe.ingest.lists import ListEntry
from vidpipe.ingest.local import LocalMode
from vidpipe.ingest.records import SourceRecord
from vidpipe.ingest.s3 import S3Address
from vidpipe.ingest.sources import SourceRequest, local_path, request_for
from vidpipe.ingest.urls import readable_url
from vidpipe.redaction import mask, source_secrets
from vidpipe.safe_files import file_url_path
from vidpipe.settings import Settings

#: An address without any of these holds no secret, except one of the environment.
_MAY_HOLD_SECRET = re.compile("[@?#]")


def known_request(record: SourceRecord, mode: LocalMode) -> SourceRequest | None:
    """The request for a source that is known, whether it is there or not; None where its address held a secret.

    mode: how a local file is taken in
    """
    if record.has_secret:
        return None
    path = file_url_path(record.url) if record.kind == "file" else None
    return SourceRequest(
        address=record.url, kind=record.kind, path=path, mode=mode, given=readable_url(record.url),
        fragment_dropped=record.fragment_dropped,
    )  # fmt: skip


def is_s3_folder(record: SourceRecord) -> bool:
    return record.kind == "s3" and S3Address.parse(record.url).is_folder


def watched_requests(settings: Settings) -> Iterator[SourceRequest]:
    """The URLs with a secret in the watched lists: the one place where their full addresses are."""
    secrets = source_secrets()

    def may_hold_secret(text: str) -> bool:
        return bool(_MAY_HOLD_SECRET.search(text)) or mask(text, secrets) != text

    for name in settings.paths.source_lists:
        path = settings.resolve(name)
        try:
            for entry in read_list(path, settings.lists):
                if isinstance(entry, ListEntry) and not local_path(entry.text) and may_hold_secret(entry.text):
                    with contextlib.suppress(VidpipeError):
                        request = request_for(entry.text)
                        if request.has_secret:
                            yield request
        except VidpipeError:
            continue  # no list, or none today: whoever watches the lists says so


def watched_addresses(settings: Settings) -> dict[str, list[str]]:
    """url without secrets -> full addresses, of the watched lists: where a URL's secret is found again when a lost
    file is to be fetched anew (it is stored nowhere else)."""
    addresses: dict[str, list[str]] = {}
    for request in watched_requests(settings):
        addresses.setdefault(request.url, []).append(request.address)
    return addresses
