"""Inputs of a command: those that name videos of the library, and those that are taken in first."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidpipe.cli.call import Opened
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.output import note, print_error
from vidpipe.cli.running import plain_report, run_and_show
from vidpipe.cli.work import Adding, take_in
from vidpipe.errors import VidpipeError
from vidpipe.ingest.records import IngestNote, IngestOutcome, SourceRecord
from vidpipe.ingest.urls import readable_url, redacted_url
from vidpipe.library.videos import NoSuchVideo
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.settings import audit

if TYPE_CHECKING:
    from vidpipe.ingest.sources import SourceRequest

_FAILED = ("failed", "refused")
_INTERRUPTED = 130
#: Bytes of a line of stdin.
_LONGEST_LINE = 1 << 16


@dataclass
class SortedInputs:
    """
    known:   an outcome for each input that names a video of the library
    new:     inputs to take in
    unknown: (input, error) for each that is neither
    """

    known: list[IngestOutcome] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unknown: list[tuple[str, NoSuchVideo]] = field(default_factory=list)


def add_and_run(
    opened: Opened,
    inputs: Sequence[str],
    adding: Adding,
    request: RunRequest,
    *,
    refused: Sequence[IngestOutcome] = (),
    output: str | None = None,
    overridden: frozenset[str] = frozenset(),
    as_json: bool,
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Takes in what is not in the library yet, and fulfils `request` for it and for the videos that `inputs` name.

    Returns what became of the inputs, the report of the run, and the exit code. Raises NoSuchVideo where no input is
    a video, a file or a URL; where only some are not, they are reported and the others are processed.
    """
    given = sort_inputs(opened, inputs, adding)
    if given.unknown and not (given.known or given.new or refused):
        hint = given.unknown[0][1].hint
        raise NoSuchVideo("\n".join(error.message for _, error in given.unknown), hint)
    for _, error in given.unknown:
        print_error(error)
    outcomes: list[IngestOutcome] = []
    notes: list[IngestNote] = []
    code = NoSuchVideo.exit_code if given.unknown else 0
    if given.new or refused or not given.known:
        outcomes, notes, taken_code = add_and_show(opened, given.new, adding, refused)
        code = max(code, taken_code)
    unknown = [IngestOutcome(redacted_url(text), "refused", error=error.message) for text, error in given.unknown]
    result = plain_outcomes([*given.known, *outcomes, *unknown], notes)
    videos = list(dict.fromkeys(one.video for one in (*given.known, *outcomes) if one.video))
    if not videos or code == _INTERRUPTED:
        return result, plain_report(RunReport(interrupted=code == _INTERRUPTED), opened.library.graph.names), code
    report, run_code = run_and_show(
        opened,
        request.model_copy(update={"videos": tuple(videos)}),
        output=output,
        overridden=overridden,
        as_json=as_json,
    )
    return result, report, max(code, run_code)


def add_and_show(
    opened: Opened, inputs: Sequence[str], adding: Adding, refused: Sequence[IngestOutcome] = ()
) -> tuple[list[IngestOutcome], list[IngestNote], int]:
    """Adds `inputs` and shows the outcome of each, and of those that were `refused` before. Returns the outcomes, the
    notes and the exit code."""
    from vidpipe.cli.download_progress import AddDisplay

    with AddDisplay() as display:
        taken = stoppable(lambda cancelled: take_in(opened, inputs, adding, display, cancelled), display.say)
        outcomes = [*refused, *taken]
        for outcome in outcomes:
            display.tell(outcome)
            audit("source", **_plain(outcome))
    states: Counter[str] = Counter(outcome.state for outcome in outcomes)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    note(f"{counts}." if counts else "Nothing given.")
    if states["cancelled"]:
        note("Stopped. The same command resumes it; partial downloads are kept.", "yellow")
        return outcomes, display.notes, _INTERRUPTED
    return outcomes, display.notes, 1 if any(states[state] for state in _FAILED) else 0


def sort_inputs(opened: Opened, inputs: Iterable[str], adding: Adding) -> SortedInputs:
    """What exists as a file, folder or list is that; what else names a video of the library is that video; any other
    URL is to be taken in."""
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


