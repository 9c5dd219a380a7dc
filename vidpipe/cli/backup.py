"""vidpipe backup and vidpipe restore."""

import dataclasses
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.confirmation import confirm
from vidpipe.cli.context import CommandContext, command_context
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.options import Json, Yes
from vidpipe.cli.output import counted, note, out, print_json, size, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.library.connection import Connection, connect
from vidpipe.library.library import Library
from vidpipe.library.migrations import MIGRATIONS
from vidpipe.library.schema import SCHEMA_VERSION
from vidpipe.operations.backups import manifest as manifests
from vidpipe.operations.backups.backup import back_up, backup_json
from vidpipe.operations.backups.file_transfer import restore_home_files
from vidpipe.operations.backups.manifest import BackupCancelled, BackupManifest, ProgressMonitor
from vidpipe.operations.backups.restore import (
    RestoreResult,
    check_backup,
    count_documents,
    is_empty,
    not_empty_error,
    restore_json,
)
from vidpipe.operations.backups.restore import restore as restore_backup
from vidpipe.settings import Settings, audit, find_home
from vidpipe.settings.home import CONFIG_NAME
from vidpipe.stages.registry import build_graph


def backup(
    context: typer.Context,
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of backups; each gets one of its own, named by its time (UTC)."),
    ],
    *,
    media: Annotated[
        bool, typer.Option("--media", help="Include the video files; otherwise only their names and hashes.")
    ] = False,
    derived: Annotated[
        bool,
        typer.Option(
            "--derived/--no-derived", help="Include thumbnails and frame packs, which can also be regenerated."
        ),
    ] = True,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Number of backups to keep; the oldest are removed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Back up the library, rules, config.ini and watched lists.

    Safe while runs are in progress. Secrets are never included. Files are hard-linked if DIR is on the same disk and
    copied otherwise; an interrupted backup is resumed. `vidpipe restore DIR` restores it.
    """
    call = command_context(context)
    settings = call.load().settings
    with connect(settings) as connection, connection.errors_explained(), PartsDisplay("Backing up") as display:

        def work(follower: ProgressMonitor) -> Any:
            return back_up(
                connection, settings, build_graph(settings), directory, media=media, derived=derived, keep=keep,
                config=call.config, monitor=follower,
            )  # fmt: skip

        done = _run_stoppable(display, work, "Stopping; no incomplete backup is left behind.")
    report = backup_json(done)
    audit("backup", **report)
    if as_json:
        print_json(report)
    else:
        _show_backup(report)


def _show_backup(report: Mapping[str, Any]) -> None:
    console = out()
    documents = report["documents"]
    what = f"{counted(documents['videos'], 'video')}, {size(report['size_bytes'])} of library"
    console.print(words(f"Backed up {what} to {report['path']}"), soft_wrap=True)
    for name, kind in (("media", "media"), ("derived", "thumbnails and frame packs")):
        files = report[name]
        if not files["included"]:
            console.print(words(f"  {kind}: not included" + (", by name and hash" if name == "media" else "")))
            continue
        how = ", ".join(f"{files[way]} {way}" for way in ("linked", "copied", "present") if files[way])
        console.print(words(f"  {kind}: {counted(files['files'], 'file')}, {size(files['size_bytes'])} ({how or '-'})"))
        if files["missing"]:
            note(f"  {files['missing']} missing: {', '.join(files['missing_names'][:5])} …", "yellow")
    for sentence in report["notes"]:
        note(f"  {sentence}", "yellow")
    for old in report["removed"]:
        note(f"  removed {old}")


def restore(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A backup, or a folder of backups (the latest is used).")
    ],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the existing library.")] = False,
    settings_too: Annotated[
        bool,
        typer.Option(
            "--settings", help="Also restore config.ini, rules and watched lists; files that differ are kept as .bak."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the backup and show what would be done; change nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Restore a backup into the library that [MongoDB] names.

    Every hash is checked before anything changes. An older schema is migrated. An existing library is replaced only
    with --replace, as a whole, in the last step.
    """
    folder, manifest = manifests.read(directory.expanduser().absolute())
    command_context(context).load()  # report a wrong home before reading a large backup
    with PartsDisplay("Restoring") as display:
        _run_stoppable(display, lambda follower: check_backup(folder, manifest, follower))
        call = command_context(context)
        if settings_too:
            call = _with_backup_settings(call, folder, manifest)
        settings = call.load().settings
        with connect(settings, may_be_new=True) as connection, connection.errors_explained():
            report = _preview(connection, folder, manifest)
            if report["replaced"] and not replace:
                _refuse_existing(connection, report["replaced"], dry_run=dry_run)
            if not dry_run:
                if report["replaced"] and not yes and sys.stdin.isatty() and not as_json:
                    display.pause()
                    _confirm_replacement(report)
                report = _restore(connection, settings, (folder, manifest), display, replace=replace)
                if settings_too:
                    report["settings"] = restore_home_files(settings, folder, manifest.settings)
    report["dry_run"] = dry_run
    if not dry_run:
        audit("restore", **report)
    if as_json:
        print_json(report)
    else:
        _show_restore(report)


