"""The interface of fetchers: what brings the bytes of one kind of URL into a partial file.

A fetcher makes one attempt at a time; `vidpipe.sources.download` repeats it as the retry policy allows, and checks and
stores what came. Whatever a fetcher connects to is held to the address policy, and what it reads to the limits of
[Download].
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from vidpipe.network.http_response import Validators
from vidpipe.settings import Settings
from vidpipe.sources.media_store import DiskReservations
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.source_data import SourceData
from vidpipe.sources.urls import SourceUrl


@dataclass(frozen=True)
class TransferResult:
    """What is known about a file that was read to its end.

    Attributes:
        validators: Names of the version.
        content_type: As the server stated it.
        final_url: After redirects, without secrets.
        file_name: From the headers or the URL.
        unchanged: The known version is still current; nothing was read.
        data: What the site or page says about the video.
    """

    validators: Validators
    content_type: str | None
    final_url: str
    file_name: str
    unchanged: bool = False
    data: SourceData | None = None


@dataclass(frozen=True)
class ListedFile:
    """One entry of a folder, playlist or page.

    Attributes:
        url: The real URL, canonical.
        version: Changes with the content (ETag, or size and time); empty if unknown.
        title: As the folder or playlist states it.
    """

    url: str
    version: str = ""
    title: str | None = None


@dataclass(frozen=True)
class FetchTask:
    """One file to fetch.

    Attributes:
        url: Its URL.
        settings: Those in force.
        part: Gets the bytes.
        reservations: Disk space.
        on_bytes: Called with (bytes so far, bytes in all or None).
        cancelled: Stops an attempt once it is set.
        fetcher_of: Gives the fetcher of a kind of source, for what a page embeds.
        chosen: Which of the page's videos the known version is, without secrets; empty: the one that the URL gives.
    """

    url: SourceUrl
    settings: Settings
    part: PartialFile
    reservations: DiskReservations
    on_bytes: Callable[[int, int | None], None]
    cancelled: threading.Event
    fetcher_of: "Callable[[str], Fetcher]"
    chosen: str = ""


class Attempts(Protocol):
    """The attempts to fetch one file; they share connections and the partial file."""

    def attempt(self, known: Validators | None = None) -> TransferResult:
        """Fetch what the partial file lacks.

        Args:
            known: The known version; the server is then asked for another one only.

        Raises:
            FetchError: The partial file contains what came before the error.
            FetchCancelled: It was cancelled.
            UnavailableError: Something needed for the request is missing.
        """

    def close(self) -> None:
        """Close the connections."""


class Fetcher(Protocol):
    """Brings in one kind of URL. Made once per ingest, with the settings in force; used by several threads."""

    def is_folder(self, url: str) -> bool:
        """Return whether a URL names a folder, playlist or channel, by its form alone."""

    def listing(self, url: SourceUrl, limit: int | None = None) -> Iterator[ListedFile]:
        """Yield what a folder, playlist, channel or page contains. Of a folder, the caller chooses the videos.

        Args:
            url: Its URL.
            limit: Most entries of a playlist, channel or page.

        Raises:
            VidpipeError: It cannot be listed.
        """

    def open(self, task: FetchTask) -> Attempts:
        """Return the attempts to fetch one file."""
