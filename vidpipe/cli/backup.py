"""vidpipe backup and vidpipe restore."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.context import CommandContext, command_context
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, size, words
from vidpipe.cli.progress import PartsDisplay

if TYPE_CHECKING:
    from vidpipe.library.backups.manifest import Manifest
    from vidpipe.library.backups.restore import Restored
    from vidpipe.library.connection import Connection
    from vidpipe.settings import Settings


def backup(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Each back-up is a folder of its own in it, named by the time (UTC).")
    ],
    *,
    media: Annotated[
        bool, typer.Option("--media", help="The videos' files as well; otherwise their names and hashes only.")
    ] = False,
    derived: Annotated[
        bool, typer.Option("--derived/--no-derived", help="Thumbnails and frame packs as well; they can be made anew.")
    ] = True,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Keep so many; the oldest are removed.")] = None,
    as_json: Json = False,
) -> None:
    """Back up the library, rules, config.ini and watched lists. Runs may go on meanwhile.

    Secrets are never in it. Files are linked where DIR is on the same disk, and copied otherwise; an interrupted one
    is continued. `vidpipe restore DIR` makes a library of it again.
    """
    from vidpipe.library.backups.backup import back_up, plain
    from vidpipe.library.backups.manifest import Follower, Stopped
    from vidpipe.library.connection import connect
    from vidpipe.settings import audit
    from vidpipe.stages.registry import GRAPH

    call = command_context(context)
    settings = call.load().settings
    with connect(settings) as connection, connection.errors_explained(), PartsDisplay("Backing up") as display:

        def work(cancelled: threading.Event) -> Any:
            follower = Follower(display.progress, cancelled)
            return back_up(
                connection, settings, GRAPH, directory, media=media, derived=derived, keep=keep, config=call.config,
                follower=follower,
            )  # fmt: skip

        try:
            done = stoppable(work, lambda text: display.say("Stopping; nothing is left that looks like a back-up."))
        except Stopped:
            raise KeyboardInterrupt from None
    told = plain(done)
    audit("backup", **told)
    if as_json:
        print_json(told)
        return
    _show_backup(told)


def _show_backup(told: Mapping[str, Any]) -> None:
    console = out()
    documents = told["documents"]
    what = f"{counted(documents['videos'], 'video')}, {size(told['size_bytes'])} of library"
    console.print(words(f"Backed up {what} to {told['path']}"), soft_wrap=True)
    for name, kind in (("media", "media"), ("derived", "thumbnails and frame packs")):
        files = told[name]
        if not files["included"]:
            console.print(words(f"  {kind}: not included" + (", by name and hash" if name == "media" else "")))
            continue
        how = ", ".join(f"{files[way]} {way}" for way in ("linked", "copied", "present") if files[way])
        console.print(words(f"  {kind}: {counted(files['files'], 'file')}, {size(files['size_bytes'])} ({how or '-'})"))
        if files["missing"]:
            note(f"  {files['missing']} were not there: {', '.join(files['missing_names'][:5])} …", "yellow")
    for sentence in told["notes"]:
        note(f"  {sentence}", "yellow")
    for old in told["removed"]:
        note(f"  removed {old}")


def restore(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A back-up, or the folder of several: then the latest.")
    ],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a library that is there.")] = False,
    settings_too: Annotated[
        bool, typer.Option("--settings", help="config.ini, rules and watched lists as well; what differs goes to .bak.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the back-up and say what would be done; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before replacing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a back-up the library that [MongoDB] names, on whatever server that is.

    Every hash is checked before anything is changed. An older schema is brought up to date. A library that is there is
    replaced only with --replace, at the very end, as a whole.
    """
    from vidpipe.library.backups import manifest as manifests
    from vidpipe.library.connection import connect
    from vidpipe.settings import audit

    folder, manifest = manifests.read(directory.expanduser().absolute())
    command_context(context).load()  # a wrong home is said before a large back-up is read
    with PartsDisplay("Restoring") as display:
        _run_stoppable(display, lambda follower: _check(folder, manifest, follower))
        call = _with_backup_settings(command_context(context), folder, manifest) if settings_too else command_context(context)
        settings = call.load().settings
        with connect(settings, may_be_new=True) as connection, connection.errors_explained():
            told = _preview(connection, folder, manifest)
            if told["replaced"] and not replace:
                _refuse_existing(connection, told["replaced"], dry_run=dry_run)
            if not dry_run:
                if told["replaced"] and not yes and sys.stdin.isatty() and not as_json:
                    display.pause()
                    _confirm_replacement(told, connection)
                told = _restore(connection, settings, (folder, manifest), display, replace=replace)
                if settings_too:
                    from vidpipe.library.backups.home_files import put_back

                    told["settings"] = put_back(settings.home, folder, manifest.settings)
    told["dry_run"] = dry_run
    if not dry_run:
        audit("restore", **told)
    if as_json:
        print_json(told)
    else:
        _show_restore(told)


