"""From what the user gave (URLs, files, folders, lists) to source requests.

Every input is handled by itself: an invalid one becomes a refused outcome, and the others continue.
"""

from __future__ import annotations

import logging
import re
import stat
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from vidpipe.errors import VidpipeError, readable
from vidpipe.safe_files import check_regular, file_url_path
from vidpipe.settings import Settings
from vidpipe.sources.containers import VIDEO_SUFFIXES
from vidpipe.sources.fetchers.registry import Fetchers, kind_of, schemes
from vidpipe.sources.fetchers.s3 import S3Address
from vidpipe.sources.list_files import LIST_SUFFIXES, TABLE_SUFFIXES, read_list
from vidpipe.sources.lists import Lines, ListEntry, ListProblem, first_few
from vidpipe.sources.local_files import LocalMode, SkippedFiles, videos_below
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceKind
from vidpipe.sources.source_data import StatedByUser
from vidpipe.sources.urls import (
    SourceUrl,
    canonical_url,
    invalid_character,
    loses_fragment,
    misleading_character,
    redacted_url,
    scrub,
    windows_1252,
)

log = logging.getLogger(__name__)

_LONGEST_SCHEME = 12
#: Servers accept less, and lines of text lists are not longer.
_LONGEST_URL = 8192
_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class SourceRequest(StatedByUser):
    """One URL or file to add.

    Attributes:
        url: The canonical URL.
        kind: Where the bytes come from.
        path: Of a local file.
        mode: How a local file is added.
        given: As the user gave it, without secrets.
        fragment_dropped: It was given with a fragment, which is not part of the URL.
        version: Of a file in a folder: see `ListedFile`.
    """

    url: SourceUrl
    kind: SourceKind = "http"
    path: Path | None = None
    mode: LocalMode = "copy"
    given: str = ""
    fragment_dropped: bool = False
    version: str = ""

    @property
    def id(self) -> str:
        """Id of the source."""
        return self.url.id

    @property
    def has_secret(self) -> bool:
        """Whether the URL contains a secret."""
        return self.url.display_url != self.url.reveal()

    @property
    def identity(self) -> dict[str, Any]:
        """What a record of the source contains from the start."""
        names = ("id", "has_secret", "fragment_dropped", "kind")
        return {"url": self.url.display_url, **{name: getattr(self, name) for name in names}}

    @property
    def user_fields(self) -> dict[str, object]:
        """What the request sets besides the URL."""
        return {name: value for name, value in self.stated.items() if value not in (None, ())}


@dataclass
class Gathered:
    """What the inputs contain.

    Attributes:
        requests: Each source once, in the order given.
        problems: Inputs that cannot be added.
        notes: Messages about lists and folders.
    """

    requests: list[SourceRequest] = field(default_factory=list)
    problems: list[IngestOutcome] = field(default_factory=list)
    notes: list[IngestNote] = field(default_factory=list)

    @classmethod
    def of(cls, everything: Iterable[Found]) -> Gathered:
        """Collect what was found; a source that is found again counts once."""
        gathered, requests = cls(), dict[str, SourceRequest]()
        for found in everything:
            if isinstance(found, IngestOutcome):
                gathered.problems.append(found)
            elif isinstance(found, IngestNote):
                gathered.notes.append(found)
            else:
                requests.setdefault(found.id, found)
        gathered.requests += requests.values()
        return gathered


Found = SourceRequest | IngestOutcome | IngestNote
#: Returns the name and the rows of the list at the URL of a database; takes the settings and the most rows, too.
ReadDatabase = Callable[[str, Settings, int | None], tuple[str, Lines]]
DATABASE_SCHEMES = ("mongodb", "mongodb+srv")


