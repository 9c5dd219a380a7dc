"""What the user gave (URLs, files, folders, lists) becomes a list of source requests.

Every input is judged alone: one that cannot be read becomes a refused outcome, and the others go on.
"""

from __future__ import annotations

import logging
import re
import stat
import traceback
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from vidpipe.errors import VidpipeError, readable
from vidpipe.ingest.characters import foreign, unusual, windows_1252
from vidpipe.ingest.containers import VIDEO_SUFFIXES
from vidpipe.ingest.folders import Skipped, videos_below
from vidpipe.ingest.list_files import CSV_SUFFIXES, LIST_SUFFIXES, read_list
from vidpipe.ingest.lists import Lines, ListEntry, ListProblem, first_few
from vidpipe.ingest.local import LocalMode
from vidpipe.ingest.records import IngestNote, IngestOutcome, SourceKind
from vidpipe.ingest.s3 import Buckets, S3Address
from vidpipe.ingest.urls import canonical_url, loses_fragment, redacted_url, scrub, source_id
from vidpipe.safe_files import check_regular, file_url_path
from vidpipe.settings.operation import Download, Lists

log = logging.getLogger(__name__)

_LONGEST_SCHEME = 12
#: Servers accept less, and lines of text lists are no longer.
_LONGEST_URL = 8192
_LONGEST_SHOWN = 300


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
    """What inputs came to: requests, each source once, in the order given; the inputs that cannot be taken; and what
    is to be said of lists and folders."""

    requests: list[SourceRequest] = field(default_factory=list)
    problems: list[IngestOutcome] = field(default_factory=list)
    notes: list[IngestNote] = field(default_factory=list)

    def put(self, found: Found) -> None:
        if isinstance(found, IngestOutcome):
            self.problems.append(found)
        elif isinstance(found, IngestNote):
            self.notes.append(found)
        else:
            self.requests.append(found)


Found = SourceRequest | IngestOutcome | IngestNote


@dataclass(frozen=True)
class _Walk:
    """
    buckets:   None leaves folders of S3 unlisted
    columns:   what the columns of tables are called
    seen:      ids of the sources that were given so far
    may_wait:  a folder without a video is all right: one may come
    """

    mode: LocalMode
    exclude: frozenset[Path]
    buckets: Buckets | None
    columns: Lists
    seen: set[str] = field(default_factory=set)
    may_wait: bool = False


def gather(
    inputs: Iterable[str | Path],
    *,
    mode: LocalMode = "copy",
    exclude: Collection[Path] = (),
    download: Download | None = None,
    columns: Lists | None = None,
) -> Gathered:
    """Requests for `inputs`: URLs, objects and folders of S3, video files, folders (all videos below), CSV files with a
    url column, and lists (.txt: one URL or path a line, # comments). A source that is given twice is asked for once.

    mode:     how local files are taken in
    exclude:  folders below a given one that are left alone: the media store itself, when it lies there
    download: whom a folder of S3 may be asked of, and with which time limits
    columns:  what the columns of CSV files are called
    """
    excluded = frozenset(path.resolve() for path in exclude)
    walk = _Walk(mode, excluded, Buckets(download or Download()), columns or Lists())
    gathered = Gathered()
    for given in inputs:
        for found in _expand(str(given), walk):
            if isinstance(found, SourceRequest):
                if found.id in walk.seen:
                    continue
                walk.seen.add(found.id)
            gathered.put(found)
    return gathered


def request_for(text: str, *, mode: LocalMode = "copy", base: Path | None = None, quoted: bool = True) -> SourceRequest:
    """The request for one URL, object of S3 or local file; a relative path is taken from `base`.

    quoted: begin errors with the text, its secrets masked; False: errors reveal nothing of it, since it may be a line
            of a private file
    Errors: VidpipeError if it is none of these.
    """
    try:
        return _request(text, mode, Path(base or ""))
    except VidpipeError as error:
        if not quoted:
            raise
        raise VidpipeError(f"{_shown(text)}: {error.message}", error.hint) from None


