"""The kinds of clean-up of a home and its library. Those of Dagster's own history: `vidpipe.pipeline.clean_up`."""

from __future__ import annotations

from vidpipe.library.library import Library
from vidpipe.retention.derived import delete_unnamed
from vidpipe.retention.leftovers import delete_downloads, delete_journals
from vidpipe.retention.log_files import delete_log_files, rotate_mongod_log, rotate_server_logs
from vidpipe.retention.measures import delete_measures
from vidpipe.retention.report import Kind, cutoff
from vidpipe.settings import Settings


def kinds_of_home(settings: Settings, library: Library) -> list[Kind]:
    measures = cutoff(settings.retention.measures_days)
    return [
        Kind(
            "mongod log", "a log file of the embedded server that has grown large begins anew",
            lambda report, dry_run: rotate_mongod_log(settings, library.connection, report, dry_run),
        ),
        Kind(
            "server logs", "log files of servers that have grown large begin anew",
            lambda report, dry_run: rotate_server_logs(settings, report, dry_run),
        ),
        Kind(
            "log files", "rotated log files, and those of servers and runs that have ended",
            lambda report, dry_run: delete_log_files(settings, report, dry_run),
        ),
        Kind(
            "derived", "frame packs and thumbnails that no video names any more",
            lambda report, dry_run: delete_unnamed(settings, library, report, dry_run),
        ),
        Kind(
            "downloads", "abandoned partial downloads",
            lambda report, dry_run: delete_downloads(settings, report, dry_run),
        ),
        Kind(
            "journals", "journals of other machines and containers that hold no lease any more",
            lambda report, dry_run: delete_journals(settings, library, report, dry_run),
        ),
        Kind(
            "measures", "figures of old runs; the totals stay",
            lambda report, dry_run: delete_measures(library.collections["runs"], measures, report, dry_run),
        ),
    ]  # fmt: skip
