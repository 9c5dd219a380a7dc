"""vidpipe run: bring videos up to date."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.export import export_to
from vidpipe.cli.inputs import Adding, add_and_show, sort_inputs, with_stdin
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import (
    FileMode,
    Json,
    Output,
    Refetch,
    Search,
    Stages,
    overridden_settings,
    stage_names,
    with_overrides,
)
from vidpipe.cli.output import counted, duration, note, out, print_error, print_json, say_problem, table, words
from vidpipe.cli.progress import RunDisplay
from vidpipe.cli.video_selection import chosen_videos
from vidpipe.library.videos import NoSuchVideo
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RESULT_STATES, RunReport, RunRequest
from vidpipe.settings import Settings, audit
from vidpipe.sources.records import IngestNote, IngestOutcome, outcomes_as_json
from vidpipe.sources.urls import redacted_url


@with_overrides
def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO|URL|FILE",
            help="Videos in the library (hash prefixes, names, URLs), or inputs of `vidpipe add`: URLs, files, "
            "folders, lists, - for stdin. Default: all due videos.",
        ),
    ] = None,
    *,
    search: Search = None,
    stages: Stages = None,
    mode: FileMode = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Retry failed and quarantined videos, and failed sources.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Recompute up-to-date results too.")] = False,
    refetch: Refetch = False,
    as_json: Json = False,
    overrides: Mapping[str, Any],
    output: Output = None,
) -> int:
    """Bring videos up to date: compute only what is due.

    A failed video never stops the others. URLs and files that are not in the library are added first. An existing path
    is used as a file, folder or list, even if a video in the library has the same name; a file that is unchanged
    since it was added means its video. Anything else is the name of a video in the library, or a URL to download.

    Options that override settings apply to this call only, also when deciding what is due.
    """
    names = stage_names(stages)
    names = ["raw_video", *names] if names and refetch else names
    with open_library(context, overrides) as opened:
        if names:
            Plan.make(opened.library.graph, opened.settings, names).close()  # rejects unknown stage names
        request = RunRequest(stages=names, retry=retry, refetch=refetch)
        if force:
            request = request.model_copy(update={"force": frozenset(request.stage_names(opened.library.graph.names))})
        changed = overridden_settings(overrides)
        if search is not None:
            request = request.model_copy(update={"videos": tuple(chosen_videos(opened, inputs or (), search=search))})
        if request.videos == ():
            result, code = RunReport().as_json(request.stage_names(opened.library.graph.names)), 0
        elif search is None and inputs:
            adding = Adding(mode, retry=retry)
            videos = opened.library.videos
            sources, refused = with_stdin(inputs, known=lambda line: bool(videos.named(line)))
            became, result, code = add_and_run(
                opened, sources, adding, request, refused=refused, output=output, overridden=changed, as_json=as_json
            )
            result |= became
        else:
            result, code = run_and_show(opened, request, output=output, overridden=changed, as_json=as_json)
    if as_json:
        print_json(result)
    return code


def add_and_run(
    opened: OpenLibrary,
    inputs: Sequence[str],
    adding: Adding,
    request: RunRequest,
    *,
    refused: Sequence[IngestOutcome] = (),
    output: str | None = None,
    overridden: frozenset[str] = frozenset(),
    as_json: bool,
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Add inputs that are not in the library, then run the stages over all videos that `inputs` name.

    Returns:
        The outcomes of the inputs, the report of the run, and the exit code.

    Raises:
        NoSuchVideo: No input is a video, file or URL. If only some are not, they are reported and the rest processed.
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
    result = outcomes_as_json([*given.known, *outcomes, *unknown], notes)
    videos = list(dict.fromkeys(one.video for one in (*given.known, *outcomes) if one.video))
    if not videos or code == INTERRUPTED:
        return result, RunReport(interrupted=code == INTERRUPTED).as_json(opened.library.graph.names), code
    report, run_code = run_and_show(
        opened,
        request.model_copy(update={"videos": tuple(videos)}),
        output=output,
        overridden=overridden,
        as_json=as_json,
    )
    return result, report, max(code, run_code)


_MOST_FAILURES_SHOWN = 20


def run_and_show(
    opened: OpenLibrary,
    request: RunRequest,
    *,
    output: str | None = None,
    overridden: frozenset[str] = frozenset(),
    as_json: bool,
) -> tuple[dict[str, Any], int]:
    """Run the stages, show the report, and export.

    Args:
        opened: The open library.
        request: What to run.
        output: Where to export the results afterwards.
        overridden: Settings that affect results and that options of this call replace.
        as_json: Whether the caller prints the report as JSON.

    Returns:
        The report as JSON values, and the exit code.
    """
    stages = request.stage_names(opened.library.graph.names)
    if "descriptions" in stages and warn_of_unread(opened.settings):
        overridden -= {"qwen_vl.default_instruction"}
    with RunDisplay(stages, _expected(opened, request, stages)) as display:

        def work(cancelled: threading.Event) -> RunReport:
            from vidpipe.pipeline.in_process_run import run_process

            return run_process(opened.settings, request, observer=display, cancelled=cancelled, library=opened.library)

        report = stoppable(work, display.say)
    if request.stages:  # asked for by name: that they cannot run is an error
        report.problems |= report.unavailable
    result = report.as_json(stages)
    audit("run", **result)
    if overridden:
        note("Computed with the options of this call; due again without them unless config.ini has the same settings.")
    if not (as_json or report.videos or report.problems or opened.library.videos.count()):
        note("The library is empty: add videos with `vidpipe add URL-OR-FILE …`.")
    elif not as_json:
        show_report(report, stages)
    if report.interrupted:
        note("Stopped. Finished results are stored; `vidpipe run` resumes.", "yellow")
        return result, INTERRUPTED
    if output:
        result["export"] = export_to(opened, output, None, ids=request.videos)
    return result, exit_code(report)


def warn_of_unread(settings: Settings) -> bool:
    """Warn on stderr if the backend ignores a configured instruction or question. Returns whether it warned."""
    from vidpipe.models.builders import unread_instructions

    sentence = unread_instructions(settings)
    if sentence:
        note(f"Warning: {sentence}", "yellow")
    return bool(sentence)


def _expected(opened: OpenLibrary, request: RunRequest, stages: Sequence[str]) -> int:
    if request.videos is not None:
        return len(request.videos)
    if request.force:
        return opened.library.videos.count()
    specs = {name: spec for name, spec in opened.plan.specs.items() if name in stages}
    return len(opened.library.states.due(specs, retry=request.retry))


def exit_code(report: RunReport) -> int:
    """Return 0; 1 if videos failed; 2 or 3 if a stage could not run at all; 130 if stopped."""
    if report.interrupted:
        return INTERRUPTED
    failed = [1] if report.total("failed") or report.unknown else []
    return max([*failed, *(problem.exit_code for problem in report.problems.values())], default=0)


def show_report(report: RunReport, stages: Sequence[str]) -> None:
    """Print the table of a run and its errors."""
    console = out()
    if report.videos:
        shown = [
            column for column in RESULT_STATES if column in ("computed", "current", "failed") or report.total(column)
        ]
        made = table("stage", *shown, "seconds", right=(*shown, "seconds"))
        for stage in stages:
            counts = report.counts.get(stage, Counter())
            cells = [words(counts.get(column, 0), "red" if column == "failed" and counts.get(column) else "")
                     for column in shown]  # fmt: skip
            made.add_row(stage, *cells, f"{report.stage_seconds.get(stage, 0.0):.1f}")
        console.print(made)
        took = f"{report.seconds:.1f} s" if report.seconds < 60 else duration(report.seconds)
        console.print(f"{counted(report.videos, 'video')} in {took}.")
    elif not report.problems and not report.interrupted:
        console.print("Nothing is due: every video is current, blocked or failed (see `vidpipe status`).")
    for event in report.failures[:_MOST_FAILURES_SHOWN]:
        if event.error:
            say_problem("failed: ", event.error.message, event.error.hint)
    hidden = report.total("failed") - _MOST_FAILURES_SHOWN
    if hidden > 0:
        note(f"… and {hidden} more: `vidpipe status --failed`.")
    for name, problem in report.problems.items():
        say_problem("skipped: ", f"Stage {name} could not run: {problem.message}", problem.hint)
    for name, error in report.optional_faults.items():
        note(f"Stage {name} is unavailable: {error}", "yellow")
    if report.total("waiting"):
        note(f"Waiting for deleted originals: {counted(report.total('waiting'), 'result')}; --refetch downloads them.")
    if report.busy:
        note(f"In progress in another run: {counted(report.busy_videos, 'video')}.")
