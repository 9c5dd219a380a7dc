"""vidpipe forget: remove videos and everything about them."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from vidpipe.cli.confirmation import confirm
from vidpipe.cli.context import OpenLibrary, open_library, user_name
from vidpipe.cli.options import Json, Search, Yes
from vidpipe.cli.output import counted, note, out, print_error, print_json, size, words
from vidpipe.cli.video_selection import Where, chosen_videos
from vidpipe.errors import SettingsError
from vidpipe.library.videos import NoSuchVideo
from vidpipe.operations.retention.undo_copies import restore
from vidpipe.operations.retention.video_removal import ForgottenVideo
from vidpipe.settings import audit
from vidpipe.sources.urls import stored_spellings


def forget(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO|SOURCE", help="Hash prefixes, URLs, file names; or a watched list: the videos only it gives."
        ),
    ] = None,
    *,
    search: Search = None,
    where: Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
    yes: Yes = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the audit record.")] = "",
    undo: Annotated[
        str, typer.Option("--undo", metavar="ID", help="Restore a forgotten video, given its hash or the copy's id.")
    ] = "",
    as_json: Json = False,
) -> int:
    """Remove videos and everything about them.

    Deletes their files in every store, results, texts, thumbnails, verdicts, lineage, partitions and index entries, and
    what names them in logs, exported files and old runs of Dagster. Nothing adds them again but
    `vidpipe add --include-forgotten`. Within [Privacy] GraceDays, --undo restores them. Referenced files outside the
    store and backups are kept; backups that contain the videos are listed.
    """
    if undo and (named or dry_run or search is not None or where):
        raise SettingsError("--undo restores the video with this hash, and takes no other selection.", "Use it alone.")
    with open_library(context) as opened:
        from vidpipe.pipeline.clean_up import forget_videos  # imports Dagster
        from vidpipe.pipeline.instance import instance
        from vidpipe.pipeline.partitions import add_videos

        by, sources, unknown = user_name(), list[str](), list[NoSuchVideo]()
        if undo:
            with instance(opened.settings) as dagster:
                restored = restore(opened.library, undo, lambda key: add_videos(dagster, [key]))
            audit("forget undone", by=by, video=restored)
            print_json({"restored": restored}) if as_json else note(f"Restored video {restored[:12]}.")
            return 0
        if named and search is None and not where:
            ids, sources, unknown = _resolve(opened, named)
        else:
            ids = chosen_videos(opened, named or (), where=where or (), search=search)
        with instance(opened.settings) as dagster:
            remove = partial(forget_videos, opened.library, ids, dagster, sources=sources)
            if not dry_run:
                question = f"Remove {counted(len(ids), 'video')}?"
                confirm(
                    "vidpipe forget", question, yes=yes, as_json=as_json,
                    show=lambda: _show(remove(dry_run=True), sources, dry_run=True),
                )  # fmt: skip
            found = remove(dry_run=True) if dry_run else remove(by=by, reason=reason)
        if as_json:
            errors = [error.message for error in unknown]
            plain = [asdict(one) for one in found]
            print_json({"dry_run": dry_run, "videos": plain, "sources": len(sources), "unknown": errors})
        else:
            _show(found, sources, dry_run=dry_run)
    if unknown:
        return NoSuchVideo.exit_code
    return 1 if any(one.state != "forgotten" for one in found) else 0


def _resolve(opened: OpenLibrary, named: list[str]) -> tuple[list[str], list[str], list[NoSuchVideo]]:
    """Return the videos, the sources and an error for each unknown name. Raises NoSuchVideo if all are unknown."""
    ids, sources, unknown = list[str](), list[str](), list[NoSuchVideo]()
    records = opened.library.collections["sources"]
    for name in named:
        fields = {"video": 1, "earlier_videos": 1, "lists": 1}
        rows = list(records.find({"url": {"$in": list(stored_spellings(name))}}, fields))
        of_list = [] if rows else list(records.find({"lists": name}, fields))
        for row in rows or of_list:
            videos = [video for video in (row.get("video"), *row.get("earlier_videos", ())) if video]
            others = {"video": {"$in": videos}, "lists": {"$ne": name}}
            ids += set(videos).difference(records.distinct("video", others)) if of_list else videos
            sources.append(row["_id"])
        if not rows and not of_list:
            try:
                ids.append(opened.library.videos.resolve(name))
            except NoSuchVideo as error:
                unknown.append(error)
    if unknown and len(unknown) == len(named):
        raise NoSuchVideo("\n".join(error.message for error in unknown), unknown[0].hint)
    for one in unknown:
        print_error(one)
    return list(dict.fromkeys(ids)), sources, unknown


def _show(found: list[ForgottenVideo], sources: list[str], *, dry_run: bool) -> None:
    console = out()
    for one in found:
        done = one.state == "forgotten"
        label = "would forget" if done and dry_run else one.state
        freed = f", {size(one.freed_bytes)}" if one.freed_bytes else ""
        line = words(f"{label:<14} ", "" if done else "yellow")
        line.append_text(words(f"{one.video[:12]}  {one.name}{freed}"))
        console.print(line, soft_wrap=True)
        if one.state == "busy":
            note("  A run is using this video: wait until it ends or stop it, then repeat the command.", "yellow")
        if one.error:
            note(f"  {one.error} Repeat the command to complete the removal.", "yellow")
        if any(one.removed.values()):
            note(f"  {', '.join(f'{place}: {count}' for place, count in one.removed.items() if count)}.")
        if one.kept:
            note(f"  {one.kept} was only referenced; the file is kept.")
        if one.undo:
            note(f"  `vidpipe forget --undo {one.video[:12]}` restores it within [Privacy] GraceDays.")
    if sources:
        note(f"{counted(len(sources), 'source')}: nothing adds them again but `vidpipe add --include-forgotten`.")
    for what in ("exports", "exports to check", "backups"):
        if places := list(dict.fromkeys(place for one in found for place in one.elsewhere.get(what, ()))):
            note(f"{what.capitalize()} that contain them: {', '.join(places)}.")
