"""Files over HTTP: one attempt to download one, with redirects, Range, limits, and the body into the partial file."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies

from vidpipe.media.sniff import HEAD_BYTES, sniff_bytes
from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.fetch_errors import FetchCancelled, FetchError
from vidpipe.network.http_errors import transport_error
from vidpipe.network.http_response import (
    ContentRange,
    PartialState,
    ResponseBody,
    Validators,
    content_encoding,
    content_length,
    content_range,
    disposition_name,
    kept_value,
    location,
    unsatisfied_total,
)
from vidpipe.network.retry import http_date
from vidpipe.network.session import LiveConnections, StallWatch, open_session
from vidpipe.redaction import MASK
from vidpipe.sources.containers import HEAD_BYTES as CONTAINER_HEAD_BYTES
from vidpipe.sources.containers import looks_like_video
from vidpipe.sources.fetchers.fetcher import FetchTask, TransferResult
from vidpipe.sources.fetchers.remote_file import RemoteFile
from vidpipe.sources.urls import SourceUrl, redacted_url, safe_file_name, scrub, url_file_name, without_userinfo

_CHECK_DISK_EVERY_BYTES, _LARGEST_PAGE_BYTES = 16 << 20, 5 << 20
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


@dataclass
class PageFound(Exception):
    """The URL gives something else than a file: a web page or the playlist of a stream, as `Transfer.reads` asks for.

    Attributes:
        url: After redirects.
        kind: As in `vidpipe.media.sniff`; "video" for anything else.
        content: Of a page or text: the first 5 MB, or what came within a minute.
        content_type: As the server stated it.
    """

    url: str
    kind: str
    content: bytes
    content_type: str


@dataclass
class Transfer:
    """The attempts to download one remote file; they share connections, cookies and the partial file.

    User and password in the URL are sent by Basic authentication, to the URL's own host only.

    Attributes:
        remote: The file.
        task: What it is fetched for: settings, partial file, disk space, progress, cancellation.
        reads: Kinds of content that are no files but raise PageFound.
        page: The transfer of the page that names this file. They share connections, cookies and, on its host, user and
            password.
    """

    remote: RemoteFile
    task: FetchTask
    reads: frozenset[str] = frozenset()
    page: "Transfer | None" = None

    def __post_init__(self) -> None:
        self._limits, self._part = self.task.settings.download, self.task.part
        self._url = ""
        self._requested: list[str] = []  # all URLs of the attempt: a server may echo any of them
        self._auth: tuple[bytes, bytes] | None = None
        self._policy = AddressPolicy(self._limits.allowed_private)
        opened = open_session(self._policy, self._limits.user_agent) if self.page is None else self.page.opened
        self.opened: tuple[requests.Session, LiveConnections] = opened
        self._session, self._live = opened
        self.remote.prepare(self._session, self._live)
        self._use_ranges = True
        # the query may be a signature, another one each time
        self._file = SourceUrl(self.remote.display_url.partition("?")[0]).id if self.page else ""
        self._referrer = {"Referer": redacted_url(self.page._url).partition("?")[0]} if self.page else {}

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def to(self, url: str, reads: frozenset[str] = frozenset()) -> "Transfer":
        """Return the transfer of a file that this page names. Raises FetchError if no redirect might lead there."""
        return replace(self, remote=RemoteFile(SourceUrl(self._redirected(self._url, url))), reads=reads, page=self)

    def attempt(self, known: Validators | None = None) -> TransferResult:
        """Send one request for what the partial file lacks, and read to the end.

        Args:
            known: The known version; the server is then asked for another one only.

        Raises:
            FetchError: The partial file contains what came before the error.
            FetchCancelled: The download was cancelled.
            UnavailableError: Something needed for the request is missing.
        """
        url = self.remote.request_url()
        self._requested = [url]
        self._url, self._auth = without_userinfo(url)
        self._own_origin = _origin(self._url)
        if self.page:
            self._requested = [*self.page._requested, url]
            self._auth, self._own_origin = self.page._auth, self.page._own_origin
        limits, cancelled = self._limits, self.task.cancelled
        watch = StallWatch(self._live, cancelled, min_speed=limits.min_speed, window_s=limits.read_timeout)
        try:
            with watch:
                return self._attempt(known, watch)
        except (FetchError, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if watch.verdict == "cancelled" or self.task.cancelled.is_set():
                raise FetchCancelled from error
            explained = self._explained(error, watch)
            if explained is error:
                raise
            raise explained from error

    def _explained(self, error: Exception, watch: StallWatch) -> FetchError:
        if watch.verdict == "stalled":
            speed = f"less than {self._limits.min_speed} bytes/s for {self._limits.read_timeout:g} s"
            error = FetchError(f"the server stalled ({speed}).", kind="transient")
        elif not isinstance(error, FetchError):
            error = transport_error(error)
        return error.reworded(self.scrubbed(error.message)).about(self.remote.display_url)

    def scrubbed(self, text: str) -> str:
        """Return a text without the secrets of all requested URLs, which a server may echo."""
        return scrub(text, *self._requested)

    def _attempt(self, known: Validators | None, watch: StallWatch) -> TransferResult:
        while True:
            resumes = self._use_ranges and self._part.state.if_range and self._part.state.file == self._file
            offset = self._part.size if resumes else 0
            headers = known.conditional_headers() if known is not None else {}
            if offset:
                headers = {"Range": f"bytes={offset}-", "If-Range": self._part.state.if_range or ""}
            response = self._request(headers | self._referrer)
            try:
                result = self._result(response)
                if response.status_code == 304 and headers and not offset:
                    return replace(result, unchanged=True)
                if self._receive(response, result.validators, offset, watch):
                    return result
            finally:
                response.close()

    def _receive(self, response: requests.Response, validators: Validators, offset: int, watch: StallWatch) -> bool:
        """Write the response into the partial file and return whether it is complete now.

        If it is not, it has grown, or was restarted without ranges: send another request.
        """
        part, status, skip = self._part, response.status_code, 0
        if status == 416 and offset:
            total = unsatisfied_total(response.headers)
            total = part.state.total_bytes if total is None else total
            return total in (None, part.size) or self._restart()
        held = content_range(response.headers)
        if status == 200 and offset and held is not None and held.first:
            return self._restart()  # the rest of the file, not all of it, whatever the status says
        held = held if status == 206 else None
        if status == 206 and offset:
            joined = part.state.joined(held, offset, validators, content_encoding(response.headers))
            if held is None or joined is None:
                return self._restart()
            part.state, skip = joined, offset - held.first
            body = ResponseBody(response, self.remote.display_url, None, CONTAINER_HEAD_BYTES)
        elif status in (200, 203) or (held is not None and held.first == 0):
            body = ResponseBody(response, self.remote.display_url, looks_like_video, CONTAINER_HEAD_BYTES)
            if body.encoded and held is not None and held.total in (None, held.last + 1):
                held = None  # it counts the encoded bytes
            self._check_content(response, body, watch)  # a page must not replace the bytes of its video
            part.start(self._new_state(response, validators, held, body).model_copy(update={"file": self._file}))
        elif status == 206:
            raise FetchError("the server sent a partial response to a full request.")
        else:
            raise self.remote.error(response)
        total = part.state.total_bytes
        self._check_size(total or 0)
        self.task.reservations.reserve(part.path.name, (total or part.size) - part.size)
        self._read_body(body, watch, skip=skip, end=total if held is None else held.last + 1)
        if total is None:
            return held is None or not offset  # a further part of unknown length: 416 says that it was the last one
        if part.size == total:
            return True
        if part.state.if_range is None or not self._use_ranges:
            raise FetchError(
                f"the server sends only the first {part.size} of {total} bytes.",
                "The rest cannot be joined safely: the server sends no ETag for the file.",
            )
        return False

    def _restart(self) -> bool:
        """Start over without ranges, because the server's parts do not fit together."""
        self._use_ranges = False
        self._part.start(PartialState())
        return False

    def _new_state(
        self, response: requests.Response, validators: Validators, held: ContentRange | None, body: ResponseBody
    ) -> PartialState:
        total = content_length(response.headers) if held is None else held.total
        if body.encoded:
            return PartialState()
        if "none" in response.headers.get("Accept-Ranges", "").lower():
            return PartialState(total_bytes=total)
        responded_at = http_date(response.headers.get("Date")) or datetime.now(UTC)
        encoding = content_encoding(response.headers)
        return PartialState.of(validators, responded_at, total_bytes=total, encoding=encoding)

    def _request(self, headers: dict[str, str]) -> requests.Response:
        """Return the first response that is not a redirect; every URL on the way is checked."""
        settings, url = self._limits, self._url
        seen = {url}
        for _ in range(settings.max_redirects + 1):
            if self.task.cancelled.is_set():
                raise FetchCancelled
            try:
                if self.remote.over_http:
                    self._policy.check_url(url)
                response = self._send(url, headers)
            except FetchError as error:
                if url != self._url:
                    error.reworded(f"redirected to {redacted_url(url)}: {error.message}")
                raise
            redirect = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            target = self.remote.retry_url(response) or redirect
            if not target:
                return response
            response.close()
            url = self._redirected(url, target)
            looped = url in seen
            seen.add(url)
        hint = "Use the direct link to the file."
        if looped:
            raise FetchError("redirect loop.", hint)
        raise FetchError(f"more than {settings.max_redirects} redirects.", hint, depends_on=("download.max_redirects",))

    def _send(self, url: str, headers: dict[str, str]) -> requests.Response:
        session, settings = self._session, self._limits
        auth = self._auth if _origin(url) == self._own_origin else None
        request = session.prepare_request(requests.Request("GET", url, headers=headers, auth=auth))
        # not Session.send: on a redirect it reads the whole body, however long, before it returns
        limits, verify = (settings.connect_timeout, settings.read_timeout), session.verify is None or session.verify
        adapter, proxies = session.get_adapter(url), self._proxies(url)
        response = adapter.send(request, stream=True, timeout=limits, verify=verify, proxies=proxies)
        extract_cookies_to_jar(session.cookies, request, response.raw)  # type: ignore[no-untyped-call]
        response.reason = self.scrubbed(response.reason or "")
        return response

    def _redirected(self, url: str, target: str) -> str:
        try:
            # a server must not choose the password for another one
            target, _ = without_userinfo(urljoin(url, location(target)).partition("#")[0])
        except ValueError:
            raise FetchError("the server redirects to an invalid URL.") from None
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
            raise FetchError(
                f"redirected from https to {redacted_url(target)}, which is not encrypted.",
                "Use the http URL itself if you trust the network.",
                kind="refused",
            )
        self._requested.append(target)
        return target

    def _proxies(self, url: str) -> dict[str, str]:
        """Return the environment's proxies, if the settings enable them; what can be checked from here is checked."""
        is_used = self._limits.use_proxy and self.remote.over_http
        proxies = dict(get_environ_proxies(url, no_proxy=None)) if is_used else {}
        if proxies:
            self._policy.check_host(url, proxied=True)
        return proxies

    def _result(self, response: requests.Response) -> TransferResult:
        final_url = response.url or self._url
        stated = disposition_name(
            response.headers.get("Content-Disposition", ""), lambda name: safe_file_name(self.scrubbed(name))
        )
        if MASK in stated:  # it echoes the request, perhaps cut off in the middle of a secret
            stated = ""
        own, final = (url_file_name(self.scrubbed(redacted_url(url))) for url in (self._url, final_url))
        name = stated or (own if "." in own.strip(".") and urlsplit(self._url).hostname != own else final)
        validators = Validators(
            etag=self._free_of_secrets(response.headers.get("ETag")),
            last_modified=self._free_of_secrets(response.headers.get("Last-Modified")),
        )
        content_type = kept_value(response.headers.get("Content-Type"))
        return TransferResult(
            validators,
            self.scrubbed(content_type) if content_type else content_type,
            self.scrubbed(self.remote.stored_url(final_url)),
            name,
        )

    def _free_of_secrets(self, header: str | None) -> str | None:
        """Return a validator, which is stored and sent back unchanged; None if it contains a secret.

        The download is then not resumed.
        """
        value = kept_value(header)
        return value if value is None or self.scrubbed(value) == value else None

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.max_size_mb << 20:
            raise FetchError(
                f"the file is larger than {self._limits.max_size_mb} MB.",
                "MaxSizeMB in the section [Download] of config.ini sets this limit.",
                kind="refused",
                depends_on=("download.max_size_mb",),
            )

    def _read_body(self, body: ResponseBody, watch: StallWatch, *, skip: int, end: int | None) -> None:
        """Append the body to the partial file.

        Args:
            body: The body.
            watch: Counts the bytes.
            skip: Bytes at the beginning that the file already has.
            end: Size of the file after the last byte; None if unknown.
        """
        part, total = self._part, self._part.state.total_bytes
        disk_checked_at = part.size
        self.task.on_bytes(part.size, total)
        while True:
            try:
                data = body.read()
            except urllib3.exceptions.ProtocolError as error:
                if watch.verdict or not part.size:
                    raise
                size = f"{part.size} of {total}" if total is not None else part.size
                message = f"the connection was interrupted after {size} bytes."
                raise FetchError(message, kind="transient") from error
            if not data:
                break
            watch.count(len(data))
            if skip:
                dropped = min(skip, len(data))
                data, skip = data[dropped:], skip - dropped
            self._check_size(part.size + len(data))
            part.append(data)
            if part.size - disk_checked_at >= _CHECK_DISK_EVERY_BYTES:
                disk_checked_at = part.size
                self.task.reservations.reserve(part.path.name, max(0, (total or part.size) - part.size))
            self.task.on_bytes(part.size, total)
        if watch.verdict or self.task.cancelled.is_set():
            raise FetchError("the transfer was ended.", kind="transient")  # see `_explained`
        received = part.size
        if end is not None and received != end:
            if received > end:
                part.start(PartialState())
            raise FetchError(f"the server sent {received} of {end} announced bytes.", kind="transient")

    def _check_content(self, response: requests.Response, body: ResponseBody, watch: StallWatch) -> None:
        """Raise PageFound or FetchError if the first bytes are those of a web page, picture, archive or the like."""
        head = body.ahead(HEAD_BYTES, watch.count)
        if head is None:
            if "video" in self.reads:  # nothing may be written, not even what came
                raise FetchError("the connection was interrupted.", kind="transient")
            return  # reading the body raises the error
        content, content_type = sniff_bytes(head), response.headers.get("Content-Type", "")
        kind = content.kind if content else "video"
        if "html" in content_type.lower() and (kind in ("text", "subtitles") or (content is None and _is_text(head))):
            kind = "page"
        elif kind == "playlist" and head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] not in b"#<":  # of neither HLS nor DASH
            kind = "text"
        if kind in self.reads:
            page = body.ahead(_LARGEST_PAGE_BYTES, watch.count) if kind in ("page", "text") else head
            if page is None or watch.verdict:
                raise FetchError("the connection was interrupted.", kind="transient")
            raise PageFound(response.url or self._url, kind, page, content_type)
        if content is not None or kind == "page":
            name = content.name if content is not None and kind != "page" else "a web page (HTML)"
            raise FetchError(
                f"this is {name}, not a video file.", "Use the direct link to a video file.", kind="refused"
            )


def _is_text(head: bytes) -> bool:
    """Return whether first bytes of no known kind may be a text in any encoding."""
    return not looks_like_video(head) and (b"\0" not in head or head.startswith((b"\xff\xfe", b"\xfe\xff")))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
