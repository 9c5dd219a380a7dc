"""vidpipe partitions: which videos are partitions in Dagster."""

from typing import Annotated, Literal

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import out, print_json, words
from vidpipe.cli.video_selection import chosen_videos, many_progress
from vidpipe.errors import SettingsError
from vidpipe.library import server_clock
from vidpipe.operations.retention import PruneReport

_ACTION = "status: count them. add: add videos and keep them for 30 days. trim: remove those beyond the limit."
_VIDEOS = "add: hash prefixes, URLs or file names."


def partitions(
    context: typer.Context,
    action: Annotated[Literal["status", "add", "trim"], typer.Argument(metavar="ACTION", help=_ACTION)] = "status",
    videos: Annotated[list[str] | None, typer.Argument(metavar="VIDEO", help=_VIDEOS)] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="trim: only count.")] = False,
    as_json: Json = False,
) -> None:
    """Count Dagster's partitions, add some, or remove those beyond the limit.

    Beyond [Cluster] MaxPartitions videos, only the newest and those that failed are partitions; the schedule clean_up
    sees to it. All commands, sensors and the library page treat the others as before.
    """
    if (action == "add") != bool(videos):
        raise SettingsError("`add` takes videos, `status` and `trim` take none.", "See `vidpipe partitions --help`.")
    if dry_run and action != "trim":
        raise SettingsError("--dry-run belongs to `vidpipe partitions trim`.", "See `vidpipe partitions --help`.")
    report = PruneReport("partitions")
    with open_library(context) as opened, many_progress("Removing partitions") as progress:
        from vidpipe.pipeline.clean_up import report_results_again  # imports Dagster
        from vidpipe.pipeline.instance import instance
        from vidpipe.pipeline.partitions import VideoPartitions

        added = chosen_videos(opened, videos) if videos else []
        if added:
            asked_for = {"$set": {"partition_since": server_clock.now()}}
            opened.library.collections["videos"].update_many({"_id": {"$in": added}}, asked_for)
            report_results_again(opened.settings, opened.library, added)
        with instance(opened.settings) as dagster:
            if action == "trim":
                existing = VideoPartitions(dagster, opened.library)
                existing.progress = progress
                existing.trim(report, dry_run, max_s=float("inf"))
            count = len(dagster.get_dynamic_partitions("videos"))
        figures = {"videos": opened.library.videos.count(), "partitions": count, "added": len(added)}
        figures |= {"removed": report.count, "limit": opened.settings.cluster.max_partitions}
    if as_json:
        print_json({**figures, "dry_run": dry_run, "notes": report.notes})
        return
    said = f"{figures['videos']:,} videos, {count:,} partitions, limit {figures['limit']:,}; {len(added)} added, "
    said += f"{report.count:,} {'would be ' if dry_run else ''}removed."
    out().print(words(" ".join([said, *report.notes])), soft_wrap=True)
