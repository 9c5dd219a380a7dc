"""A run as the user sees it: progress, a table at the end, the export that was asked for, and the exit code."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from vidpipe.cli.call import Opened
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.output import counted, duration, error_object, note, out, say, table, words
from vidpipe.cli.progress import RunDisplay
from vidpipe.cli.work import run_stages
from vidpipe.errors import VidpipeError
from vidpipe.runner.request import RunReport
from vidpipe.settings import Settings, audit

_COLUMNS = ("computed", "current", "failed", "blocked", "busy", "discarded")
_MOST_FAILURES_SHOWN = 20


@dataclass(frozen=True)
class Wish:
    """What is to be run. videos: sha256 (None: all that are due); output: where results are exported to afterwards;
    overridden: settings that results depend on and that options of this call stand in for"""

    videos: Sequence[str] | None = None
    stages: Sequence[str] | None = None
    retry: bool = False
    force: bool = False
    output: str | None = None
    overridden: frozenset[str] = frozenset()


def run_and_show(opened: Opened, wish: Wish, *, as_json: bool) -> tuple[dict[str, Any], int]:
    """Runs, shows, exports. Returns the report as plain values, and the exit code."""
    stages = tuple(name for name in opened.library.graph.names if wish.stages is None or name in wish.stages)
    force = stages if wish.force else ()
    overridden = wish.overridden
    if "descriptions" in stages and warn_of_unread(opened.settings):
        overridden -= {"qwen_vl.default_instruction"}
    with RunDisplay(stages, _expected(opened, wish, stages)) as display:

        def work(cancelled: threading.Event) -> RunReport:
            return run_stages(opened, wish.videos, wish.stages, display, cancelled, retry=wish.retry, force=force)

        report = stoppable(work, display.say)
    result = plain_report(report, stages)
    audit("run", **result)
    if overridden:
        note("Computed with the options of this call; due again without them, unless config.ini has the same settings.")
    if not (as_json or report.videos or report.problems or opened.library.videos.count()):
        note("There are no videos yet: `vidpipe add URL-OR-FILE …` takes them in.")
    elif not as_json:
        show_report(report, stages)
    if report.interrupted:
        note("Stopped. What was finished is stored; `vidpipe run` goes on with the rest.", "yellow")
        return result, 130
    if wish.output:
        from vidpipe.cli.export import export_to

        result["export"] = export_to(opened, wish.output, None, ids=wish.videos)
    return result, exit_code(report)


def warn_of_unread(settings: Settings) -> bool:
    """A warning on stderr where the describer does not read an instruction or a question that it was given. Returns
    whether there was one."""
    from vidpipe.vlm.prompts import unread_instructions

    sentence = unread_instructions(settings)
    if sentence:
        note(f"Warning: {sentence}", "yellow")
    return bool(sentence)


def _expected(opened: Opened, wish: Wish, stages: Sequence[str]) -> int:
    if wish.videos is not None:
        return len(wish.videos)
    if wish.force:
        return opened.library.videos.count()
    specs = {name: spec for name, spec in opened.plan.specs.items() if name in stages}
    return len(opened.library.states.due(specs, retry=wish.retry))


def exit_code(report: RunReport) -> int:
    """0; 1 where videos failed; 2 or 3 where a stage could not run at all; 130 when stopped."""
    if report.interrupted:
        return 130
    failed = [1] if report.total("failed") or report.unknown else []
    return max([*failed, *(problem.exit_code for problem in report.problems.values())], default=0)


def plain_report(report: RunReport, stages: Sequence[str]) -> dict[str, Any]:
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
    """The table of a run on stdout, and what went wrong."""
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
        console.print("Nothing is due: every video is current, blocked or has failed before (`vidpipe status`).")
    for event in report.failures[:_MOST_FAILURES_SHOWN]:
        if event.error:
            _show_problem(event.error, "failed")
    hidden = report.total("failed") - _MOST_FAILURES_SHOWN
    if hidden > 0:
        note(f"… and {hidden} more: `vidpipe status --failed`.")
    for name, problem in report.problems.items():
        _show_problem(VidpipeError(f"Stage {name} could not run: {problem.message}", problem.hint), "not run")
    if report.busy:
        note(f"Another run works on {counted(report.busy_videos, 'video')}.")


def _show_problem(error: VidpipeError, label: str) -> None:
    console = out()
    line = words(f"{label}: ", "red")
    line.append_text(words(error.message))
    say(console, line)
    if error.hint:
        say(console, words(f"  {error.hint}", "dim"))


def finish(code: int) -> None:
    """Ends the command with an exit code."""
    if code:
        raise typer.Exit(code)