def _with_backup_settings(call: CommandContext, folder: Path, manifest: Manifest) -> CommandContext:
    """`call` under the settings as they will be."""
    from vidpipe.settings import find_home
    from vidpipe.settings.home import CONFIG_NAME

    if CONFIG_NAME not in manifest.settings:
        note("The back-up holds no config.ini; this home's stays.", "yellow")
        return call
    home = call.home or find_home(None)
    return dataclasses.replace(call, home=home, config=folder / "settings" / CONFIG_NAME)


def _run_stoppable(display: PartsDisplay, work: Any) -> Any:
    from vidpipe.library.backups.manifest import Follower, Stopped

    def follow(cancelled: threading.Event) -> Any:
        return work(Follower(display.progress, cancelled))

    try:
        return stoppable(follow, lambda text: display.say("Stopping; the library stays as it was."))
    except Stopped:
        raise KeyboardInterrupt from None


def _check(folder: Path, manifest: Manifest, follower: Any) -> None:
    from vidpipe.library.backups.restore import check

    check(folder, manifest, follower)


def _preview(connection: Connection, folder: Path, manifest: Manifest) -> dict[str, Any]:
    from vidpipe.library.backups.restore import Restored, is_empty, plain, what_is_there
    from vidpipe.library.migrations import MIGRATIONS
    from vidpipe.library.schema import SCHEMA_VERSION

    there = what_is_there(connection)
    told = plain(Restored(folder, manifest, replaced={} if is_empty(there) else there))
    told["into"] = f"{connection.collection('videos').full_name} at {connection.host}"
    told["migrations"] = [MIGRATIONS[since].what for since in range(manifest.schema_version, SCHEMA_VERSION)]
    return told


def _refuse_existing(connection: Connection, there: Mapping[str, int], *, dry_run: bool) -> None:
    from vidpipe.library.backups.restore import not_empty

    refusal = not_empty(connection, there)
    if not dry_run:
        raise refusal
    note(f"{refusal.message} {refusal.hint}", "yellow")


def _confirm_replacement(told: Mapping[str, Any], connection: Connection) -> None:
    there = ", ".join(f"{count} {name}" for name, count in told["replaced"].items())
    question = f"Replace {there} in {told['into']} by the back-up of {told['made_at']:%Y-%m-%d %H:%M} UTC?"
    if not typer.confirm(question, err=True):
        raise typer.Abort


def _restore(
    connection: Connection,
    settings: Settings,
    chosen: tuple[Path, Manifest],
    display: PartsDisplay,
    *,
    replace: bool,
) -> dict[str, Any]:
    from vidpipe.library.backups.restore import plain, restore
    from vidpipe.stages.registry import GRAPH

    def work(follower: Any) -> Restored:
        return restore(connection, settings, GRAPH, *chosen, replace=replace, follower=follower)

    done: Restored = _run_stoppable(display, work)
    display.progress("partitions", 0, None)
    _add_partitions(settings, done.videos)
    return {**plain(done), "into": f"{connection.collection('videos').full_name} at {connection.host}"}


def _add_partitions(settings: Settings, videos: Iterable[str]) -> None:
    """Each video a partition on Dagster's page."""
    from vidpipe.pipeline.instance import instance
    from vidpipe.pipeline.partitions import add_videos

    with instance(settings) as opened:
        add_videos(opened, videos)


def _show_restore(told: Mapping[str, Any]) -> None:
    console = out()
    documents = told["documents"]
    videos = counted(documents["videos"], "video")
    verb = "Would restore" if told["dry_run"] else "Restored"
    console.print(
        words(f"{verb} {videos} of {told['made_at']:%Y-%m-%d %H:%M} UTC from {told['from']} into {told['into']}"),
        soft_wrap=True,
    )
    if told["replaced"]:
        there = ", ".join(f"{count} {name}" for name, count in told["replaced"].items())
        console.print(words(f"  {'would replace' if told['dry_run'] else 'replaced'}: {there}"), soft_wrap=True)
    for sentence in told["migrations"]:
        console.print(words(f"  schema: {sentence}"), soft_wrap=True)
    if told["dry_run"]:
        return
    media = told["media"]
    console.print(words(f"  media: {media['copied']} copied, {media['present']} were there"))
    if media["missing"] or media["damaged"]:
        lost = f"{media['missing']} are missing, {media['damaged']} damaged in the back-up"
        note(f"  {lost}: {', '.join(media['names'][:5])} … `vidpipe run` fetches them again where it can.", "yellow")
    for name in told.get("settings", ()):
        console.print(words(f"  wrote {name}"))
