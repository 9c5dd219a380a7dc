"""vidpipe forget: remove videos and everything computed from them."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import counted, note, out, print_error, print_json, size, words
from vidpipe.cli.video_selection import chosen_videos, index_progress
from vidpipe.errors import SettingsError
from vidpipe.library.videos import NoSuchVideo
from vidpipe.operations.retention.video_removal import ForgottenVideo
from vidpipe.operations.retention.video_removal import forget as forget_videos
from vidpipe.settings import audit


def forget(
    context: typer.Context,
    named: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO", help="Hash prefixes, URLs or file names.")
    ] = None,
    *,
    search: Search = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> int:
    """Remove videos and everything computed from them.

    Deletes their files in the media store, results, texts, thumbnails, lineage and partitions. This machine's search
    index is built again without them.

    Watched lists do not add them again; `vidpipe add` does. Referenced files outside the store, Dagster's events, log
    files and backups are kept.
    """
    with open_library(context) as opened:
        if named and search is None:
            ids, unknown = _resolve(opened, named)
        else:
            ids, unknown = chosen_videos(opened, named or (), search=search), []
        found = forget_videos(opened.library, ids, lambda _: None, dry_run=True)
        if ids and not (dry_run or yes) and not _agrees(found, as_json=as_json):
            note("Nothing was removed.")
            return 1
        if ids and not dry_run:
            from vidpipe.pipeline import partitions  # imports Dagster

            found = partitions.forget_videos(opened.library, ids)
            audit("forget", videos=[asdict(one) for one in found])
        if as_json:
            plain: list[dict[str, Any]] = [asdict(one) for one in found]
            print_json({"dry_run": dry_run, "videos": plain, "unknown": [error.message for error in unknown]})
        else:
            _show(found, dry_run=dry_run)
        if not dry_run and any(one.state == "forgotten" for one in found):
            from vidpipe.search.index import purge  # imports tantivy

            with index_progress() as progress:
                purge(opened.library, note=note, progress=progress)
    if unknown:
        return NoSuchVideo.exit_code
    return 1 if any(one.state == "busy" for one in found) else 0


def _resolve(opened: OpenLibrary, named: list[str]) -> tuple[list[str], list[NoSuchVideo]]:
    """Return the videos and an error for each unknown name. Raises NoSuchVideo if all names are unknown."""
    ids: list[str] = []
    unknown: list[NoSuchVideo] = []
    for name in named:
        try:
            ids.append(opened.library.videos.resolve(name))
        except NoSuchVideo as error:
            unknown.append(error)
    if not ids:
        raise NoSuchVideo("\n".join(error.message for error in unknown), unknown[0].hint)
    for one in unknown:
        print_error(one)
    return list(dict.fromkeys(ids)), unknown


def _agrees(found: list[ForgottenVideo], *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise SettingsError(
            "`vidpipe forget` asks for confirmation, but stdin is not a terminal.",
            "Use --yes to confirm; --dry-run shows the videos.",
        )
    _show(found, dry_run=True)
    return typer.confirm(f"Permanently remove {counted(len(found), 'video')}?", err=True)


def _show(found: list[ForgottenVideo], *, dry_run: bool) -> None:
    console = out()
    for one in found:
        label = "busy" if one.state == "busy" else "would forget" if dry_run else "forgotten"
        freed = f", {size(one.freed_bytes)}" if one.freed_bytes else ""
        line = words(f"{label:<14} ", "yellow" if one.state == "busy" else "")
        line.append_text(words(f"{one.video[:12]}  {one.name}{freed}"))
        console.print(line, soft_wrap=True)
        if one.state == "busy":
            note("  A run is using this video: wait until it ends or stop it, then repeat the command.", "yellow")
        if one.kept:
            note(f"  {one.kept} was only referenced; the file is kept.")
        if one.sources and not dry_run and one.state == "forgotten":
            note(f"  {counted(one.sources, 'source')}: watched lists will not add it again; `vidpipe add` will.")