def _shown(text: str) -> str:
    text = redacted_url(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _request(text: str, mode: LocalMode, base: Path) -> SourceRequest:
    scheme = urlsplit_scheme(text)
    if scheme:
        text = text.strip()
    if scheme and len(text) > _LONGEST_URL:
        raise VidpipeError(f"the URL has {len(text)} characters; at most {_LONGEST_URL} are allowed.")
    if scheme in ("http", "https", "s3") and (character := foreign(text)):
        raise VidpipeError(
            f"the address contains {character}, which is not allowed in a URL.", "Remove or percent-encode it."
        )
    if scheme in ("http", "https") and re.search(r" [a-z0-9+]+://", text, re.IGNORECASE):
        raise VidpipeError("these are two addresses.", "Give them one by one.")
    if scheme in ("http", "https"):
        address = canonical_url(text)
        return SourceRequest(address=address, given=redacted_url(address), fragment_dropped=loses_fragment(text))
    if scheme == "s3":
        address = str(S3Address.parse(text))
        return SourceRequest(address=address, kind="s3", given=redacted_url(address))
    if scheme not in ("", "file"):
        raise VidpipeError(
            f"{scheme[:_LONGEST_SCHEME]}:// is not read.", "Give an http(s) or s3 URL or the path of a local file."
        )
    if not text.strip():
        raise VidpipeError("an empty text is no path.")
    path = _local(text, base)
    return SourceRequest(address=path.as_uri(), kind="file", path=path, mode=mode, given=readable(redacted_url(text)))


def _local(text: str, base: Path) -> Path:
    """What is there under a path or a file URL, links followed. Errors: VidpipeError.

    A name is taken as it is, then without blanks around it, then with bytes that are not UTF-8 read as Windows-1252.
    """
    hint = "Check the path; a URL begins with https://." if "." in text and "/" in text else "Check the path."
    try:
        for name in dict.fromkeys((text, text.strip(), windows_1252(text))):
            is_url = bool(urlsplit_scheme(name))
            path = file_url_path(name) if is_url else Path(base, Path(name).expanduser())
            if path.exists() and (path.is_absolute() or not is_url):
                if not path.is_dir() and not stat.S_ISREG(check_regular(path).st_mode):
                    raise VidpipeError("it is a pipe.", "Pass a list from a pipe through stdin: `vidpipe add -`.")
                return path.resolve()
        character = unusual(text)
        odd = f" (the name holds {character})" if character else ""
        raise VidpipeError(f"there is no such file or folder{odd}.", hint)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise VidpipeError(f"{error.strerror or type(error).__name__}.", hint) from None
    except (ValueError, RuntimeError):  # no URL, or the home of a user that there is not
        raise VidpipeError("it cannot be read as a path.", hint) from None


def urlsplit_scheme(text: str) -> str:
    """The scheme of a URL in lower case; empty for a path (a drive letter is none)."""
    scheme, separator, _ = text.lstrip().partition("://")
    return scheme.lower() if separator and scheme.replace("+", "").isalnum() else ""


def _problem(given: str, error: VidpipeError) -> IngestOutcome:
    return IngestOutcome(input=readable(_shown(given)), state="refused", error=str(error))


def _expand(given: str, walk: _Walk) -> Iterator[Found]:
    try:
        request = request_for(given, mode=walk.mode)
        path = request.path
        if path is None:
            yield from _remote(request, walk)
        elif path.is_dir():
            yield from _folder(path, given, walk)
        elif path.suffix.lower() in CSV_SUFFIXES | LIST_SUFFIXES:
            lines = read_list(path, walk.columns)
            yield from _list_notes(lines, given)
            yield from _listed(lines, path, walk)
        else:
            yield request
    except VidpipeError as error:
        yield _problem(given, error)
    except Exception as unexpected:
        yield _problem(given, _unexpected(given, unexpected, _shown(given)))


def _unexpected(given: str, error: Exception, shown: str) -> VidpipeError:
    """One input must not stop the others, whatever comes up with it."""
    trace = scrub("".join(traceback.format_exception(error)), given)
    log.error("Unexpected error while %s was looked into:\n%s", shown, trace)
    return VidpipeError(f"{shown}: unexpected error ({type(error).__name__}).", "Please report it.")


def _list_notes(lines: Lines, given: str) -> Iterator[IngestNote]:
    sentences = lines.notes if lines.keys else (*lines.notes, f"{Path(given).name} names no source.")
    return (IngestNote(readable(given), readable(sentence)) for sentence in sentences)


def _listed(entries: Iterable[ListEntry | ListProblem], path: Path, walk: _Walk) -> Iterator[Found]:
    """Lines that are not sources are reported by number only: the file may be private."""
    repeated: list[str] = []
    for entry in entries:
        where = readable(f"{path.name}, line {entry.line}")
        if isinstance(entry, ListProblem):
            yield IngestOutcome(input=where, state="refused", error=f"{where}: {entry.sentence}")
            continue
        try:
            request = request_for(entry.text, mode=walk.mode, base=path.parent, quoted=False)
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
                    if one == request and one.id in walk.seen:
                        repeated.append(str(entry.line))
                    yield replace(one, title=title, labels=entry.labels, priority=entry.priority)
                else:
                    yield one
        except VidpipeError as error:
            yield _problem(where, VidpipeError(f"{where}: {error}"))
        except Exception as unexpected:
            yield _problem(where, _unexpected(entry.text, unexpected, where))
    if repeated:
        sentence = f"{path.name}: lines that repeat an earlier source are ignored: {first_few(repeated)}."
        yield IngestNote(readable(str(path)), readable(sentence))


def _remote(request: SourceRequest, walk: _Walk) -> Iterator[Found]:
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
    skipped = Skipped()
    for key in walk.buckets.keys(folder):
        hidden = any(part.startswith(".") for part in key[len(folder.key) :].split("/"))
        if key.endswith("/"):
            continue
        if hidden or PurePosixPath(key).suffix.lower() not in VIDEO_SUFFIXES:
            skipped.count("a hidden file" if hidden else "not named like a video")
            continue
        any_found = True
        try:
            yield request_for(str(S3Address(folder.bucket, key)))
        except VidpipeError as error:
            yield _problem(str(folder), error)
    if note := skipped.note(request.given):
        yield note
    if not any_found and not walk.may_wait:
        yield _problem(request.given, VidpipeError(f"{folder}: there is no video in this folder or below."))


def _folder(folder: Path, given: str, walk: _Walk) -> Iterator[Found]:
    any_found = False
    skipped = Skipped()
    for path in videos_below(folder, walk.exclude, skipped):
        any_found = True
        yield SourceRequest(address=path.as_uri(), kind="file", path=path, mode=walk.mode, given=readable(str(path)))
    if note := skipped.note(given):
        yield note
    for fault in skipped.unreadable:
        yield _problem(str(fault.filename), VidpipeError(f"{fault.filename} cannot be read: {fault.strerror}."))
    if not any_found and not walk.may_wait:
        yield _problem(given, VidpipeError(f"{given}: there is no video in this folder or below."))


def local_path(text: str) -> bool:
    """Whether a line of a list names something of this machine."""
    return urlsplit_scheme(text) in ("", "file")


def local_requests(entries: Iterable[ListEntry], watched: Path, exclude: Collection[Path]) -> Iterator[Found]:
    """What the local files and folders that the list `watched` names hold now. An empty folder is no problem."""
    walk = _Walk("copy", frozenset(path.resolve() for path in exclude), None, Lists(), may_wait=True)
    return _listed(entries, watched, walk)


def folder_requests(folder: SourceRequest, download: Download) -> Gathered:
    """What a folder of S3 holds now. Errors: VidpipeError where it cannot be listed."""
    walk = _Walk("copy", frozenset(), Buckets(download), Lists(), may_wait=True)
    gathered = Gathered()
    for found in _remote(folder, walk):
        gathered.put(found)
    return gathered
