"""What a `Transfer` requests: a file on a server, by whatever protocol."""

import requests

from vidpipe.errors import VidpipeError
from vidpipe.network.http_errors import status_error
from vidpipe.network.session import LiveConnections
from vidpipe.sources.urls import SourceUrl, redacted_url


class RemoteFile:
    """One file on a server: an http(s) URL, which is requested as it is; base of other kinds of URLs.

    Attributes:
        display_url: Its URL without secrets.
        over_http: Whether `request_url` is an http(s) URL; otherwise `prepare` mounts what answers the requests.
    """

    over_http = True

    def __init__(self, url: SourceUrl) -> None:
        self._url = url
        self.display_url = url.display_url

    def request_url(self) -> str:
        """Return the URL to request in this attempt, secrets included. Raises VidpipeError if there is none."""
        return self._url.reveal()

    def prepare(self, session: requests.Session, live: LiveConnections) -> None:
        """Prepare the session of a download, and register in `live` what it connects to."""

    def retry_url(self, response: requests.Response) -> str | None:
        """Return the URL to request after this response, if it is not a plain redirect."""
        return None

    def error(self, response: requests.Response) -> VidpipeError:
        """Return the error for a final response that is neither the file nor a redirect."""
        return status_error(response)

    def stored_url(self, final_url: str) -> str:
        """Return what may be stored of the URL that gave the bytes."""
        return redacted_url(final_url)
