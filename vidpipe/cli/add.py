"""vidpipe add: takes videos in."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import opened
from vidpipe.cli.options import Json, LocalMode, Output, QwenInstruction, SceneThreshold, UseVpc, overrides
from vidpipe.cli.output import note, print_json

if TYPE_CHECKING:
    from vidpipe.ingest.records import IngestOutcome

_FAILED = ("failed", "refused")


def add(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="URLs (http, https, s3), video files, folders, CSV files with a url column, lists (.txt); "
            "- reads a list from stdin.",
        ),
    ],
    *,
    mode: Annotated[
        LocalMode, typer.Option("--mode", help="Local files: copied, hard-linked, or left where they are.")
    ] = LocalMode.copy,
    retry: Annotated[bool, typer.Option("--retry", help="Try again now what failed or was refused before.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask known URLs again whether they give other bytes now.")
    ] = False,
    run: Annotated[bool, typer.Option("--run", help="Go on with `vidpipe run` over what was given.")] = False,
    as_json: Json = False,
    scene_threshold: SceneThreshold = None,
    qwen_instruction: QwenInstruction = None,
    use_vpc: UseVpc = None,
    output: Output = None,
) -> None:
    """Take videos in: download or copy, check, and store each once under its hash.

    Broken downloads are gone on with where they stopped. --output implies --run; the other words of the older script
    count for that run only.
    """
    from vidpipe.cli.download_progress import AddDisplay
    from vidpipe.cli.interrupt import stoppable
    from vidpipe.cli.running import Wish, finish, run_and_show
    from vidpipe.cli.work import take_in
    from vidpipe.settings import audit

    run = run or output is not None
    given = overrides(scene_threshold, qwen_instruction, use_vpc)
    changed = any(value is not None for name, value in given.items() if name != "qwen_vl.use_vpc")
    if changed and not run:
        note("Note: these options count for a run; add --run, or give them to `vidpipe run`.", "yellow")
    sources = _with_stdin(inputs)
    with opened(context, given) as library:
        with AddDisplay() as display:
            outcomes = stoppable(
                lambda cancelled: take_in(
                    library, sources, display, cancelled, mode=mode.value, retry=retry, refresh=refresh
                ),
                display.say,
            )
            for outcome in outcomes:
                display.tell(outcome)
                audit("source", **_plain(outcome))
        states: Counter[str] = Counter(outcome.state for outcome in outcomes)
        result: dict[str, Any] = {
            "inputs": [_plain(outcome) for outcome in outcomes],
            "counts": dict(states),
            "notes": [{"input": one.input, "note": one.sentence, "skipped": one.skipped} for one in display.notes],
        }
        code = 1 if any(states[state] for state in _FAILED) else 0
        counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        note(f"{counts}." if counts else "Nothing given.")
        if states["cancelled"]:
            note("Stopped. The same command goes on where it was; partial downloads are kept.", "yellow")
            code = 130
        elif run:
            videos = list(dict.fromkeys(outcome.video for outcome in outcomes if outcome.video))
            report, run_code = run_and_show(
                library, Wish(videos, retry=retry, output=output, overridden=changed), as_json=as_json
            )
            result["run"] = report
            code = max(code, run_code)
        elif any(outcome.video for outcome in outcomes):
            note("Next: `vidpipe run`.")
    if as_json:
        print_json(result)
    finish(code)


def _with_stdin(inputs: Sequence[str]) -> list[str]:
    """`inputs`, with - replaced by the lines of stdin; empty lines and # comments are left out."""
    found: list[str] = []
    for given in inputs:
        if given == "-":
            # as bytes: a path may hold some that are not UTF-8
            lines = (os.fsdecode(line.strip()) for line in sys.stdin.buffer)
            found += [line for line in lines if line and not line.startswith("#")]
        else:
            found.append(given)
    return found


def _plain(outcome: IngestOutcome) -> dict[str, Any]:
    source = outcome.source
    return {
        "input": outcome.input,
        "state": outcome.state,
        "video": outcome.video,
        "error": outcome.error,
        "transient": outcome.transient,
        "url": source.url if source else None,
        "attempts": source.attempts if source else 0,
        "next_try_at": source.next_try_at if source else None,
    }
