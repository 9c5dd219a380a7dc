"""vidpipe add: add videos to the library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.inputs import Adding, add_and_show, with_stdin
from vidpipe.cli.options import FileMode, Json, Output, overridden_settings, with_overrides
from vidpipe.cli.output import note, print_json
from vidpipe.cli.run import add_and_run
from vidpipe.runner.request import RunRequest
from vidpipe.sources.list_files import LIST_SUFFIXES, TABLE_SUFFIXES
from vidpipe.sources.records import outcomes_as_json
from vidpipe.sources.source_request import url_scheme


@with_overrides
def add(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="URLs (http, s3, gs, az, dropbox, ftp, sftp, webdav, mongodb), video files, folders, tables (CSV, "
            "TSV, JSON Lines, Parquet) with a url column, lists (.txt); - reads a list from stdin.",
        ),
    ],
    *,
    mode: FileMode = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="Label for all inputs; repeatable.")] = None,
    title: Annotated[str, typer.Option("--title", help="Title, if there is only one input.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Retry failed and rejected sources.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Re-check known URLs for changed content.")] = False,
    include_forgotten: Annotated[
        bool, typer.Option("--include-forgotten", help="Also add videos that `vidpipe forget` removed.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Take every video of a page, not only the best one.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Most videos of each playlist, channel, folder or page.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Then process these inputs; same as `vidpipe run INPUT`.")] = False,
    as_json: Json = False,
    overrides: Mapping[str, Any],
    output: Output = None,
) -> int:
    """Add videos: download or copy, check, and store each once under its hash.

    Interrupted downloads are resumed. --output implies --run; the other legacy options apply to that run only.
    """
    run = run or output is not None
    changed = overridden_settings(overrides)
    if changed and not run:
        note("Note: these options affect runs only; add --run, or pass them to `vidpipe run`.", "yellow")
    labels = tuple(text.strip() for text in label or () if text.strip())
    sources, refused = with_stdin(inputs)
    if title and (every or len(sources) != 1 or _is_several(sources[0])):
        raise typer.BadParameter("--title requires a single URL or file; lists have a title column.")
    adding = Adding(
        mode, labels, title.strip(), retry, refresh, include_forgotten, every, limit
    )  # fmt: skip
    with open_library(context, overrides) as opened:
        if run:
            request = RunRequest(retry=retry)
            result, report, code = add_and_run(
                opened, sources, adding, request, refused=refused, output=output, overridden=changed, as_json=as_json
            )
            result["run"] = report
        else:
            outcomes, notes, code = add_and_show(opened, sources, adding, refused)
            result = outcomes_as_json(outcomes, notes)
            if any(outcome.video for outcome in outcomes):
                note("Next: `vidpipe run`.")
    if as_json:
        print_json(result)
    return code


def _is_several(given: str) -> bool:
    """Return whether an input is a directory or a list."""
    here = "://" not in given and (Path(given).is_dir() or Path(given).suffix.lower() in TABLE_SUFFIXES | LIST_SUFFIXES)
    return (
        here or (url_scheme(given) not in ("", "http", "https") and given.endswith("/")) or given.startswith("mongodb")
    )
