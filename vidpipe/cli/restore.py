"""vidpipe restore: a library out of a back-up."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidpipe.cli.call import Call, call_of
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_json, words
from vidpipe.cli.parts import PartsDisplay

if TYPE_CHECKING:
    from vidpipe.library.connection import Connection
    from vidpipe.operations.backups.manifest import Manifest
    from vidpipe.operations.backups.restore import RestoreResult
    from vidpipe.settings import Settings


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
    from vidpipe.library.connection import connect
    from vidpipe.operations.backups import manifest as manifests
    from vidpipe.settings import audit

    folder, manifest = manifests.read(directory.expanduser().absolute())
    call_of(context).load()  # a wrong home is said before a large back-up is read
    with PartsDisplay("Restoring") as display:
        _stoppable(display, lambda follower: _check(folder, manifest, follower))
        call = _with_settings(call_of(context), folder, manifest) if settings_too else call_of(context)
        settings = call.load().settings
        with connect(settings, may_be_new=True) as connection, connection.errors_explained():
            told = _what_would_be(connection, folder, manifest)
            if told["replaced"] and not replace:
                _refuse(connection, told["replaced"], dry_run=dry_run)
            if not dry_run:
                if told["replaced"] and not yes and sys.stdin.isatty() and not as_json:
                    display.pause()
                    _ask(told, connection)
                told = _restore(connection, settings, (folder, manifest), display, replace=replace)
                if settings_too:
                    from vidpipe.operations.backups.home_files import restore_home_files

                    told["settings"] = restore_home_files(settings.home, folder, manifest.settings)
    told["dry_run"] = dry_run
    if not dry_run:
        audit("restore", **told)
    if as_json:
        print_json(told)
    else:
        _show(told)


def _with_settings(call: Call, folder: Path, manifest: Manifest) -> Call:
    """`call` under the settings as they will be."""
    from vidpipe.settings import find_home
    from vidpipe.settings.home import CONFIG_NAME

    if CONFIG_NAME not in manifest.settings:
        note("The back-up holds no config.ini; this home's stays.", "yellow")
        return call
    home = call.home or find_home(None)
    return dataclasses.replace(call, home=home, config=folder / "settings" / CONFIG_NAME)


def _stoppable(display: PartsDisplay, work: Any) -> Any:
    from vidpipe.operations.backups.manifest import BackupCancelled, ProgressMonitor

    def follow(cancelled: threading.Event) -> Any:
        return work(ProgressMonitor(display.progress, cancelled))

    try:
        return stoppable(follow, lambda text: display.say("Stopping; the library stays as it was."))
    except BackupCancelled:
        raise KeyboardInterrupt from None


def _check(folder: Path, manifest: Manifest, follower: Any) -> None:
    from vidpipe.operations.backups.restore import check_backup

    check_backup(folder, manifest, follower)


def _what_would_be(connection: Connection, folder: Path, manifest: Manifest) -> dict[str, Any]:
    from vidpipe.library.migrations import MIGRATIONS
    from vidpipe.library.schema import SCHEMA_VERSION
    from vidpipe.operations.backups.restore import RestoreResult, count_documents, is_empty, restore_json

    there = count_documents(connection)
    told = restore_json(RestoreResult(folder, manifest, replaced={} if is_empty(there) else there))
    told["into"] = f"{connection.collection('videos').full_name} at {connection.host}"
    told["migrations"] = [MIGRATIONS[since].what for since in range(manifest.schema_version, SCHEMA_VERSION)]
    return told


def _refuse(connection: Connection, there: Mapping[str, int], *, dry_run: bool) -> None:
    from vidpipe.operations.backups.restore import not_empty_error

    refusal = not_empty_error(connection, there)
    if not dry_run:
        raise refusal
    note(f"{refusal.message} {refusal.hint}", "yellow")


def _ask(told: Mapping[str, Any], connection: Connection) -> None:
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
    from vidpipe.operations.backups.restore import restore, restore_json
    from vidpipe.stages.registry import GRAPH

    def work(follower: Any) -> RestoreResult:
        return restore(connection, settings, GRAPH, *chosen, replace=replace, monitor=follower)

    done: RestoreResult = _stoppable(display, work)
    display.progress("partitions", 0, None)
    _make_partitions(settings, done.videos)
    return {**restore_json(done), "into": f"{connection.collection('videos').full_name} at {connection.host}"}


def _make_partitions(settings: Settings, videos: Iterable[str]) -> None:
    """Each video a partition on Dagster's page."""
    from vidpipe.pipeline.instance import instance
    from vidpipe.pipeline.partitions import add_videos

    with instance(settings) as opened:
        add_videos(opened, videos)


def _show(told: Mapping[str, Any]) -> None:
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