@dataclass(frozen=True)
class _GatherOptions:
    """How inputs are expanded.

    Attributes:
        mode: How local files are added.
        exclude: Folders that are skipped.
        fetchers: List folders and playlists; None leaves them unlisted.
        settings: Those in force.
        every: All videos of a page, not only the best one.
        limit: Most entries of a folder, playlist or page.
        seen: Ids of the sources so far.
        may_be_empty: A folder without a video is not an error: one may be added later.
        read_database: Reads a list from a database; None refuses its URL.
    """

    mode: LocalMode
    exclude: frozenset[Path]
    fetchers: Fetchers | None
    settings: Settings
    every: bool = False
    limit: int | None = None
    seen: set[str] = field(default_factory=set)
    may_be_empty: bool = False
    read_database: ReadDatabase | None = None


def gather(
    inputs: Iterable[str | Path],
    *,
    mode: LocalMode = "copy",
    exclude: Collection[Path] = (),
    settings: Settings | None = None,
    every: bool = False,
    limit: int | None = None,
    read_database: ReadDatabase | None = None,
) -> Gathered:
    """Return the requests for `inputs`; a source that is given twice is requested once.

    Args:
        inputs: URLs, remote folders and playlists, video files, folders (all videos below), tables with a url column,
            and lists (.txt: one URL or path per line, # comments).
        mode: How local files are added.
        exclude: Folders below a given one that are skipped: the media store itself, if it is there.
        settings: Those in force; the defaults if None.
        every: Take all videos of a page, not only the best one.
        limit: Most entries of a folder, playlist or page, and most rows of a database.
        read_database: Reads the list of a mongodb:// input; without it, and inside lists, such a URL is refused.
    """
    settings = settings or Settings(home=Path())
    excluded = frozenset(path.resolve() for path in exclude)
    options = _GatherOptions(mode, excluded, Fetchers(settings), settings, every, limit, read_database=read_database)
    return Gathered.of(found for given in inputs for found in _expand(str(given), options))


def request_for(text: str, *, mode: LocalMode = "copy", base: Path | None = None, quoted: bool = True) -> SourceRequest:
    """Return the request for one URL, object of S3 or local file.

    Args:
        text: As the user gave it.
        mode: How a local file is added.
        base: Folder of relative paths.
        quoted: Begin errors with the text, its secrets masked. Otherwise, errors reveal nothing of it, since it may be
            a line of a private file.

    Raises:
        VidpipeError: It is none of these.
    """
    try:
        return _request(text, mode, Path(base or ""))
    except VidpipeError as error:
        if not quoted:
            raise
        raise VidpipeError(f"{_displayed(text)}: {error.message}", error.hint) from None


