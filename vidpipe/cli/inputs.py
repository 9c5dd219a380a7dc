"""Inputs of a command: names of videos in the library, and URLs and files to add first."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.output import note
from vidpipe.cli.progress import AddDisplay
from vidpipe.errors import VidpipeError
from vidpipe.library.videos import NoSuchVideo
from vidpipe.settings import audit
from vidpipe.sources.local_files import LocalMode
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord
from vidpipe.sources.source_request import SourceRequest, request_for, url_scheme
from vidpipe.sources.urls import redacted_url

#: Maximum bytes of a line of stdin.
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class Adding:
    """Options of `vidpipe add`, as in `run_ingest`; mode None means not given, i.e. copy."""

    mode: LocalMode | None = None
    labels: tuple[str, ...] = ()
    title: str = ""
    retry: bool = False
    refresh: bool = False
    include_forgotten: bool = False
    every: bool = False
    limit: int | None = None


@dataclass
class SortedInputs:
    """Inputs by kind.

    Attributes:
        known: An outcome for each input that names a video in the library.
        new: Inputs to add.
        unknown: (input, error) for each input that is neither.
    """

    known: list[IngestOutcome] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unknown: list[tuple[str, NoSuchVideo]] = field(default_factory=list)


def add_and_show(
    opened: OpenLibrary, inputs: Sequence[str], adding: Adding, refused: Sequence[IngestOutcome] = ()
) -> tuple[list[IngestOutcome], list[IngestNote], int]:
    """Add `inputs` and show the outcome of each, and of those already `refused`.

    Returns:
        The outcomes, the notes and the exit code.
    """
    with AddDisplay() as display:

        def work(cancelled: threading.Event) -> list[IngestOutcome]:
            from vidpipe.pipeline.ingest import run_ingest  # imports Dagster

            options: dict[str, Any] = {**vars(adding), "mode": adding.mode or "copy"}
            return run_ingest(
                opened.settings, inputs, observer=display, cancelled=cancelled, library=opened.library, **options
            )

        taken = stoppable(work, display.say)
        outcomes = [*refused, *taken]
        for outcome in outcomes:
            display.print_outcome(outcome)
            audit("source", **outcome.as_json())
    states: Counter[str] = Counter(outcome.state for outcome in outcomes)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    note(f"{counts}." if counts else "No inputs.")
    if states["cancelled"]:
        note("Stopped. Re-run the command to resume; partial downloads are kept.", "yellow")
        return outcomes, display.notes, INTERRUPTED
    return outcomes, display.notes, 1 if states["failed"] + states["refused"] + states["gone"] else 0


def sort_inputs(opened: OpenLibrary, inputs: Iterable[str], adding: Adding) -> SortedInputs:
    """Sort inputs into known videos, new inputs and unknown names.

    An existing file, directory or list is used as such; otherwise a name of a video in the library means that video;
    any other URL is new.
    """
    found = SortedInputs()
    for text in dict.fromkeys(inputs):
        try:
            video = _video(opened, text, adding)
        except NoSuchVideo as error:
            found.unknown.append((text, error))
            continue
        if video is None:
            found.new.append(text)
        else:
            found.known.append(IngestOutcome(redacted_url(text), "already stored", video=video))
    return found


def _video(opened: OpenLibrary, text: str, adding: Adding) -> str | None:
    """Return the video that `text` names; None if it is to be added.

    Raises NoSuchVideo if it is neither, or names several videos.
    """
    videos = opened.library.videos
    try:
        request = request_for(text)
    except VidpipeError as error:
        if videos.named(text):
            return videos.resolve(text)
        if url_scheme(text) not in ("", "file"):
            return None  # adding it rejects it with an error about this URL
        raise NoSuchVideo(
            f"No video in the library is called '{text}', and it cannot be added: {error.message}",
            "`vidpipe list` shows the videos; URLs start with https://.",
        ) from None
    asks_again = adding.mode is not None or adding.refresh or adding.every or adding.labels or adding.title
    return None if asks_again else _known(opened, text, request)


def _known(opened: OpenLibrary, text: str, request: SourceRequest) -> str | None:
    """Return the video that `request` was stored as; None if it must be fetched."""
    videos = opened.library.videos
    record = opened.library.sources.get_many([request.id]).get(request.id)
    if record is not None and _as_stored(request, record):
        return record.video
    # a URL with a secret is identified by its id alone: the stored form is redacted
    named = [] if request.has_secret else videos.named(text)
    if request.path is None:
        return named[0] if record is None and len(named) == 1 else None
    if request.path.is_relative_to(opened.settings.media_directory.resolve()):
        stored = videos.named(opened.settings.relative(request.path))
        return stored[0] if len(stored) == 1 else None
    others = set(named) - ({record.video, *record.earlier_videos} if record is not None else set())
    if others:
        shown = ", ".join(sorted(video[:12] for video in others)[:5])
        note(f"{text} is used as a local path; the library also has a video of that name: {shown}.")
    return None


def _as_stored(request: SourceRequest, record: SourceRecord) -> bool:
    """Return whether the source produced a video and a local file is unchanged since."""
    return record.state == "stored" and (request.path is None or record.is_of(request.path.stat()))


def with_stdin(
    inputs: Sequence[str], known: Callable[[str], bool] = lambda line: False
) -> tuple[list[str], list[IngestOutcome]]:
    """Replace `-` in `inputs` by the lines of stdin, without empty lines and # comments.

    Returns:
        The inputs, and an outcome for each line that is neither a source nor `known`. These are reported by line
        number only: stdin may be a private file.
    """
    found: list[str] = []
    refused: list[IngestOutcome] = []
    for given in inputs:
        if given != "-":
            found.append(given)
            continue
        # as bytes: a path may not be valid UTF-8
        for number, data in enumerate(iter(lambda: sys.stdin.buffer.readline(_LONGEST_LINE), b""), start=1):
            line = os.fsdecode(data.rstrip(b"\r\n"))
            if not os.path.lexists(line):  # a file name may end in a space
                line = line.strip()
            if not line or line.startswith("#"):
                continue
            where = f"stdin, line {number}"
            try:
                if len(data) == _LONGEST_LINE:
                    raise VidpipeError(f"the line is longer than {_LONGEST_LINE} bytes; reading stops here.")
                if not known(line):
                    request_for(line, quoted=False)
                found.append(line)
            except VidpipeError as error:
                refused.append(IngestOutcome(where, "refused", error=f"{where}: {error}"))
            if len(data) == _LONGEST_LINE:
                break
    return found, refused
