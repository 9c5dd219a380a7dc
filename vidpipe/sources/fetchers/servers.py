"""Servers by protocol: FTP, SFTP, Google Cloud Storage, Azure Blob Storage, Dropbox, WebDAV.

The path of an FTP URL is relative to the folder after login, or absolute if it begins with two slashes (RFC 1738);
ftps:// is encrypted from AUTH TLS on (RFC 4217). Data connections go to the very address of the control connection,
whatever address the server names. The path of an SFTP URL is absolute, or begins with /~/. The key of an SFTP host
must be in ~/.ssh/known_hosts; without a password in the URL, the user's agent and keys are tried.

Credentials of gs:// and az:// come from the environment, as gcsfs and adlfs find them. Which service is asked is the
environment's choice, never that of a URL.
"""

import ftplib
import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from itertools import islice
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from defusedxml.ElementTree import fromstring
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from vidpipe.errors import UnavailableError
from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_errors import status_error
from vidpipe.network.http_response import CHUNK_BYTES
from vidpipe.network.session import authorities
from vidpipe.settings.operation import Download
from vidpipe.sources.fetchers.stream import FileServer, ServerEntry, StreamFetcher
from vidpipe.sources.urls import SourceUrl, path_in_url, without_userinfo

_UNKNOWN_COMMAND = ("500", "502", "504")
_LONGEST_LINE_BYTES, _MOST_NAMES, _MOST_READ_BYTES, _BUCKET_BLOCK_BYTES = 8192, 10_000, 64 << 20, 1 << 20
#: Of one SFTP request, and of those that are sent before the first is answered.
_REQUEST_BYTES, _AHEAD_BYTES = 32 << 10, 2 << 20
_BUCKETS = ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME")
_DROPBOX = ("DROPBOX_ACCESS_TOKEN", "DROPBOX_REFRESH_TOKEN", "DROPBOX_APP_KEY", "DROPBOX_APP_SECRET")


