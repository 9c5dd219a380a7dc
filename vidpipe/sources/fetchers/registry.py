"""Which fetcher brings in which URL: by the host if it has one of its own, otherwise by the scheme.

Installed packages add fetchers by entry points in the group `vidpipe.fetchers`: the entry point's name is the scheme
(`myarchive`) or the host (`videos.example.org`) of the URLs, and its object is called with the settings. A plugin's
code is imported only when such a URL is fetched.
"""

import functools
import threading
from collections.abc import Mapping
from importlib import import_module, metadata
from urllib.parse import urlsplit

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.settings import Settings
from vidpipe.sources.fetchers.fetcher import Fetcher

GROUP = "vidpipe.fetchers"
#: Kind of source -> class of its fetcher.
_CLASSES = {
    "http": "page:HttpFetcher",
    "s3": "s3:S3Fetcher",
    "site": "site:SiteFetcher",
    "gs": "servers:BucketFetcher",
    "az": "servers:BucketFetcher",
    "dropbox": "servers:DropboxFetcher",
    "ftp": "servers:FtpFetcher",
    "sftp": "servers:SftpFetcher",
    "webdav": "servers:WebDavFetcher",
}
#: Scheme -> kind of source.
_SCHEMES = {
    "http": "http", "https": "http", "s3": "s3", "gs": "gs", "az": "az", "dropbox": "dropbox", "ftp": "ftp",
    "ftps": "ftp", "sftp": "sftp", "webdav": "webdav", "webdavs": "webdav",
}  # fmt: skip
#: Sites whose pages are given to yt-dlp at once; others only if a request has shown that the URL is a page.
SITES = frozenset(
    {
        "youtube.com", "youtu.be", "youtube-nocookie.com", "vimeo.com", "dailymotion.com", "dai.ly", "twitch.tv",
        "facebook.com", "fb.watch", "instagram.com", "tiktok.com", "twitter.com", "x.com", "bilibili.com",
    }
)  # fmt: skip


@functools.cache
def _plugins() -> Mapping[str, metadata.EntryPoint]:
    return {found.name.lower(): found for found in metadata.entry_points(group=GROUP)}


def schemes() -> tuple[str, ...]:
    """Return the schemes of URLs that can be fetched, without `file`."""
    return (*_SCHEMES, *(name for name in _plugins() if "." not in name))


def kind_of(url: str) -> str | None:
    """Return the kind of source of a URL: "http", "s3", "site", ..., or a plugin's name; None if there is none."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme in ("http", "https") and (host in _plugins() or host in SITES):
        return host if host in _plugins() else "site"
    return _SCHEMES.get(scheme) or (scheme if scheme in _plugins() else None)


class Fetchers:
    """The fetchers of one ingest, made when they are needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._made: dict[str, Fetcher] = {}
        self._lock = threading.RLock()

    def of(self, url: str) -> Fetcher:
        """Return the fetcher of a URL.

        Raises:
            UnavailableError: There is none, or it cannot be loaded.
        """
        kind = kind_of(url)
        if kind is None:
            raise UnavailableError("no fetcher is installed for this URL.", "Install the plugin that it needs.")
        return self.of_kind(kind)

    def of_kind(self, kind: str) -> Fetcher:
        """Return the fetcher of a kind of source. Raises UnavailableError if it cannot be loaded."""
        with self._lock:
            if kind not in self._made:
                self._made[kind] = self._new(kind)
            return self._made[kind]

    def _new(self, kind: str) -> Fetcher:
        module, _, name = _CLASSES.get(kind, "").partition(":")
        try:
            found = import_module(f"vidpipe.sources.fetchers.{module}") if module else None
            made: Fetcher = (getattr(found, name) if found else _plugins()[kind].load())(self.settings)
        except VidpipeError:
            raise
        except (Exception, SystemExit) as error:
            said = visible(f"{type(error).__name__}: {error}")[:500]
            raise UnavailableError(
                f"the fetcher {kind} cannot be used: {said}.", "Upgrade or uninstall the package that brings it."
            ) from error
        return made
