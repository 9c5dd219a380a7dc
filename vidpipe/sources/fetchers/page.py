"""http(s) URLs: a file or, of a web page, its best video, by HTTP or through yt-dlp."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_response import PartialState, Validators
from vidpipe.settings import Settings
from vidpipe.sources.fetchers.fetcher import Attempts, FetchTask, ListedFile, TransferResult
from vidpipe.sources.fetchers.http import PageFound, Transfer
from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.fetchers.remote_file import RemoteFile
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.page_videos import PageVideo, WebPage, page_videos
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.source_data import SourceData
from vidpipe.sources.urls import SourceUrl, redacted_url

_PAGES = frozenset({"page", "playlist"})
_ANYTHING = _PAGES | {"text", "video"}
_MOST_TRIED, _SITE = 5, "a site that yt-dlp knows"


class HttpFetcher:
    """Brings in http(s) URLs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def is_folder(self, url: str) -> bool:
        """Return False: whether a page has several videos is known only after a request."""
        return False

    def listing(self, url: SourceUrl, limit: int | None = None) -> Iterator[ListedFile]:
        """Return the videos of a page without adverts and the like; the URL itself if it gives a file."""
        store, fetchers = MediaStore(self._settings), Fetchers(self._settings)
        part = PartialFile(store.incoming, url.id)
        task = FetchTask(
            url, self._settings, part, store.reservations, lambda *_: None, threading.Event(), fetchers.of_kind
        )
        with closing(PageAttempts(task, _ANYTHING)) as attempts:
            page = attempts.page()
        if page.videos[0].where == _SITE:
            return fetchers.of_kind("site").listing(url, limit)
        main = [one for one in page.videos if not one.rank[0]] or page.videos
        return (ListedFile(one.url) for one in main[:limit])

    def open(self, task: FetchTask) -> Attempts:
        """Return the attempts to download a URL."""
        return PageAttempts(task)


class PageAttempts:
    """The attempts to fetch a URL or, if it gives a web page, the best of its videos that can be fetched."""

    def __init__(self, task: FetchTask, reads: frozenset[str] = _PAGES) -> None:
        self._task = task
        self._transfer = Transfer(RemoteFile(task.url), task, reads)
        self._opened: dict[str, Attempts] = {"": self._transfer}
        self._failures: Counter[str] = Counter()

    def close(self) -> None:
        """Close the connections."""
        for attempts in self._opened.values():
            attempts.close()

    def attempt(self, known: Validators | None = None) -> TransferResult:
        """Fetch what the partial file lacks (see `Attempts`): a page is read each time, its video is resumed."""
        try:
            return self._transfer.attempt(None if self._task.chosen else known)
        except PageFound as answer:
            found, page, page_url = answer, self.read(answer), self._shown(answer.url)
        errors: list[VidpipeError] = []
        for one in self._tried(page, found.url):
            chosen = self._shown(one.url)
            try:
                result = self._open(one).attempt(known if chosen == self._task.chosen else None)
            except (FetchError, UnavailableError) as error:
                error.reworded(self._transfer.scrubbed(error.message))
                self._failures[one.url] += 1
                if isinstance(error, FetchError) and error.transient and self._failures[one.url] == 1:
                    error.about(self._task.url.display_url)
                    raise  # the next attempt begins with it again
                errors.append(error.about(chosen))
                continue
            count = f"best of {len(page.videos)}" if len(page.videos) > 1 else "the only video"
            reason = ", ".join([one.where, count, *([f"after {len(errors)} failed"] if errors else [])])
            facts = dict(page.data) | {name: value for name, value in dict(result.data or {}).items() if value}
            facts |= {"page_url": page_url, "chosen": chosen, "reason": reason}
            shown = {name: self._transfer.scrubbed(text) for name, text in facts.items() if isinstance(text, str)}
            return replace(result, data=SourceData(**facts | shown))
        if len(errors) == 1:
            raise errors[0].about(self._task.url.display_url)
        raise FetchError(
            f"{self._task.url}: none of the {len(page.videos)} videos of this page could be fetched. "
            + " ".join(error.message for error in errors),
            errors[0].hint,
            kind="transient"
            if any(isinstance(error, FetchError) and error.transient for error in errors)
            else "refused",
            depends_on=tuple(name for error in errors for name in error.depends_on),
            gone=all(isinstance(error, FetchError) and error.gone for error in errors),
        )

    def page(self) -> WebPage:
        """Return what the URL gives as a page; of anything else, the URL is the only video."""
        try:
            self._transfer.attempt()
        except PageFound as found:
            if found.kind in _PAGES:
                return self.read(found)
        return WebPage((PageVideo(self._task.url.reveal(), "file", "the URL", (False,)),), SourceData(), "")

    def read(self, found: PageFound) -> WebPage:
        """Return the videos of a page. Raises FetchError if it has none."""
        if found.kind == "playlist":
            return WebPage((PageVideo(found.url, "embed", "a stream", (False,)),), SourceData(), "")
        most = self._task.settings.download.max_height
        page = page_videos(found.content, found.url, found.content_type, most)
        if page.oembed and not page.videos:
            with suppress(FetchError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                try:
                    self._transfer.to(page.oembed, _ANYTHING).attempt()
                except PageFound as answer:
                    embedded = json.loads(answer.content)["html"].encode()
                    page = replace(page, videos=page_videos(embedded, found.url, "charset=utf-8", most).videos)
        if not page.is_clear and self._known(found.url):
            return WebPage((PageVideo(found.url, "embed", _SITE, (False,)),), SourceData(), "")
        if not page.videos:
            titled = f", “{page.data.title[:100]}”," if page.data.title else ""
            raise FetchError(
                f"{self._task.url}: this is a web page (HTML){titled} in which no video was found: "
                "no <video>, Open Graph, Twitter card, JSON-LD or oEmbed video, no URL in scripts, no player, no link.",
                "Use the direct link to the video. If it needs a login, set CookiesFile in the section [Download].",
                kind="refused",
            )
        return page

    def _tried(self, page: WebPage, url: str) -> Iterator[PageVideo]:
        yield from page.videos[:_MOST_TRIED]
        if page.is_clear and self._known(url):
            yield PageVideo(url, "embed", _SITE, (False,))

    def _known(self, url: str) -> bool:
        """Return whether yt-dlp knows the site of a page. Starting it takes seconds: the page itself is read first."""
        with suppress(UnavailableError):
            site: Any = self._task.fetcher_of("site")
            return bool(site.knows(url))
        return False

    def _shown(self, url: str) -> str:
        return self._transfer.scrubbed(redacted_url(url))

    def _open(self, one: PageVideo) -> Attempts:
        if one.url not in self._opened:
            if one.kind == "file":
                self._opened[one.url] = self._transfer.to(one.url)
            else:
                if self._task.part.state.file:  # bytes of another of its videos
                    self._task.part.start(PartialState())
                self._opened[one.url] = self._task.fetcher_of("site").open(replace(self._task, url=SourceUrl(one.url)))
        return self._opened[one.url]