class FtpServer(FileServer):
    """An FTP server; anonymous if the URL names no user."""

    def connect(self) -> None:
        """Connect and log in."""
        ftp = self._ftp = ftplib.FTP()  # noqa: S321
        if self.scheme == "ftps":
            ftp = self._ftp = ftplib.FTP_TLS(  # noqa: S321
                context=ssl.create_default_context(cafile=authorities() or None)
            )
        ftp.host, ftp.timeout, ftp.encoding = self.host, self.settings.read_timeout, "latin-1"  # see `_sent`
        sock = ftp.sock = self.live.connect(self.policy, self.host, self.port, self.settings)
        ftp.af, ftp.file = sock.family, sock.makefile("r", encoding=ftp.encoding)
        ftp.getresp()
        ftp.login(_sent(self.user), _sent(self.password))
        if isinstance(ftp, ftplib.FTP_TLS):
            ftp.prot_p()
        ftp.voidcmd("TYPE I")

    def stat(self) -> ServerEntry:
        """Return size and version of the file, as far as the server tells."""
        return self._stat("", self.path)

    def _stat(self, name: str, path: str) -> ServerEntry:
        size, modified = (self._asked(f"{command} {_sent(path[1:])}") for command in ("SIZE", "MDTM"))
        return _entry(name, size, modified)

    def _asked(self, command: str) -> str:
        try:
            return self._ftp.sendcmd(command)[4:]
        except ftplib.error_perm as error:
            if str(error).startswith(_UNKNOWN_COMMAND):
                return ""
            raise

    @contextmanager
    def _data(self, command: str, offset: int = 0) -> Iterator[BufferedReader]:
        ftp = self._ftp
        plain, _ = ftplib.FTP.ntransfercmd(ftp, command.rstrip(), offset or None)  # noqa: S321
        self.live.watched(plain, self.settings)
        secure = ftp.context.wrap_socket(plain, server_hostname=self.host) if isinstance(ftp, ftplib.FTP_TLS) else plain
        with secure, secure.makefile("rb") as data:
            yield data
        ftp.voidresp()

    def blocks(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        """Yield the bytes of the file from `offset` on."""
        with self._data(f"RETR {_sent(self.path[1:])}", offset) as data:
            yield from iter(lambda: data.read1(CHUNK_BYTES), b"")

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains (RFC 3659); without MLSD, whatever has a size is a file."""
        place = _sent(folder[1:-1] or folder[1:])
        try:
            for line in self._lines(f"MLSD {place}"):
                text, _, name = line.partition(" ")
                facts = dict(fact.split("=", 1) for fact in text.lower().split(";") if "=" in fact)
                if facts.get("type") in ("file", "dir"):
                    yield _entry(name, facts.get("size", ""), facts.get("modify", ""), facts["type"] == "dir")
        except ftplib.error_perm as error:
            if not str(error).startswith(_UNKNOWN_COMMAND):
                raise
            for name in [line.rpartition("/")[2] for line in islice(self._lines(f"NLST {place}"), _MOST_NAMES)]:
                try:
                    yield self._stat(name, folder + name)
                except (ftplib.error_perm, ValueError):  # ftplib refuses line breaks
                    yield ServerEntry(name, None, "", is_folder=True)

    def _lines(self, command: str) -> Iterator[str]:
        with self._data(command) as data:
            for line in iter(lambda: data.readline(_LONGEST_LINE_BYTES), b""):
                yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _sent(text: str) -> str:
    """Return what ftplib, told to send Latin-1, sends as the UTF-8 of `text`."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _entry(name: str, size: str, modified: str, is_folder: bool = False) -> ServerEntry:
    known = size.isdecimal() and len(size) < 19
    version = (size, modified[:14]) if known and modified else ()
    return ServerEntry.of(name, int(size) if known else None, *version, is_folder=is_folder)


class SftpServer(FileServer):
    """An SSH server."""

    hint = "Check user, password, keys (~/.ssh, ssh-agent) and permissions, and the host's key in ~/.ssh/known_hosts."

    def connect(self) -> None:
        """Connect and log in."""
        import paramiko

        client = self._client = paramiko.SSHClient()
        if not self.user:
            raise FetchError("the URL names no user.", "Write it as sftp://user@host/path.")
        client.load_system_host_keys()
        client.set_missing_host_key_policy(self)
        wait_s = self.settings.read_timeout
        client.connect(
            self.host, self.port, self.user, self.password or None, banner_timeout=wait_s, auth_timeout=wait_s,
            sock=self.live.connect(self.policy, self.host, self.port, self.settings),
            look_for_keys=not self.password, allow_agent=not self.password,
        )  # fmt: skip
        self._sftp = client.open_sftp()

    def missing_host_key(self, client: object, hostname: str, key: Any) -> None:
        """Refuse a host whose key is not known; paramiko calls this."""
        raise FetchError(
            f"the {key.get_name()} key of {hostname} is not in ~/.ssh/known_hosts.",
            f"Check and accept it once with `ssh -p {self.port} {self.host}`, or add it with ssh-keyscan.",
        )

    def stat(self) -> ServerEntry:
        """Return size and version of a regular file."""
        found = self._sftp.stat(self.path.removeprefix("/~/"))
        if not stat.S_ISREG(found.st_mode or 0):
            raise FetchError("this is not a file.", "The URL of a folder ends with a slash.")
        return ServerEntry.of("", found.st_size, found.st_size, found.st_mtime)

    def blocks(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        """Yield the bytes of the file from `offset` on."""
        size_bytes = file.size_bytes or 0
        with self._sftp.open(self.path.removeprefix("/~/"), "rb") as opened:
            for start in range(offset, size_bytes, _AHEAD_BYTES):
                stop = min(size_bytes, start + _AHEAD_BYTES)
                firsts = range(start, stop, _REQUEST_BYTES)
                yield from opened.readv([(first, min(_REQUEST_BYTES, stop - first)) for first in firsts])

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains, without links."""
        for one in self._sftp.listdir_iter(folder.removeprefix("/~/") or "."):
            mode = one.st_mode or 0
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                yield ServerEntry.of(one.filename, one.st_size, one.st_size, one.st_mtime, is_folder=stat.S_ISDIR(mode))


class BucketServer(FileServer):
    """Google Cloud Storage or Azure Blob Storage."""

    hint = f"Check {_BUCKETS[0]} (gs) or {_BUCKETS[1]} (az)."
    depends_on = tuple(f"variable:{name}" for name in _BUCKETS)

    def connect(self) -> None:
        """Find the credentials, and check the address of the service."""
        google = self.scheme == "gs"
        try:
            if google:  # not gcsfs's own choice, which asks by gRPC what kind of bucket it is, wherever that goes
                from gcsfs.core import GCSFileSystem as FileSystem
            else:
                from adlfs import AzureBlobFileSystem as FileSystem
            self._files = FileSystem(use_listings_cache=False)
        except ValueError:  # quotes the connection string
            raise UnavailableError("the access is not usable.", self.hint, depends_on=self.depends_on) from None
        service = self._files.url("bucket/object") if google else self._files.service_client.url
        self.policy.check_host(service, proxied=self.settings.use_proxy)

    def stat(self) -> ServerEntry:
        """Return size and version of an object."""
        found = _object(self._files.info(self.host + self.path, timeout=self.settings.read_timeout))
        if found.is_folder:
            raise FileNotFoundError
        return found

    def blocks(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        """Yield the bytes of an object from `offset` on."""
        for start in range(offset, file.size_bytes or 0, _BUCKET_BLOCK_BYTES):
            part = {"start": start, "end": start + _BUCKET_BLOCK_BYTES, "timeout": self.settings.read_timeout}
            yield self._files.cat_file(self.host + self.path, **part)

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains."""
        return map(_object, self._files.ls(self.host + folder, detail=True, timeout=self.settings.read_timeout))


def _object(found: dict[str, Any]) -> ServerEntry:
    name, version = found["name"].rstrip("/").rpartition("/")[2], found.get("generation") or found.get("etag") or ""
    return ServerEntry.of(name, found.get("size"), version, is_folder=found["type"] == "directory")


class DropboxServer(FileServer):
    """Dropbox, over a guarded session."""

    hint = f"Check {_DROPBOX[0]} or {_DROPBOX[1]}, and the permissions of the app."
    depends_on = tuple(f"variable:{name}" for name in _DROPBOX)

    def __init__(self, url: SourceUrl, settings: Download) -> None:
        super().__init__(url, settings)
        self.path = "/" + unquote(url.reveal().partition("://")[2])

    def connect(self) -> None:
        """Take the credentials from the environment."""
        import dropbox

        access, refresh, key, secret = map(os.environ.get, _DROPBOX)
        if not access and not (refresh and key):
            raise UnavailableError(f"{_DROPBOX[0]} is not set.", self.hint, depends_on=self.depends_on)
        self._client = dropbox.Dropbox(
            access, 0, 0, session=self.session, timeout=self.settings.read_timeout,
            oauth2_refresh_token=refresh, app_key=key, app_secret=secret,
        )  # fmt: skip

    def stat(self) -> ServerEntry:
        """Return size and revision of a file."""
        return _dropbox_entry(self._client.files_get_metadata(self.path))

    def blocks(self, offset: int, file: ServerEntry) -> Iterator[bytes]:
        """Yield the bytes of the file from `offset` on."""
        part = {"Range": f"bytes={offset}-{(file.size_bytes or 1) - 1}"}
        _, response = self._client.files_download(self.path, extra_headers=part)
        if offset and response.status_code != 206:
            raise FetchError("Dropbox sends all of the file instead of its rest.")
        yield from response.iter_content(CHUNK_BYTES)

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains."""
        page = self._client.files_list_folder(folder.rstrip("/"))
        yield from map(_dropbox_entry, page.entries)
        while page.has_more:
            page = self._client.files_list_folder_continue(page.cursor)
            yield from map(_dropbox_entry, page.entries)


def _dropbox_entry(found: Any) -> ServerEntry:
    revision = getattr(found, "rev", None)
    return ServerEntry.of(found.name, getattr(found, "size", None), revision or "", is_folder=revision is None)


class WebDavServer(FileServer):
    """A WebDAV server (RFC 4918)."""

    over_http = True

    def request_url(self) -> str:
        """Return the http(s) URL."""
        return self._url.reveal().replace("webdav", "http", 1)

    def connect(self) -> None:
        """Check the URL; what is connected to is checked then."""
        self.policy.check_url(self.request_url())
        if self.settings.use_proxy:
            self.policy.check_host(self.request_url(), proxied=True)
            self.session.proxies = get_environ_proxies(self.request_url())

    def entries(self, folder: str) -> Iterator[ServerEntry]:
        """Yield what a folder contains. What the server's answer says about other places is ignored."""
        base, auth = without_userinfo(self.request_url())
        url, limits = urljoin(base, path_in_url(folder)), self.settings
        with self.session.request(
            "PROPFIND", url, headers={"Depth": "1"}, auth=auth and HTTPBasicAuth(*auth), allow_redirects=False,
            stream=True, timeout=(limits.connect_timeout, limits.read_timeout),
        ) as response:  # fmt: skip
            if response.status_code != 207:
                raise status_error(response)
            body = response.raw.read(_MOST_READ_BYTES, decode_content=True)
        for found in fromstring(body).iter("{DAV:}response"):
            place = urlsplit(urljoin(url, (found.findtext("{DAV:}href") or "").strip()))
            path, etag = unquote(place.path), found.findtext(".//{DAV:}getetag") or ""
            if place[:2] == urlsplit(url)[:2] and path.startswith(folder):
                is_folder = found.find(".//{DAV:}resourcetype/{DAV:}collection") is not None
                version = etag if not etag or '"' in etag else f'"{etag}"'
                yield ServerEntry(path[len(folder) :].removesuffix("/"), None, version, is_folder)


FtpFetcher, SftpFetcher = partial(StreamFetcher, FtpServer), partial(StreamFetcher, SftpServer)
BucketFetcher, DropboxFetcher = partial(StreamFetcher, BucketServer), partial(StreamFetcher, DropboxServer)
WebDavFetcher = partial(StreamFetcher, WebDavServer)
