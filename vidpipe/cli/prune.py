"""vidpipe prune: deletes what is older than [Retention] says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidpipe.cli.call import opened
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, say, size, table, words

if TYPE_CHECKING:
    from vidpipe.library.library import Library
    from vidpipe.operations.retention.pruning import PruneReport
    from vidpipe.settings import Settings


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    as_json: Json = False,
) -> int:
    """Delete old runs and events of Dagster's, log files, frame packs that no video names, partial downloads, figures.

    Ages and sizes stand in config.ini, section Retention; the schedule clean_up does the same at night. Videos, results
    and lineage are never deleted, nor what Dagster's page shows of each partition. Safe while the pipeline runs.
    """
    with opened(context) as library:
        reports = _prune(library.settings, library.library, dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "kinds": [report.as_document() for report in reports]})
    else:
        _show(reports, dry_run)
    return 1 if any(report.error for report in reports) else 0


def _prune(settings: Settings, library: Library, dry_run: bool) -> list[PruneReport]:
    from vidpipe.pipeline.clean_up import clean_up
    from vidpipe.pipeline.instance import instance

    with instance(settings) as dagster:
        return clean_up(dagster, settings, library, dry_run=dry_run)


def _show(reports: list[PruneReport], dry_run: bool) -> None:
    console = out()
    right = {"justify": "right"}
    made = table("what", ("would go" if dry_run else "deleted", right), ("size", right), "oldest")
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
        note("Nothing was deleted. `vidpipe prune` does it.")