def _displayed(text: str) -> str:
    text = redacted_url(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _request(text: str, mode: LocalMode, base: Path) -> SourceRequest:
    scheme = url_scheme(text)
    if scheme:
        text = text.strip()
    if scheme and len(text) > _LONGEST_URL:
        raise VidpipeError(f"the URL has {len(text)} characters; at most {_LONGEST_URL} are allowed.")
    if scheme in schemes() and (character := invalid_character(text)):
        raise VidpipeError(
            f"the URL contains {character}, which is not allowed in a URL.", "Remove or percent-encode it."
        )
    if scheme in ("http", "https") and re.search(r" [a-z0-9+]+://", text, re.IGNORECASE):
        raise VidpipeError("this contains two URLs.", "Give them one by one.")
    if scheme in schemes():
        url = SourceUrl(str(S3Address.parse(text)) if scheme == "s3" else canonical_url(text, schemes()))
        kind = kind_of(url.reveal())
        if kind is not None:
            lost = scheme not in ("s3", "dropbox") and loses_fragment(text)
            return SourceRequest(url, kind, given=url.display_url, fragment_dropped=lost)
    if scheme not in ("", "file"):
        raise VidpipeError(
            f"{scheme[:_LONGEST_SCHEME]}:// is not supported.",
            f"Give the path of a local file or a URL of one of these kinds: {', '.join(schemes())}.",
        )
    if not text.strip():
        raise VidpipeError("the path is empty.")
    path = _local(text, base)
    return SourceRequest(SourceUrl(path.as_uri()), "file", path, mode, given=readable(redacted_url(text)))


def _local(text: str, base: Path) -> Path:
    """Return the existing file or folder of a path or file URL, links followed.

    A name is tried as it is, then without surrounding whitespace, then with bytes that are not UTF-8 decoded as
    Windows-1252.
    """
    hint = "Check the path; a URL begins with https://." if "." in text and "/" in text else "Check the path."
    try:
        for name in dict.fromkeys((text, text.strip(), windows_1252(text))):
            is_url = bool(url_scheme(name))
            path = file_url_path(name) if is_url else Path(base, Path(name).expanduser())
            if path.exists() and (path.is_absolute() or not is_url):
                if not path.is_dir() and not stat.S_ISREG(check_regular(path).st_mode):
                    raise VidpipeError("this is a pipe.", "Pass a list from a pipe through stdin: `vidpipe add -`.")
                return path.resolve()
        character = misleading_character(text)
        contains = f" (the name contains {character})" if character else ""
        raise VidpipeError(f"no such file or folder{contains}.", hint)
    except OSError as error:  # a name that is too long, a folder without permission
        raise VidpipeError(f"{error.strerror or type(error).__name__}.", hint) from None
    except (ValueError, RuntimeError):  # not a URL, or the home of a user that does not exist
        raise VidpipeError("this is not a valid path.", hint) from None


def url_scheme(text: str) -> str:
    """Return the scheme of a URL in lower case; empty for a path (a drive letter is not a scheme)."""
    scheme, separator, _ = text.lstrip().partition("://")
    return scheme.lower() if separator and scheme.replace("+", "").isalnum() else ""


def _problem(given: str, error: VidpipeError) -> IngestOutcome:
    return IngestOutcome(input=readable(_displayed(given)), state="refused", error=str(error))


def _expand(given: str, options: _GatherOptions) -> Iterator[Found]:
    try:
        if options.read_database and url_scheme(given) in DATABASE_SCHEMES:
            name, lines = options.read_database(given.strip(), options.settings, options.limit)
            yield from _listed(lines, Path(name), options)
            return
        request = request_for(given, mode=options.mode)
        path = request.path
        if path is None or path.is_dir():
            yield from _videos(request, given, options)
        elif path.suffix.lower() in TABLE_SUFFIXES | LIST_SUFFIXES:
            lines = read_list(path, options.settings.lists)
            notes = lines.notes if lines.keys else (*lines.notes, f"{Path(given).name} contains no source.")
            yield from (IngestNote(readable(given), readable(sentence)) for sentence in notes)
            yield from _listed(lines, path, options)
        else:
            yield request
    except VidpipeError as error:
        yield _problem(_shown(given), error)
    except Exception as unexpected:
        yield _problem(_shown(given), _unexpected(given, unexpected, _shown(given)))


def _shown(given: str) -> str:
    """Return an input for messages; of a database only the scheme, since the rest may be secret."""
    return f"{url_scheme(given)}://…" if url_scheme(given) in DATABASE_SCHEMES else _displayed(given)


def _unexpected(given: str, error: Exception, shown: str) -> VidpipeError:
    """Return the error for an unexpected one, so that one input does not stop the others."""
    trace = scrub("".join(traceback.format_exception(error)), given)
    log.error("Unexpected error while reading %s:\n%s", shown, trace)
    return VidpipeError(f"{shown}: unexpected error ({type(error).__name__}).", "Please report this bug.")


def _listed(entries: Iterable[ListEntry | ListProblem], path: Path, options: _GatherOptions) -> Iterator[Found]:
    """Expand the entries of a list. Invalid lines are reported by number only: the file may be private."""
    repeated: list[str] = []
    for entry in entries:
        where = readable(f"{path.name}, line {entry.line}")
        if isinstance(entry, ListProblem):
            yield IngestOutcome(input=where, state="refused", error=f"{where}: {entry.sentence}")
            continue
        try:
            request = request_for(entry.text, mode=options.mode, base=path.parent, quoted=False)
            for one in _videos(request, entry.text, options):
                if isinstance(one, SourceRequest):
                    # the title of a folder is not that of its videos
                    title = entry.title if one == request else one.title
                    if entry.segments and one != request:
                        raise VidpipeError("start and end are those of a video, and this is a folder.")
                    if one == request and one.id in options.seen:
                        repeated.append(str(entry.line))
                    options.seen.add(one.id)
                    yield replace(one, **entry.stated | {"title": title})
                else:
                    yield one
        except VidpipeError as error:
            yield _problem(where, VidpipeError(f"{where}: {error}"))
        except Exception as unexpected:
            yield _problem(where, _unexpected(entry.text, unexpected, where))
    if repeated:
        sentence = f"{path.name}: ignored lines that repeat an earlier source: {first_few(repeated)}."
        yield IngestNote(readable(str(path)), readable(sentence))


def _videos(request: SourceRequest, given: str, options: _GatherOptions) -> Iterator[Found]:
    """Yield the request itself or, for a folder, playlist or page, one for each video in it.

    Args:
        request: The request.
        given: As it is given, which names the folder in messages.
        options: How it is expanded.

    Raises:
        VidpipeError: A remote folder cannot be listed.
    """
    skipped = SkippedFiles()
    if request.path is not None and request.path.is_dir():
        name, found = given, _local_videos(request.path, skipped, options)
    elif request.path is None and options.fetchers and (options.every or _is_folder(request, options.fetchers)):
        name, given = request.url.display_url, request.given
        found = _listed_files(request, skipped, options.fetchers, options.limit)
    else:
        yield request
        return
    any_found = False
    for one in islice(found, options.limit):
        any_found = True
        yield one
    if note := skipped.note(given):
        yield note
    for fault in skipped.unreadable:
        yield _problem(str(fault.filename), VidpipeError(f"{fault.filename} cannot be read: {fault.strerror}."))
    if not any_found and not options.may_be_empty:
        yield _problem(given, VidpipeError(f"{name}: no video in this folder or below."))


def _is_folder(request: SourceRequest, fetchers: Fetchers) -> bool:
    return fetchers.of_kind(request.kind).is_folder(request.url.reveal())


def _listed_files(
    folder: SourceRequest, skipped: SkippedFiles, fetchers: Fetchers, limit: int | None
) -> Iterator[Found]:
    """Yield requests for the videos in a remote folder, recognized by their suffixes, or in a playlist or page.

    Files whose path below the folder has a part that begins with a dot are skipped like hidden files.
    """
    base = folder.url.reveal()
    for one in islice(fetchers.of_kind(folder.kind).listing(folder.url, limit), limit):  # a channel has several tabs
        if base.endswith("/") and one.url.startswith(base):
            if one.url.endswith("/"):
                continue
            hidden = any(part.startswith(".") for part in one.url[len(base) :].split("/"))
            if hidden or PurePosixPath(one.url).suffix.lower() not in VIDEO_SUFFIXES:
                skipped.count("a hidden file" if hidden else "not named like a video")
                continue
        try:
            yield replace(request_for(one.url), title=one.title, version=one.version)
        except VidpipeError as error:
            yield _problem(folder.given, error)


def _local_videos(folder: Path, skipped: SkippedFiles, options: _GatherOptions) -> Iterator[Found]:
    for path in videos_below(folder, options.exclude, skipped):
        yield SourceRequest(SourceUrl(path.as_uri()), "file", path, options.mode, given=readable(str(path)))


def local_path(text: str) -> bool:
    """Return whether a line of a list names something on this machine."""
    return url_scheme(text) in ("", "file")


def local_requests(entries: Iterable[ListEntry], watched: Path, exclude: Collection[Path]) -> Gathered:
    """Return what the local files and folders in the list `watched` contain now. An empty folder is not an error."""
    excluded = frozenset(path.resolve() for path in exclude)
    options = _GatherOptions("copy", excluded, None, Settings(home=Path()), may_be_empty=True)
    return Gathered.of(_listed(entries, watched, options))


def folder_requests(folder: SourceRequest, settings: Settings) -> Gathered:
    """Return what a remote folder or playlist contains now.

    Raises:
        VidpipeError: It cannot be listed.
    """
    options = _GatherOptions("copy", frozenset(), Fetchers(settings), settings, may_be_empty=True)
    return Gathered.of(_videos(folder, folder.given, options))
