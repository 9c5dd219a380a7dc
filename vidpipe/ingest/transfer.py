"""One attempt at the bytes of a remote file: redirects, Range, limits, and the body into the partial file."""

from __future__ import annotations

import email.message
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies

from vidpipe.ingest import faults
from vidpipe.ingest.addresses import AddressPolicy
from vidpipe.ingest.connection import open_session
from vidpipe.ingest.faults import DiskFullError, FetchCancelled, FetchError
from vidpipe.ingest.partial import PartialFile, PartialState, Validators
from vidpipe.ingest.remotes import Remote
from vidpipe.ingest.stall import StallWatch
from vidpipe.ingest.store import Room
from vidpipe.ingest.urls import redacted_url, safe_file_name, scrub, url_file_name, without_userinfo
from vidpipe.media.sniff import HEAD_BYTES, sniff_bytes
from vidpipe.settings.schema import Download

CHUNK_BYTES = 256 * 1024
_LOOK_AT_DISK_EVERY_BYTES = 16 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes\s+(?P<start>\d{1,18})-\d{1,18}/(?P<total>\d{1,18}|\*)", re.IGNORECASE)
_UNSATISFIED_RANGE = re.compile(r"bytes\s+\*/(?P<total>\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What the server said of a file that has been read to its end (or, with `unchanged`, is the one known)."""

    validators: Validators
    content_type: str | None
    final_url: str
    file_name: str
    unchanged: bool = False


class Transfer:
    """The attempts at one remote file. They share connections, cookies and the partial file.

    remote:   user and password in its URL are sent by Basic authentication, to the URL's own host only
    on_bytes: called with (bytes so far, bytes in all or None)
    """

    def __init__(
        self,
        remote: Remote,
        *,
        settings: Download,
        part: PartialFile,
        room: Room,
        on_bytes: Callable[[int, int | None], None],
        cancelled: threading.Event,
    ) -> None:
        self._remote = remote
        self._shown = remote.shown
        self._full_url = self._url = ""
        self._auth: tuple[bytes, bytes] | None = None
        self._settings = settings
        self._policy = AddressPolicy(settings.allowed_private)
        self._part = part
        self._room = room
        self._on_bytes = on_bytes
        self._cancelled = cancelled
        self._session, self._live = open_session(self._policy, settings.user_agent)
        self._use_ranges = True

    def close(self) -> None:
        self._session.close()

    def attempt(self, known: Validators | None = None) -> Answer:
        """Asks once, from where the partial file ends, and reads to the end.

        known: the version that is known already; the server is then asked for another one only.
        Errors: FetchError, FetchCancelled, UnavailableError where the remote cannot be asked at all. The partial file
        holds what came before the error.
        """
        self._full_url = self._remote.link()
        self._url, self._auth = without_userinfo(self._full_url)
        settings = self._settings
        watch = StallWatch(self._live, self._cancelled, min_speed=settings.min_speed, window_s=settings.read_timeout)
        try:
            with watch:
                return self._attempt(known, watch)
        except FetchError as error:
            raise self._judged(error, watch) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._judged(faults.transport_error(self._shown, error), watch) from error

    def _judged(self, error: FetchError, watch: StallWatch) -> FetchError:
        if watch.verdict == "cancelled" or self._cancelled.is_set():
            raise FetchCancelled from error
        if watch.verdict == "stalled":
            speed = f"less than {self._settings.min_speed} bytes a second for {self._settings.read_timeout:g} s"
            return FetchError(f"{self._shown}: the server stalled ({speed}).", kind="transient")
        if self._shown in error.message or isinstance(error, DiskFullError):
            return error
        message = scrub(f"{self._shown}: {error.message}", self._full_url)
        return FetchError(message, error.hint, kind=error.kind, retry_after_s=error.retry_after_s)

    def _attempt(self, known: Validators | None, watch: StallWatch) -> Answer:
        offset = self._part.size if self._use_ranges else 0
        headers: dict[str, str] = {}
        if offset and self._part.state.if_range:
            headers = {"Range": f"bytes={offset}-", "If-Range": self._part.state.if_range}
        elif known is not None:
            headers = known.conditional_headers()
        response = self._request(headers)
        try:
            answer = self._answer(response)
            if response.status_code == 304 and "Range" not in headers and headers:
                return Answer(answer.validators, answer.content_type, answer.final_url, answer.file_name, True)
            if response.status_code == 416 and "Range" in headers:
                self._range_was_the_whole(response)
                return answer
            self._prepare_part(response, answer.validators, offset if "Range" in headers else 0)
            self._read_body(response, watch)
            return answer
        finally:
            response.close()

    def _request(self, headers: dict[str, str]) -> requests.Response:
        """The first answer that is no redirect; every address on the way is checked."""
        settings, url = self._settings, self._url
        seen = {url}
        for _ in range(settings.max_redirects + 1):
            if self._cancelled.is_set():
                raise FetchCancelled
            self._policy.check_url(url)
            response = self._send(url, headers)
            target = self._remote.elsewhere(response)
            if target is None and response.status_code in _REDIRECTS:
                target = response.headers.get("Location")
            if not target:
                return response
            response.close()
            url = self._redirected(url, target)
            circle = url in seen
            seen.add(url)
        how = "redirects in a circle" if circle else f"redirects more than {settings.max_redirects} times"
        raise FetchError(f"{self._shown}: the server {how}.", "Give the direct link to the file.")

    def _send(self, url: str, headers: dict[str, str]) -> requests.Response:
        session, settings = self._session, self._settings
        auth = self._auth if _origin(url) == _origin(self._url) else None
        request = session.prepare_request(requests.Request("GET", url, headers=headers, auth=auth))
        # not Session.send: on a redirect it reads the whole body, however long, before it gives the answer back
        response = session.get_adapter(url).send(
            request,
            stream=True,
            timeout=(settings.connect_timeout, settings.read_timeout),
            verify=session.verify if session.verify is not None else True,
            proxies=self._proxies(url),
        )
        extract_cookies_to_jar(session.cookies, request, response.raw)  # type: ignore[no-untyped-call]
        return response

    def _redirected(self, url: str, target: str) -> str:
        # http.client reads headers as Latin-1; what servers send is UTF-8
        try:
            target = urljoin(url, target.encode("latin-1", "replace").decode("utf-8", "replace")).partition("#")[0]
            target, _ = without_userinfo(target)  # a server does not say with whose password another one is asked
        except ValueError:
            raise FetchError(f"{self._shown}: the server redirects to something that is no URL.") from None
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
            raise FetchError(
                f"{self._shown}: redirects from https to {redacted_url(target)}, which is not encrypted.",
                "Give that http URL itself if you trust the network in between.",
                kind="refused",
            )
        return target

    def _proxies(self, url: str) -> dict[str, str]:
        """The environment's proxies, where the settings ask for them. The proxy then looks the name up and connects;
        what can be said of the address from here is said first."""
        proxies = dict(get_environ_proxies(url, no_proxy=None)) if self._settings.use_proxy else {}
        if proxies:
            parts = urlsplit(url)
            try:
                self._policy.resolve(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            except FetchError as error:
                if error.kind == "refused":
                    raise
        return proxies

    def _answer(self, response: requests.Response) -> Answer:
        final_url = response.url or self._url
        said = _disposition_name(response.headers.get("Content-Disposition", ""))
        own, final = url_file_name(self._url), url_file_name(final_url)
        name = said or (own if "." in own.strip(".") and urlsplit(self._url).hostname != own else final)
        validators = Validators(
            etag=_short(response.headers.get("ETag")), last_modified=_short(response.headers.get("Last-Modified"))
        )
        return Answer(
            validators,
            _short(response.headers.get("Content-Type")),
            self._remote.kept(final_url),
            name,
        )

    def _range_was_the_whole(self, response: requests.Response) -> None:
        """416 for the bytes after the last one means that all are here; or else they are of another file."""
        found = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = int(found["total"]) if found else self._part.state.total_bytes
        if total != self._part.size:
            self._part.start(PartialState())
            raise FetchError(f"{self._shown}: the file changed while it was fetched.", kind="transient")

    def _prepare_part(self, response: requests.Response, validators: Validators, offset: int) -> None:
        """Makes the partial file fit the answer: 206 goes on with it, 200 begins anew."""
        # others (aws-chunked, none, utf-8) are slips of the server's owner: the bytes are the file's own
        encodings = re.split(r"[\s,]+", response.headers.get("Content-Encoding", "").lower())
        encoded = not set(encodings).isdisjoint(urllib3.HTTPResponse.CONTENT_DECODERS)
        total = _content_length(response)
        if response.status_code == 206 and offset:
            found = _CONTENT_RANGE.match(response.headers.get("Content-Range", "").strip())
            state = self._part.state
            whole = int(found["total"]) if found and found["total"] != "*" else None
            same = validators.etag in (None, state.etag) and whole in (None, state.total_bytes or whole)
            if not found or int(found["start"]) != offset or not same or encoded:
                self._use_ranges = False  # a server that answers If-Range with another file cannot be trusted with it
                self._part.start(PartialState())
                raise FetchError(f"{self._shown}: the file changed while it was fetched.", kind="transient")
            self._part.state = state.model_copy(update={"total_bytes": whole or state.total_bytes})
        elif response.status_code == 200:
            if encoded:  # a Range would count encoded bytes, so such a transfer cannot be gone on with
                self._part.start(PartialState())
            else:
                self._part.start(PartialState(**validators.model_dump(), total_bytes=total))
        else:
            raise self._remote.error(response)
        self._check_size(self._part.state.total_bytes or 0)
        self._room.reserve(self._part.path.name, (self._part.state.total_bytes or self._part.size) - self._part.size)

    def _check_size(self, size_bytes: int) -> None:
        limit_mb = self._settings.max_size_mb
        if size_bytes > limit_mb << 20:
            raise FetchError(
                f"{self._shown}: the file is larger than {limit_mb} MB.",
                "MaxSizeMB in the section [Download] of config.ini sets the limit.",
                kind="refused",
            )

    def _read_body(self, response: requests.Response, watch: StallWatch) -> None:
        part, total = self._part, self._part.state.total_bytes
        head = bytearray()
        sniffed, looked_at_disk = part.size > 0, part.size
        self._on_bytes(part.size, total)
        while True:
            try:
                data = response.raw.read1(CHUNK_BYTES, decode_content=True)
            except urllib3.exceptions.ProtocolError as error:
                of = f" of {total}" if total is not None else ""
                if part.size and not watch.verdict:
                    said = f"{self._shown}: the connection broke off after {part.size}{of} bytes."
                    raise FetchError(said, kind="transient") from error
                raise
            if not sniffed:
                head += data[: HEAD_BYTES - len(head)]
                if len(head) >= HEAD_BYTES or not data:
                    self._refuse_other_content(bytes(head))
                    sniffed = True
            if not data:
                break
            watch.count(len(data))
            self._check_size(part.size + len(data))
            part.append(data)
            if part.size - looked_at_disk >= _LOOK_AT_DISK_EVERY_BYTES:
                looked_at_disk = part.size
                self._room.reserve(part.path.name, max(0, (total or part.size) - part.size))
            self._on_bytes(part.size, total)
        if watch.verdict or self._cancelled.is_set():
            raise FetchError(f"{self._shown}: the transfer was ended.", kind="transient")  # `_judged` says why
        if total is not None and part.size != total:
            raise FetchError(
                f"{self._shown}: the server sent {part.size} of {total} announced bytes.", kind="transient"
            )

    def _refuse_other_content(self, head: bytes) -> None:
        """A page, a picture, an archive is told by its beginning; it need not be fetched to its end."""
        content = sniff_bytes(head)
        if content is None:
            return
        hints = {
            "page": "Give the direct link to the video; on many pages 'Download' or 'Copy video address' gives it.",
            "playlist": "Save the stream to a file first (for example with yt-dlp) and add that file.",
        }
        name = "a web page (HTML)" if content.kind == "page" else content.name
        raise FetchError(
            f"{self._shown}: this is {name}, not a video file.",
            hints.get(content.kind, "Give the direct link to a video file."),
            kind="refused",
        )


def _short(header: str | None) -> str | None:
    """A header that is kept; one beyond all reason counts as absent."""
    return header if header is not None and len(header) <= 1024 else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _content_length(response: requests.Response) -> int | None:
    """Length of the body where the server states one; a chunked body has none, whatever the header says."""
    text = response.headers.get("Content-Length", "").strip()
    return int(text) if re.fullmatch("[0-9]{1,18}", text) and "Transfer-Encoding" not in response.headers else None


def _disposition_name(header: str) -> str:
    """The file name of a Content-Disposition header (RFC 6266), made safe; empty where there is none."""
    if not header:
        return ""
    if "filename*" in header.lower():  # it has precedence over the plain one
        header = re.sub(r";\s*filename\s*=\s*(?:\"[^\"]*\"|[^;]*)", "", header, flags=re.IGNORECASE)
    message = email.message.Message()
    message["Content-Disposition"] = header.encode("latin-1", "replace").decode("utf-8", "replace")
    return safe_file_name(message.get_filename() or "")
