"""What the user gave (URLs, files, folders, lists) becomes a list of source requests.

Every input is judged alone: one that cannot be read becomes a refused outcome, and the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vidpipe.errors import VidpipeError
from vidpipe.ingest.containers import HEAD_BYTES, VIDEO_SUFFIXES, looks_like_video
from vidpipe.ingest.lists import CSV_SUFFIXES, LIST_SUFFIXES, ListEntry, ListProblem, read_csv, read_url_list
from vidpipe.ingest.local import LocalMode
from vidpipe.ingest.records import IngestOutcome, SourceKind, SourceRecord
from vidpipe.ingest.s3 import Buckets, S3Address
from vidpipe.ingest.urls import canonical_url, loses_fragment, redacted_url, source_id
from vidpipe.settings.schema import Download


@dataclass(frozen=True)
class SourceRequest:
    """One URL or file to take in.

    address: full and canonical, secrets included; never to be stored or shown (`url` is)
    path:    of a local file
    mode:    how a local file is taken in
    given:   as the user gave it, without secrets
    fragment_dropped: the URL was given with a fragment, which is no part of the address
    """

    address: str = field(repr=False)
    kind: SourceKind = "http"
    path: Path | None = None
    mode: LocalMode = "copy"
    given: str = ""
    fragment_dropped: bool = False
    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None

    @property
    def id(self) -> str:
        return source_id(self.address)

    @property
    def url(self) -> str:
        return redacted_url(self.address)

    @property
    def has_secret(self) -> bool:
        return self.url != self.address


@dataclass
class Gathered:
    """What inputs came to: requests, each source once, in the order given; and the inputs that cannot be taken."""

    requests: list[SourceRequest] = field(default_factory=list)
    problems: list[IngestOutcome] = field(default_factory=list)


@dataclass(frozen=True)
class _Walk:
    """
    buckets:   None leaves folders of S3 unlisted
    may_wait:  a folder without a video is all right: one may come
    """

    mode: LocalMode
    exclude: frozenset[Path]
    buckets: Buckets | None
    may_wait: bool = False


def gather(
    inputs: Iterable[str | Path],
    *,
    mode: LocalMode = "copy",
    exclude: Collection[Path] = (),
    download: Download | None = None,
) -> Gathered:
    """Requests for `inputs`: URLs, objects and folders of S3, video files, folders (all videos below), CSV files with a
    url column, and lists (.txt: one URL or path a line, # comments). A source that is given twice is asked for once.

    mode:     how local files are taken in
    exclude:  folders below a given one that are left alone: the media store itself, when it lies there
    download: whom a folder of S3 may be asked of, and with which time limits
    """
    return _gather(inputs, _Walk(mode, frozenset(path.resolve() for path in exclude), Buckets(download or Download())))


def _gather(inputs: Iterable[str | Path], walk: _Walk) -> Gathered:
    gathered = Gathered()
    seen: set[str] = set()
    for given in inputs:
        for found in _expand(str(given), walk):
            if isinstance(found, IngestOutcome):
                gathered.problems.append(found)
            elif found.id not in seen:
                seen.add(found.id)
                gathered.requests.append(found)
    return gathered


def request_for(text: str, *, mode: LocalMode = "copy", base: Path | None = None) -> SourceRequest:
    """The request for one URL, object of S3 or local file; a relative path is taken from `base`.

    Errors: VidpipeError where it is none of these.
    """
    text = text.strip()
    scheme = urlsplit_scheme(text)
    if scheme in ("http", "https"):
        address = canonical_url(text)
        return SourceRequest(address=address, given=redacted_url(address), fragment_dropped=loses_fragment(text))
    if scheme == "s3":
        address = str(S3Address.parse(text))
        return SourceRequest(address=address, kind="s3", given=redacted_url(address))
    if scheme not in ("", "file"):
        raise VidpipeError(
            f"{redacted_url(text)}: {scheme}:// is not read.", "Give an http(s) or s3 URL or the path of a local file."
        )
    path = _local(text, Path(base or ""))
    return SourceRequest(address=path.as_uri(), kind="file", path=path, mode=mode, given=text)


def _local(text: str, base: Path) -> Path:
    """What is there under a path or a file URL, links followed. Errors: VidpipeError."""
    hint = "Check the path; a URL begins with https://." if "." in text and "/" in text else "Check the path."
    try:
        is_url = bool(urlsplit_scheme(text))
        path = Path(url2pathname(urlsplit(text).path)) if is_url else Path(base, Path(text).expanduser())
        if not path.exists() or (is_url and not path.is_absolute()):
            raise VidpipeError(f"{text}: there is no such file or folder.", hint)
        return path.resolve()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise VidpipeError(f"{text}: {error.strerror or error}.", hint) from None
    except (ValueError, RuntimeError) as error:  # no URL, or the home of a user that there is not
        raise VidpipeError(f"{text}: it cannot be read as a path ({error}).", hint) from None


def urlsplit_scheme(text: str) -> str:
    """The scheme of a URL in lower case; empty for a path (a drive letter is none)."""
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator and scheme.replace("+", "").isalnum() else ""


def _problem(given: str, error: VidpipeError) -> IngestOutcome:
    return IngestOutcome(input=redacted_url(given), state="refused", error=str(error))


def _expand(given: str, walk: _Walk) -> Iterator[SourceRequest | IngestOutcome]:
    try:
        request = request_for(given, mode=walk.mode)
        path = request.path
        if path is None:
            yield from _remote(request, walk)
        elif path.is_dir():
            yield from _folder(path, given, walk)
        elif path.suffix.lower() in CSV_SUFFIXES:
            yield from _listed(read_csv(path), path, walk)
        elif path.suffix.lower() in LIST_SUFFIXES:
            yield from _listed(read_url_list(path), path, walk)
        else:
            yield request
    except VidpipeError as error:
        yield _problem(given, error)


def _listed(
    entries: Iterable[ListEntry | ListProblem], path: Path, walk: _Walk
) -> Iterator[SourceRequest | IngestOutcome]:
    for entry in entries:
        where = f"{path.name}, line {entry.line}"
        if isinstance(entry, ListProblem):
            yield IngestOutcome(input=where, state="refused", error=f"{where}: {entry.sentence}")
            continue
        try:
            request = request_for(entry.text, mode=walk.mode, base=path.parent)
            if request.path is None:
                found = _remote(request, walk)
            elif request.path.is_dir():
                found = _folder(request.path, entry.text, walk)
            else:
                found = iter([request])
            for one in found:
                if isinstance(one, SourceRequest):
                    # a folder's title is none of its videos'
                    title = entry.title if one == request else None
                    yield replace(one, title=title, labels=entry.labels, priority=entry.priority)
                else:
                    yield one
        except VidpipeError as error:
            yield IngestOutcome(input=redacted_url(entry.text), state="refused", error=f"{where}: {error}")


def _remote(request: SourceRequest, walk: _Walk) -> Iterator[SourceRequest | IngestOutcome]:
    """The request itself, or one for each video below a folder of S3, told by its key's suffix.

    Keys with a part that begins with a dot are left alone, as hidden files are. Errors: VidpipeError.
    """
    folder = S3Address.parse(request.address) if request.kind == "s3" else None
    if folder is None or not folder.is_folder:
        yield request
        return
    if walk.buckets is None:
        return
    any_found = False
    for key in walk.buckets.keys(folder):
        hidden = any(part.startswith(".") for part in key[len(folder.key) :].split("/"))
        if PurePosixPath(key).suffix.lower() not in VIDEO_SUFFIXES or key.endswith("/") or hidden:
            continue
        any_found = True
        try:
            yield request_for(str(S3Address(folder.bucket, key)))
        except VidpipeError as error:
            yield _problem(str(folder), error)
    if not any_found and not walk.may_wait:
        yield _problem(request.given, VidpipeError(f"{folder}: there is no video in this folder or below."))


def _folder(folder: Path, given: str, walk: _Walk) -> Iterator[SourceRequest | IngestOutcome]:
    """Every video below `folder`, by name: known suffixes, and files of no or another suffix that begin like a video.
    Hidden files and folders, and what links lead to elsewhere, are left alone."""
    any_found = False
    unreadable: list[OSError] = []
    for directory, names, files in os.walk(folder, onerror=unreadable.append):
        names[:] = sorted(
            name for name in names if not name.startswith(".") and Path(directory, name).resolve() not in walk.exclude
        )
        for name in sorted(files):
            path = Path(directory, name)
            try:
                if name.startswith(".") or not path.is_file() or not _is_video(path):
                    continue
            except OSError as error:
                unreadable.append(error)
                continue
            any_found = True
            path = path.resolve()
            yield SourceRequest(address=path.as_uri(), kind="file", path=path, mode=walk.mode, given=str(path))
    for fault in unreadable:
        yield _problem(str(fault.filename), VidpipeError(f"{fault.filename} cannot be read: {fault.strerror}."))
    if not any_found and not walk.may_wait:
        yield _problem(given, VidpipeError(f"{given}: there is no video in this folder or below."))


def _is_video(path: Path) -> bool:
    # .ts is TypeScript as well: such a file has to look like a video, too
    if path.suffix.lower() in VIDEO_SUFFIXES and path.suffix.lower() not in (".ts", ".obu", ".dv"):
        return True
    with path.open("rb") as file:
        return looks_like_video(file.read(HEAD_BYTES))


def local_path(text: str) -> bool:
    """Whether a line of a list names something of this machine."""
    return urlsplit_scheme(text) in ("", "file")


def local_requests(
    entries: Iterable[ListEntry], watched: Path, exclude: Collection[Path]
) -> Iterator[SourceRequest | IngestOutcome]:
    """What the local files and folders that the list `watched` names hold now. An empty folder is no problem."""
    walk = _Walk("copy", frozenset(path.resolve() for path in exclude), None, may_wait=True)
    return _listed(entries, watched, walk)


def folder_requests(record: SourceRecord, download: Download) -> Gathered:
    """What a folder of S3 holds now. Errors: VidpipeError where it cannot be listed."""
    walk = _Walk("copy", frozenset(), Buckets(download), may_wait=True)
    gathered = Gathered()
    for found in _remote(request_for(record.url), walk):
        if isinstance(found, SourceRequest):
            gathered.requests.append(found)
        else:
            gathered.problems.append(found)
    return gathered
