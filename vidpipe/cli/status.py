"""vidpipe status: the state of the library."""

from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import print_json
from vidpipe.cli.status_view import show_status
from vidpipe.cli.status_watch import watch_status
from vidpipe.errors import SettingsError
from vidpipe.operations.status import failed_sources, failures, list_problems, status_of


def status(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List failures with their video, stage, reason and what to do.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Maximum number of failures per stage; 0 means all.")
    ] = 50,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            min=0.2,
            max=86400,
            metavar="[SECONDS]",
            help="Refresh every SECONDS (default 2), with runs, queue, rates and new failures, until Ctrl-C.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how many videos are current, due, blocked, failed and quarantined per stage.

    Also shows sources by state, running servers, and changes that wait for your decision.
    """
    if watch is not None and failed:
        raise SettingsError("--failed and --watch cannot be combined.", "--watch shows new failures.")
    with open_library(context) as opened:
        if watch is not None:
            watch_status(opened, watch, as_json=as_json)
            return
        result = status_of(opened.library, opened.plan)
        if failed:
            result["failed"] = list(failures(opened.library, opened.plan, limit))
            result["failed_sources"] = list(failed_sources(opened.library, limit))
            result["gone_sources"] = list(failed_sources(opened.library, limit, ("gone",)))
            result["list_problems"] = list(list_problems(opened.library, limit))
    if as_json:
        print_json(result)
    else:
        show_status(result)
