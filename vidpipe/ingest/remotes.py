"""Where a file is asked for over http(s): what stands between an address as it is kept and the URL that is sent."""

from __future__ import annotations

from typing import Protocol

import requests

from vidpipe.errors import VidpipeError
from vidpipe.ingest.faults import status_error
from vidpipe.ingest.urls import redacted_url


class Remote(Protocol):
    """One file on a server. `shown` is its address without secrets."""

    shown: str

    def link(self) -> str:
        """The URL to ask in this attempt, secrets included. Errors: VidpipeError where none can be made."""

    def elsewhere(self, response: requests.Response) -> str | None:
        """The URL that the same file has to be asked for under after this answer, where it is no plain redirect."""

    def error(self, response: requests.Response) -> VidpipeError:
        """The error for a final answer that is neither the bytes nor a redirect."""

    def kept(self, final_url: str) -> str:
        """What may be kept of the URL that gave the bytes."""


class HttpRemote:
    """An http(s) URL, which is asked for as it is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.shown = redacted_url(url)

    def link(self) -> str:
        return self._url

    def elsewhere(self, response: requests.Response) -> str | None:
        return None

    def error(self, response: requests.Response) -> VidpipeError:
        return status_error(self.shown, response)

    def kept(self, final_url: str) -> str:
        return redacted_url(final_url)
