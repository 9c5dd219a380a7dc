"""From what the user gave (URLs, files, folders, lists) to source requests.

Every input is handled by itself: an invalid one becomes a refused outcome, and the others continue.
"""

import logging
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from vidpipe.errors import VidpipeError, readable
from vidpipe.settings import Settings
from vidpipe.sources.containers import VIDEO_SUFFIXES
from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.list_files import LIST_SUFFIXES, TABLE_SUFFIXES, read_list
from vidpipe.sources.lists import Lines, ListEntry, ListProblem, first_few
from vidpipe.sources.local_files import LocalMode, SkippedFiles, videos_below
from vidpipe.sources.records import IngestNote, IngestOutcome
from vidpipe.sources.source_request import SourceRequest, displayed, request_for, url_scheme
from vidpipe.sources.urls import SourceUrl, scrub

log = logging.getLogger(__name__)


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
    def of(cls, everything: "Iterable[Found]") -> "Gathered":
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


def _problem(given: str, error: VidpipeError) -> IngestOutcome:
    return IngestOutcome(input=readable(displayed(given)), state="refused", error=str(error))


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
    return f"{url_scheme(given)}://…" if url_scheme(given) in DATABASE_SCHEMES else displayed(given)


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
    elif (
        request.path is None
        and options.fetchers
        and (options.every or options.fetchers.of_kind(request.kind).is_folder(request.url.reveal()))
    ):
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