def _video(opened: Opened, text: str, adding: Adding) -> str | None:
    """The library's video that `text` means; None where it is to be taken in. Raises NoSuchVideo where it is neither,
    or names several videos."""
    from vidpipe.ingest.sources import request_for, urlsplit_scheme

    videos = opened.library.videos
    try:
        request = request_for(text)
    except VidpipeError as error:
        if videos.named(text):
            return videos.resolve(text)
        if urlsplit_scheme(text) not in ("", "file"):
            return None  # refused when it is taken in, with a sentence about this address
        raise NoSuchVideo(
            f"No video of the library is known under '{text}', and it cannot be added: {error.message}",
            "`vidpipe list` shows the videos; a URL begins with https://.",
        ) from None
    asks_again = adding.mode is not None or adding.refresh or adding.labels or adding.title
    return None if asks_again else _known(opened, text, request)


def _known(opened: Opened, text: str, request: SourceRequest) -> str | None:
    """The library's video that `request` was, or would be, taken in as; None where it has to be asked for."""
    videos = opened.library.videos
    record = opened.library.sources.get_many([request.id]).get(request.id)
    if record is not None and _as_stored(request, record):
        return record.video
    # with a secret in it, a URL is the one it is by its id only: what is stored of it says less
    named = [] if request.has_secret else videos.named(text)
    if request.path is None:
        return named[0] if record is None and len(named) == 1 else None
    if request.path.is_relative_to(opened.settings.media_directory.resolve()):
        stored = videos.named(opened.settings.relative(request.path))
        return stored[0] if len(stored) == 1 else None
    others = set(named) - ({record.video, *record.earlier_videos} if record is not None else set())
    if others:
        shown = ", ".join(sorted(video[:12] for video in others)[:5])
        note(f"{text} is taken as the path that it is here; by name it is also {shown} of the library.")
    return None


def _as_stored(request: SourceRequest, record: SourceRecord) -> bool:
    """Whether the source gave a video, and a local file is as it was then."""
    return record.state == "stored" and (request.path is None or record.is_of(request.path.stat()))


def with_stdin(
    inputs: Sequence[str], known: Callable[[str], bool] = lambda line: False
) -> tuple[list[str], list[IngestOutcome]]:
    """`inputs` with `-` replaced by the lines of stdin, without empty lines and # comments; and the lines that are
    neither a source nor `known`, which are reported by number only: stdin may be a private file."""
    from vidpipe.ingest.sources import request_for

    found: list[str] = []
    refused: list[IngestOutcome] = []
    for given in inputs:
        if given != "-":
            found.append(given)
            continue
        # as bytes: a path may hold some that are not UTF-8
        for number, data in enumerate(iter(lambda: sys.stdin.buffer.readline(_LONGEST_LINE), b""), start=1):
            line = os.fsdecode(data.rstrip(b"\r\n"))
            if not os.path.lexists(line):  # a name may end in a blank
                line = line.strip()
            if not line or line.startswith("#"):
                continue
            where = f"stdin, line {number}"
            try:
                if len(data) == _LONGEST_LINE:
                    raise VidpipeError(f"the line is longer than {_LONGEST_LINE} bytes; nothing more is read.")
                if not known(line):
                    request_for(line, quoted=False)
                found.append(line)
            except VidpipeError as error:
                refused.append(IngestOutcome(where, "refused", error=f"{where}: {error}"))
            if len(data) == _LONGEST_LINE:
                break
    return found, refused


def plain_outcomes(outcomes: Sequence[IngestOutcome], notes: Sequence[IngestNote]) -> dict[str, Any]:
    return {
        "inputs": [_plain(outcome) for outcome in outcomes],
        "counts": dict(Counter(outcome.state for outcome in outcomes)),
        "notes": [{"input": one.input, "note": one.sentence, "skipped": one.skipped} for one in notes],
    }


def _plain(outcome: IngestOutcome) -> dict[str, Any]:
    source = outcome.source
    return {
        "input": outcome.input,
        "state": outcome.state,
        "video": outcome.video,
        "error": outcome.error,
        "transient": outcome.transient,
        "known": outcome.known,
        "note": outcome.note,
        "failed_at": source.failed_at if source else None,
        "url": readable_url(source.url) if source else None,
        "attempts": source.attempts if source else 0,
        "next_try_at": source.next_try_at if source else None,
    }