def _with_backup_settings(call: CommandContext, folder: Path, manifest: BackupManifest) -> CommandContext:
    """Return `call` with the settings of the backup."""
    if CONFIG_NAME not in manifest.settings:
        note("The backup contains no config.ini; this home's is kept.", "yellow")
        return call
    home = call.home or find_home(None)
    return dataclasses.replace(call, home=home, config=folder / "settings" / CONFIG_NAME)


def _run_stoppable(display: PartsDisplay, work: Any, said: str = "Stopping; the library is unchanged.") -> Any:
    """Run `work`, and say `said` when the user asks to stop."""

    def follow(cancelled: threading.Event) -> Any:
        return work(ProgressMonitor(display.progress, cancelled))

    try:
        return stoppable(follow, lambda text: display.say(said))
    except BackupCancelled:
        raise KeyboardInterrupt from None


def _preview(connection: Connection, folder: Path, manifest: BackupManifest) -> dict[str, Any]:
    there = count_documents(connection)
    report = restore_json(RestoreResult(folder, manifest, replaced={} if is_empty(there) else there))
    report["into"] = f"{connection.collection('videos').full_name} at {connection.host}"
    report["migrations"] = [MIGRATIONS[since].what for since in range(manifest.schema_version, SCHEMA_VERSION)]
    return report


def _refuse_existing(connection: Connection, there: Mapping[str, int], *, dry_run: bool) -> None:
    refusal = not_empty_error(connection, there)
    if not dry_run:
        raise refusal
    note(f"{refusal.message} {refusal.hint}", "yellow")


def _confirm_replacement(report: Mapping[str, Any]) -> None:
    there = ", ".join(f"{count} {name}" for name, count in report["replaced"].items())
    question = f"Replace {there} in {report['into']} with the backup of {report['made_at']:%Y-%m-%d %H:%M} UTC?"
    confirm("vidpipe restore", question, yes=False, as_json=False)


def _restore(
    connection: Connection,
    settings: Settings,
    chosen: tuple[Path, BackupManifest],
    display: PartsDisplay,
    *,
    replace: bool,
) -> dict[str, Any]:
    def work(follower: Any) -> RestoreResult:
        return restore_backup(connection, settings, build_graph(settings), *chosen, replace=replace, monitor=follower)

    done: RestoreResult = _run_stoppable(display, work)
    display.progress("partitions", 0, None)
    _add_partitions(settings, done.videos)
    return {**restore_json(done), "into": f"{connection.collection('videos').full_name} at {connection.host}"}


def _add_partitions(settings: Settings, videos: Iterable[str]) -> None:
    """Add a Dagster partition for each video, within the limit."""
    from vidpipe.pipeline.instance import instance
    from vidpipe.pipeline.partitions import VideoPartitions

    with instance(settings) as opened, Library.open(settings, build_graph(settings)) as library:
        VideoPartitions(opened, library).add(videos)


def _show_restore(report: Mapping[str, Any]) -> None:
    console = out()
    documents = report["documents"]
    videos = counted(documents["videos"], "video")
    verb = "Would restore" if report["dry_run"] else "Restored"
    console.print(
        words(f"{verb} {videos} of {report['made_at']:%Y-%m-%d %H:%M} UTC from {report['from']} into {report['into']}"),
        soft_wrap=True,
    )
    if report["replaced"]:
        there = ", ".join(f"{count} {name}" for name, count in report["replaced"].items())
        console.print(words(f"  {'would replace' if report['dry_run'] else 'replaced'}: {there}"), soft_wrap=True)
    for sentence in report["migrations"]:
        console.print(words(f"  schema: {sentence}"), soft_wrap=True)
    if report["dry_run"]:
        return
    media = report["media"]
    console.print(words(f"  media: {media['copied']} copied, {media['present']} already present"))
    if media["missing"] or media["damaged"]:
        lost = f"{media['missing']} missing, {media['damaged']} damaged in the backup"
        note(f"  {lost}: {', '.join(media['names'][:5])} … `vidpipe run` downloads them again if possible.", "yellow")
    for name in report.get("settings", ()):
        console.print(words(f"  wrote {name}"))
