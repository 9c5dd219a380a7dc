"""Files and folders on servers that do not speak plain HTTP: what is common to them.

A server says what a file is and gives its bytes from an offset on. `FileServer` answers the requests of a `Transfer`
with them, as an HTTP server would: so limits, resumption, progress and cancellation are those of any download. The
version of a file is its ETag.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import ProtocolError

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_errors import transport_error
from vidpipe.network.session import LiveConnections, StallWatch, open_session
from vidpipe.settings import Settings
from vidpipe.settings.operation import Download
from vidpipe.sources.fetchers.fetcher import Attempts, FetchTask, ListedFile
from vidpipe.sources.fetchers.http import Transfer
from vidpipe.sources.fetchers.remote_file import RemoteFile
from vidpipe.sources.urls import DEFAULT_PORTS, SourceUrl, path_in_url, scrub

log = logging.getLogger(__name__)

#: Of one listing: a server may pretend to have any number of them.
_MOST_ENTRIES, _DEEPEST = 200_000, 32
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: The errors of ftplib, paramiko, fsspec and the SDKs have no class in common: class, status and text.
_GONE = re.compile(
    r"FileNotFound|ResourceNotFound|ApiError.*not_found|error_perm.*(no such|not found|n.t exist|not retrievable)", re.I
)
_DENIED = re.compile(r"\w*(Authenti|AuthError|Permission|HostKey)|\w+ 40[139]:|OSError.*Forbid|error_perm : 53", re.I)


class ServerEntry(NamedTuple):
    """A file or folder on a server.

    Attributes:
        name: Without folders.
        size_bytes: Of a file; None if unknown.
        version: Changes with the content, in the form of a strong ETag; empty if unknown.
        is_folder: Whether it is a folder.
    """

    name: str
    size_bytes: int | None
    version: str
    is_folder: bool

    @classmethod
    def of(cls, name: str, size_bytes: int | None, *version: object, is_folder: bool = False) -> "ServerEntry":
        """Return an entry whose version consists of these parts."""
        text = re.sub("[^!#-~]", "", "-".join(map(str, version)))
        return cls(name, size_bytes, f'"{text}"' if text else "", is_folder)


class FileServer(RemoteFile, BaseAdapter):
    """A file or folder on a server, and the connection to it.

    Attributes:
        path: Path in the URL, decoded.
        hint: What to do if the server denies access.
        depends_on: What that depends on.
    """

    over_http = False
    hint = "If the file requires a login, put user:password@ before the host."
    depends_on: tuple[str, ...] = ()

    def __init__(self, url: SourceUrl, settings: Download) -> None:
        super().__init__(url)
        self.settings, self.policy = settings, AddressPolicy(settings.allowed_private)
        parts = urlsplit(url.reveal())
        self.scheme, self.host = parts.scheme, parts.hostname or ""
        self.port = parts.port or DEFAULT_PORTS[parts.scheme]
        texts = parts.path + (f"?{parts.query}" if parts.query else ""), parts.username or "", parts.password or ""
        self.path, self.user, self.password = (unquote(text, errors="surrogateescape") for text in texts)
        if _NOT_IN_NAMES.search(self.path):
            raise FetchError("the path contains a control character or is not UTF-8.", kind="refused")

    def prepare(self, session: requests.Session, live: LiveConnections) -> None:
        """Answer the requests for the file."""
        self.session, self.live = session, live
        session.mount(f"{self.scheme}://", self)

    def stored_url(self, final_url: str) -> str:
        """Return the URL itself."""
        return self.display_url

    def connect(self) -> None:
        """Connect to the server, and log in. Like the methods below, it may raise any error of the protocol."""

    def close(self) -> None:
        """Close the connections."""
        self.live.shut_down()

    def stat(self) -> ServerEntry:
        """Return what is known about the file."""
        raise NotImplementedError

    def blocks(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        """Yield the bytes of the file from `offset` on."""
        raise NotImplementedError

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains."""
        raise NotImplementedError

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Connect anew, and answer a request."""
        response, ask, response.status_code = requests.Response(), request.headers, 200
        try:
            self.close()
            self.connect()
            file = self.stat()
            self._body = self._bytes(0, file)
        except Exception as error:
            fault = self.fault(error)
            if fault is error:
                raise
            raise fault from error
        size = file.size_bytes or 0
        if file.version and ask.get("If-None-Match") == file.version:
            response.status_code = 304
        first = int(ask["Range"][6:-1]) if ask.get("If-Range") == file.version else 0
        first = first if first < size else 0
        if first:
            response.status_code, self._body = 206, self._bytes(first, file)
            response.headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        if size:
            response.headers["Content-Length"] = str(size - first)
        response.headers.update({"ETag": file.version} if file.version else {"Accept-Ranges": "none"})
        response.url, response.raw = str(request.url), self
        return response

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        """Return the next bytes of the body, as `ResponseBody` reads them."""
        try:
            return next(self._body, b"")
        except (TimeoutError, VidpipeError):
            raise
        except Exception as error:
            raise ProtocolError(str(error), error) from error

    def _bytes(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        yield from self.blocks(offset, file)
        if self.stat() != file:
            raise EOFError("the file has changed")

    def fault(self, error: Exception) -> Exception:
        """Return the error for one that a library raised; an unexpected one as it is."""
        wire = isinstance(error, OSError | EOFError)
        if isinstance(error, ImportError):
            return UnavailableError.without_package(f"{self.scheme}:// URLs need", error)
        status = getattr(error, "status_code", getattr(error, "code", ""))
        said = visible(f"{type(error).__name__} {status}: {error}")[:300]
        if _GONE.match(said):
            return FetchError(f"no such file ({said}).", "Check the URL for a typo.", gone=True)
        if _DENIED.match(said):
            return FetchError(f"the server denies access ({said}).", self.hint, depends_on=self.depends_on)
        if wire or isinstance(error, VidpipeError) or type(error).__module__ == "builtins":
            return transport_error(error) if wire else error
        return FetchError(f"the server failed ({said}).", kind="permanent" if "error_perm" in said else "transient")

    def files_below(self) -> Iterator[ListedFile]:
        """Yield the files below the folder. A folder in it that the server does not let us list is skipped.

        Raises:
            FetchError: The folder itself cannot be listed, or contains too much.
            UnavailableError: Something needed for the request is missing.
        """
        limits, base = self.settings, self._url.reveal()
        self.prepare(*open_session(self.policy, limits.user_agent))
        watch = StallWatch(self.live, Event(), min_speed=limits.min_speed, window_s=limits.read_timeout)
        folders, number, below = ["/"], count(), ""
        with watch, closing(self):
            while folders:
                try:
                    if not below:
                        self.connect()
                    below = folders.pop()
                    for entry in self.entries(self.path + below[1:]):
                        watch.count(1 << 30)  # a window without any entry is a stall
                        if next(number) == _MOST_ENTRIES:
                            raise FetchError(f"more than {_MOST_ENTRIES} files.", "Add fewer.", kind="refused")
                        place = below + entry.name
                        if entry.name in ("", ".", "..") or "/" in entry.name or _NOT_IN_NAMES.search(entry.name):
                            continue
                        if not entry.is_folder:
                            yield ListedFile(base + path_in_url(place[1:]), entry.version)
                        elif place.count("/") < _DEEPEST:
                            folders.append(f"{place}/")
                except Exception as error:
                    fault = FetchError("the server stalled.", kind="transient") if watch.verdict else self.fault(error)
                    if not isinstance(fault, VidpipeError):
                        raise
                    fault.reworded(scrub(fault.message, base)).about(self.display_url)
                    if below in ("", "/") or not isinstance(fault, FetchError) or fault.kind != "permanent":
                        if fault is error:
                            raise
                        raise fault from error
                    log.warning("the folder %s is skipped: %s", visible(below), fault)


class StreamFetcher:
    """Brings in the files of one kind of server."""

    def __init__(self, server: type[FileServer], settings: Settings) -> None:
        self._server, self._settings = server, settings.download

    def is_folder(self, url: str) -> bool:
        """Return whether a URL names a folder."""
        return url.endswith("/")

    def listing(self, url: SourceUrl, limit: int | None = None) -> Iterator[ListedFile]:
        """Yield all files of a folder and the folders below, whatever they contain."""
        return self._server(url, self._settings).files_below()

    def open(self, task: FetchTask) -> Attempts:
        """Return the attempts to read a file."""
        return Transfer(self._server(task.url, self._settings), task)
