"""vidpipe add: takes videos in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.call import opened
from vidpipe.cli.options import (
    FileMode,
    Json,
    Output,
    QwenInstruction,
    SceneDetector,
    SceneThreshold,
    UseVpc,
    overrides,
    stand_in,
)
from vidpipe.cli.output import note, print_json


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
    mode: FileMode = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label for all inputs; repeatable.")] = None,
    title: Annotated[str, typer.Option("--title", help="The title of the one video that is given.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Retry failed and rejected sources.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask known URLs again whether they give other bytes now.")
    ] = False,
    run: Annotated[bool, typer.Option("--run", help="Process them, too: the same as `vidpipe run INPUT...`.")] = False,
    as_json: Json = False,
    scene_threshold: SceneThreshold = None,
    scene_detector: SceneDetector = None,
    qwen_instruction: QwenInstruction = None,
    use_vpc: UseVpc = None,
    output: Output = None,
) -> None:
    """Take videos in: download or copy, check, and store each once under its hash.

    Interrupted downloads are resumed. --output implies --run; the other options of the older script count for that run
    only.
    """
    from vidpipe.cli.adding import add_and_run, add_and_show, plain_outcomes, with_stdin
    from vidpipe.cli.running import finish
    from vidpipe.cli.work import Adding
    from vidpipe.runner.request import RunRequest

    run = run or output is not None
    given = overrides(scene_threshold, scene_detector, qwen_instruction, use_vpc)
    changed = stand_in(given)
    if changed and not run:
        note("Note: these options count for a run; add --run, or give them to `vidpipe run`.", "yellow")
    labels = tuple(text.strip() for text in label or () if text.strip())
    sources, refused = with_stdin(inputs)
    if title and (len(sources) != 1 or _is_several(sources[0])):
        raise typer.BadParameter("--title is for one URL or file; a list has a column for titles.")
    adding = Adding(mode.value if mode else None, labels=labels, title=title.strip(), retry=retry, refresh=refresh)
    with opened(context, given) as library:
        if run:
            result, report, code = add_and_run(
                library,
                sources,
                adding,
                RunRequest(retry=retry),
                refused=refused,
                output=output,
                overridden=changed,
                as_json=as_json,
            )
            result["run"] = report
        else:
            outcomes, notes, code = add_and_show(library, sources, adding, refused)
            result = plain_outcomes(outcomes, notes)
            if any(outcome.video for outcome in outcomes):
                note("Next: `vidpipe run`.")
    if as_json:
        print_json(result)
    finish(code)


def _is_several(given: str) -> bool:
    """Whether an input is a folder or a list."""
    from vidpipe.ingest.list_files import CSV_SUFFIXES, LIST_SUFFIXES

    local = "://" not in given and (Path(given).is_dir() or Path(given).suffix.lower() in CSV_SUFFIXES | LIST_SUFFIXES)
    return local or (given.startswith("s3://") and given.endswith("/"))
