"""vidpipe duplicates: videos that are copies or parts of each other."""

from typing import Annotated

import typer

from vidpipe.cli.context import OpenLibrary, command_context, open_library, user_name
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, duration, note, out, print_json, size, table, words
from vidpipe.cli.progress import RunDisplay
from vidpipe.cli.video_selection import many_progress
from vidpipe.datasets.duplicates.alignment import Match
from vidpipe.datasets.duplicates.decisions import DistinctPair, mark_distinct, withdraw_distinct
from vidpipe.datasets.duplicates.library import STAGE, Duplicates, duplicates_of, find_matches, not_compared
from vidpipe.errors import SettingsError
from vidpipe.runner.request import RunRequest
from vidpipe.tagging.validation import validated

_MOST_LISTED = 20


def duplicates(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO", help="Only copies and parts of these: hash prefixes, URLs or file names."),
    ] = None,
    *,
    min_score: Annotated[float, typer.Option("--min-score", min=0, max=1, help="Only matches of this score.")] = 0.0,
    distinct: Annotated[
        tuple[str, str] | None,
        typer.Option("--not", metavar="VIDEO OTHER", help="Remember that two are no duplicates."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Withdraw what --not said of the two.")] = False,
    why: Annotated[str, typer.Option("--note", help="Why they are not; stored with --not.")] = "",
    as_json: Json = False,
) -> int:
    """Find videos that are copies or parts of each other.

    Of each group of copies, the command says which to keep and why; it removes nothing. Videos without a
    fingerprint get one first. It is stored, so the next call only compares.
    """
    if distinct:
        return _decide(context, *distinct, why, undo=undo, as_json=as_json)
    if undo or why:
        raise SettingsError("--undo and --note belong to --not VIDEO OTHER.")
    enabled = command_context(context).load().settings.analyses.enabled
    with open_library(context, {} if STAGE in enabled else {"analyses.enabled": (*enabled, STAGE)}) as opened:
        videos = [opened.library.videos.resolve(name) for name in named or ()]
        if not make_fingerprints(opened):
            note("Stopped. Finished fingerprints are stored; the same command resumes.", "yellow")
            return INTERRUPTED
        with many_progress("Comparing") as progress:
            matches = find_matches(opened.library, videos, progress)
        found = duplicates_of(opened.library, matches, min_score=min_score, videos=videos)
        missing = list(not_compared(opened.library))
    if as_json:
        reasons = [dict(zip(("video", "name", "reason"), one, strict=True)) for one in missing]
        print_json({**found.model_dump(exclude={"next"}), "not_compared": reasons})
        return 0
    _show(found)
    for sha256, name, reason in missing[:_MOST_LISTED]:
        note(f"Not compared: {name} ({sha256[:12]}). {reason}", "yellow")
    if len(missing) > _MOST_LISTED:
        note(f"… and {len(missing) - _MOST_LISTED} more; --json lists all.")
    return 0


def make_fingerprints(opened: OpenLibrary) -> bool:
    """Make the fingerprints that are due, showing the progress on stderr; return whether nobody stopped it.

    The library must be open with the analysis enabled.
    """
    if not (due := opened.library.states.due({STAGE: opened.plan.specs[STAGE]})):
        return True
    from vidpipe.pipeline.in_process_run import run_process

    request, graph = RunRequest(stages=(STAGE,)), opened.library.graph
    with RunDisplay([STAGE], len(due)) as display:
        return not stoppable(
            lambda cancelled: run_process(opened.settings, request, observer=display, cancelled=cancelled, graph=graph,
                                          library=opened.library),
            display.say,
        ).interrupted  # fmt: skip


def _decide(context: typer.Context, video: str, other: str, why: str, *, undo: bool, as_json: bool) -> int:
    with open_library(context) as opened:
        said = {"video": opened.library.videos.resolve(video), "other": opened.library.videos.resolve(other)}
        pair = validated(DistinctPair, {**said, "by": user_name(), "note": why}, "The decision")
        changed = not undo or withdraw_distinct(opened.library, pair.video, pair.other, pair.by)
        pair = pair if undo else mark_distinct(opened.library, pair)
    if as_json:
        print_json({**pair.model_dump(), "distinct": not undo, "changed": changed})
    else:
        note("There was no decision about these two." if not changed else "Withdrawn." if undo else "Remembered.")
    return 0


def _show(found: Duplicates) -> None:
    made = table("video", "name", "picture", "length", "size", "finding")

    def add(sha256: str, text: str) -> None:
        one = found.videos[sha256]
        figures = (f"{one.width}x{one.height}", duration(one.duration_s), size(one.size_bytes))
        made.add_row(sha256[:12], words(one.name), *figures, words(text))

    for group in found.groups:
        add(group.keep, f"to keep. {group.why}")
        for copy in group.copies:
            add(copy.video, _said(copy, found))
        made.add_section()
    for part in found.parts:
        add(part.video, _said(part, found))
    if made.rows:
        out().print(made)
    note(f"{counted(found.compared, 'video')} compared: {counted(len(found.groups), 'group')} of copies, "
         f"{counted(len(found.parts), 'part')} of longer videos.")  # fmt: skip
    if copies := [copy.video[:12] for group in found.groups for copy in group.copies[:_MOST_LISTED]][:_MOST_LISTED]:
        note(f"`vidpipe forget {' '.join(copies)}` removes copies; --not VIDEO OTHER says that two are no duplicates.")


def _said(match: Match, found: Duplicates) -> str:
    times = (match.start_s, match.end_s, match.other_start_s, match.other_end_s)
    start, end, other_start, other_end = map(duration, times)
    there = f"{other_start}–{other_end} of {found.videos[match.other].name}"
    return f"a {'mirrored ' * match.mirrored}{match.kind}: {start}–{end} shows {there}; score {match.score:.2f}"
