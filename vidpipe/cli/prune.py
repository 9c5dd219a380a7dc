"""vidpipe prune: delete data older than [Retention] allows."""

from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, say, size, table, words
from vidpipe.operations.retention import PruneReport


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted; delete nothing.")] = False,
    as_json: Json = False,
) -> int:
    """Delete data older than [Retention] allows.

    Removes old Dagster runs and events, log files, frame packs of no video, partial downloads and metrics. The schedule
    clean_up does the same every night. Videos, results, lineage and the state of each partition are kept. Safe while
    the pipeline runs.
    """
    from vidpipe.pipeline.clean_up import clean_up
    from vidpipe.pipeline.instance import instance

    with open_library(context) as opened, instance(opened.settings) as dagster:
        reports = clean_up(dagster, opened.settings, opened.library, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "kinds": [report.as_document() for report in reports]})
    else:
        _show(reports, dry_run)
    return 1 if any(report.error for report in reports) else 0


def _show(reports: list[PruneReport], dry_run: bool) -> None:
    console = out()
    deleted = "would delete" if dry_run else "deleted"
    made = table("what", deleted, "size", "oldest", right=(deleted, "size"))
    for report in reports:
        style = "" if report.count else "dim"
        oldest = f"{report.oldest.astimezone():%Y-%m-%d}" if report.oldest else ""
        made.add_row(report.kind, words(report.count, style), words(size(report.size_bytes), style), oldest)
    console.print(made)
    for report in reports:
        for text in report.notes:
            note(f"{report.kind}: {text}")
        if report.error:
            say(console, words(f"{report.kind}: {report.error}", "red"))
    if dry_run:
        note("Nothing was deleted: this was a dry run.")
