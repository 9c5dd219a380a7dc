"""A run as the user sees it: progress, a summary table, the requested export, and the exit code."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.export import export_to
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.output import counted, duration, error_object, note, out, say, table, words
from vidpipe.cli.progress import RunDisplay
from vidpipe.errors import VidpipeError
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.settings import Settings, audit

_COLUMNS = ("computed", "current", "failed", "blocked", "busy", "discarded")
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
    result = plain_report(report, stages)
    audit("run", **result)
    if overridden:
        note("Computed with the options of this call; due again without them unless config.ini has the same settings.")
    if not (as_json or report.videos or report.problems or opened.library.videos.count()):
        note("The library is empty: add videos with `vidpipe add URL-OR-FILE …`.")
    elif not as_json:
        show_report(report, stages)
    if report.interrupted:
        note("Stopped. Finished results are stored; `vidpipe run` resumes.", "yellow")
        return result, 130
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
        return 130
    failed = [1] if report.total("failed") or report.unknown else []
    return max([*failed, *(problem.exit_code for problem in report.problems.values())], default=0)


def plain_report(report: RunReport, stages: Sequence[str]) -> dict[str, Any]:
    """Return the report of a run as JSON values."""
    return {
        "videos": report.videos,
        "stages": {
            name: {
                **{state: report.counts.get(name, Counter())[state] for state in _COLUMNS},
                "seconds": round(report.stage_seconds.get(name, 0.0), 3),
            }
            for name in stages
        },
        "failures": [
            {
                "video": event.sha256,
                "name": event.name,
                "stage": event.stage,
                "message": event.error.message if event.error else "",
                "hint": event.error.hint if event.error else "",
                "transient": event.error.transient if event.error else False,
            }
            for event in report.failures
        ],
        "busy": list(report.busy),
        "unknown": list(report.unknown),
        "problems": {name: error_object(error) for name, error in report.problems.items()},
        "seconds": round(report.seconds, 3),
        "interrupted": report.interrupted,
    }


def show_report(report: RunReport, stages: Sequence[str]) -> None:
    """Print the table of a run and its errors."""
    console = out()
    if report.videos:
        shown = [column for column in _COLUMNS if column in ("computed", "current", "failed") or report.total(column)]
        made = table("stage", *((column, {"justify": "right"}) for column in (*shown, "seconds")))
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
            _show_problem(event.error, "failed")
    hidden = report.total("failed") - _MOST_FAILURES_SHOWN
    if hidden > 0:
        note(f"… and {hidden} more: `vidpipe status --failed`.")
    for name, problem in report.problems.items():
        _show_problem(VidpipeError(f"Stage {name} could not run: {problem.message}", problem.hint), "skipped")
    if report.busy:
        note(f"In progress in another run: {counted(report.busy_videos, 'video')}.")


def _show_problem(error: VidpipeError, label: str) -> None:
    console = out()
    line = words(f"{label}: ", "red")
    line.append_text(words(error.message))
    say(console, line)
    if error.hint:
        say(console, words(f"  {error.hint}", "dim"))


def finish(code: int) -> None:
    """Exit the command with `code`, if it is not 0."""
    if code:
        raise typer.Exit(code)
