"""One attempt at the bytes of a remote file: redirects, Range, limits, and the body into the partial file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies

from vidpipe.ingest import faults
from vidpipe.ingest.addresses import AddressPolicy
from vidpipe.ingest.answer_headers import (
    ContentRange,
    content_length,
    content_range,
    disposition_name,
    kept_value,
    location,
    unsatisfied_total,
)
from vidpipe.ingest.body import Body, content_encoding
from vidpipe.ingest.connection import open_session
from vidpipe.ingest.faults import FetchCancelled, FetchError, http_date
from vidpipe.ingest.partial import PartialFile, PartialState, Validators
from vidpipe.ingest.remotes import Remote
from vidpipe.ingest.stall import StallWatch
from vidpipe.ingest.store import Room
from vidpipe.ingest.urls import redacted_url, scrub, url_file_name, without_userinfo
from vidpipe.media.sniff import HEAD_BYTES, sniff_bytes
from vidpipe.redaction import MASK
from vidpipe.settings.operation import Download

_LOOK_AT_DISK_EVERY_BYTES = 16 << 20
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


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
        self._url = ""
        self._asked: list[str] = []  # all URLs of the attempt, redirects included: a server may echo any of them
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
        full_url = self._remote.link()
        self._asked = [full_url]
        self._url, self._auth = without_userinfo(full_url)
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
        return error.reworded(self._scrubbed(error.message)).about(self._shown)

    def _scrubbed(self, text: str) -> str:
        return scrub(text, *self._asked)

    def _attempt(self, known: Validators | None, watch: StallWatch) -> Answer:
        while True:
            offset = self._part.size if self._use_ranges and self._part.state.if_range else 0
            headers: dict[str, str] = {}
            if offset:
                headers = {"Range": f"bytes={offset}-", "If-Range": self._part.state.if_range or ""}
            elif known is not None:
                headers = known.conditional_headers()
            response = self._request(headers)
            try:
                answer = self._answer(response)
                if response.status_code == 304 and headers and not offset:
                    return Answer(answer.validators, answer.content_type, answer.final_url, answer.file_name, True)
                if self._take(response, answer.validators, offset, watch):
                    return answer
            finally:
                response.close()

    def _take(self, response: requests.Response, validators: Validators, offset: int, watch: StallWatch) -> bool:
        """Writes what the answer brings into the partial file; whether it is whole now. If it is not, it has grown, or
        was begun anew without ranges: ask again."""
        part, status, skip = self._part, response.status_code, 0
        if status == 416 and offset:
            total = unsatisfied_total(response.headers)
            total = part.state.total_bytes if total is None else total
            return total in (None, part.size) or self._begin_anew()
        held = content_range(response.headers)
        if status == 200 and offset and held is not None and held.first:
            return self._begin_anew()  # the rest of the file, not all of it, whatever the status says
        held = held if status == 206 else None
        if status == 206 and offset:
            joined = part.state.joined(held, offset, validators, content_encoding(response.headers))
            if held is None or joined is None:
                return self._begin_anew()
            part.state, skip = joined, offset - held.first
            body = Body(response, self._shown, encoded=False)
        elif status in (200, 203) or (held is not None and held.first == 0):
            body = Body(response, self._shown)
            if body.encoded and held is not None and held.total in (None, held.last + 1):
                held = None  # it counts the encoded bytes
            part.start(self._new_state(response, validators, held, body))
        elif status == 206:
            raise FetchError(f"{self._shown}: the server sends a part of the file although all of it was asked for.")
        else:
            raise self._remote.error(response)
        total = part.state.total_bytes
        self._check_size(total or 0)
        self._room.reserve(part.path.name, (total or part.size) - part.size)
        self._read_body(body, watch, skip=skip, end=total if held is None else held.last + 1)
        if total is None:
            return held is None or not offset  # a further part of unknown length: 416 says that it was the last one
        if part.size == total:
            return True
        if part.state.if_range is None or not self._use_ranges:
            said = f"{self._shown}: the server sends only the first {part.size} of {total} bytes."
            raise FetchError(said, "The rest cannot be joined safely: the server names no version (ETag) of the file.")
        return False

    def _begin_anew(self) -> bool:
        """For parts that do not fit together: this server is not asked for parts any more."""
        self._use_ranges = False
        self._part.start(PartialState())
        return False

    def _new_state(
        self, response: requests.Response, validators: Validators, held: ContentRange | None, body: Body
    ) -> PartialState:
        total = content_length(response.headers) if held is None else held.total
        if body.encoded:
            return PartialState()
        if "none" in response.headers.get("Accept-Ranges", "").lower():
            return PartialState(total_bytes=total)
        answered_at = http_date(response.headers.get("Date")) or datetime.now(UTC)
        encoding = content_encoding(response.headers)
        return PartialState.of(validators, answered_at, total_bytes=total, encoding=encoding)

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
            looped = url in seen
            seen.add(url)
        hint = "Give the direct link to the file."
        if looped:
            raise FetchError(f"{self._shown}: redirect loop.", hint)
        said = f"{self._shown}: the server redirects more than {settings.max_redirects} times."
        raise FetchError(said, hint, depends_on=("download.max_redirects",))

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
        response.reason = self._scrubbed(response.reason or "")
        return response

    def _redirected(self, url: str, target: str) -> str:
        try:
            target = urljoin(url, location(target)).partition("#")[0]
            target, _ = without_userinfo(target)  # a server does not say with whose password another one is asked
        except ValueError:
            raise FetchError(f"{self._shown}: the server redirects to something that is no URL.") from None
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
            raise FetchError(
                f"{self._shown}: redirects from https to {redacted_url(target)}, which is not encrypted.",
                "Give that http URL itself if you trust the network in between.",
                kind="refused",
            )
        self._asked.append(target)
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
        said = disposition_name(response.headers.get("Content-Disposition", ""), self._scrubbed)
        own, final = (url_file_name(self._scrubbed(redacted_url(url))) for url in (self._url, final_url))
        if MASK in said:  # it echoes the request, perhaps cut off in the middle of a secret
            said = ""
        name = said or (own if "." in own.strip(".") and urlsplit(self._url).hostname != own else final)
        validators = Validators(
            etag=self._free_of_secrets(response.headers.get("ETag")),
            last_modified=self._free_of_secrets(response.headers.get("Last-Modified")),
        )
        content_type = kept_value(response.headers.get("Content-Type"))
        return Answer(
            validators,
            self._scrubbed(content_type) if content_type else content_type,
            self._scrubbed(self._remote.kept(final_url)),
            name,
        )

    def _free_of_secrets(self, header: str | None) -> str | None:
        """A validator, which is stored and sent back unchanged; None if it holds a secret, so that the download is not
        resumed."""
        value = kept_value(header)
        return value if value is None or self._scrubbed(value) == value else None

    def _check_size(self, size_bytes: int) -> None:
        limit_mb = self._settings.max_size_mb
        if size_bytes > limit_mb << 20:
            raise FetchError(
                f"{self._shown}: the file is larger than {limit_mb} MB.",
                "MaxSizeMB in the section [Download] of config.ini sets the limit.",
                kind="refused",
                depends_on=("download.max_size_mb",),
            )

    def _read_body(self, body: Body, watch: StallWatch, *, skip: int, end: int | None) -> None:
        """skip: bytes at the beginning that are there already; end: size of the partial file after the last byte"""
        part, total = self._part, self._part.state.total_bytes
        head = bytearray()
        sniffed, looked_at_disk = part.size > 0, part.size
        self._on_bytes(part.size, total)
        while True:
            try:
                data = body.read()
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
            if skip:
                dropped = min(skip, len(data))
                data, skip = data[dropped:], skip - dropped
            self._check_size(part.size + len(data))
            part.append(data)
            if part.size - looked_at_disk >= _LOOK_AT_DISK_EVERY_BYTES:
                looked_at_disk = part.size
                self._room.reserve(part.path.name, max(0, (total or part.size) - part.size))
            self._on_bytes(part.size, total)
        if watch.verdict or self._cancelled.is_set():
            raise FetchError(f"{self._shown}: the transfer was ended.", kind="transient")  # `_judged` says why
        if end is not None and part.size != end:
            said = f"{self._shown}: the server sent {part.size} of {end} announced bytes."
            if part.size > end:
                part.start(PartialState())
            raise FetchError(said, kind="transient")

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


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
