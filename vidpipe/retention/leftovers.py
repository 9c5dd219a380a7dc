"""What processes that ended left behind: abandoned partial downloads, journals of other machines."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from vidpipe.library.library import Library
from vidpipe.library.processes import is_dead, this_process
from vidpipe.retention.report import Pruned, cutoff
from vidpipe.settings import Settings
from vidpipe.storage.media_store import MediaStore


def delete_downloads(settings: Settings, report: Pruned, dry_run: bool) -> None:
    """Partial files of the media store that no process holds and nobody has written to for PartialDays."""
    if not (settings.media_directory / "incoming").is_dir():
        return
    store = MediaStore(settings)
    stats: dict[Path, os.stat_result] = {}
    for path in store.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            stats[path] = path.stat()
    days = settings.retention.partial_days
    for path in store.clean(days, dry_run=dry_run):
        if path in stats:
            report.add(stats[path].st_size, stats[path].st_mtime)


def delete_journals(settings: Settings, library: Library, report: Pruned, dry_run: bool) -> None:
    """Journals of containers and machines that shared this home. Those of dead processes of this machine are taken up
    by the next run; of the others it is only known that they hold no lease and have written nothing for PartialDays."""
    limit = cutoff(settings.retention.partial_days)
    holding = set(library.collections["videos"].distinct("lease.owner"))
    for path in sorted((settings.data_directory / "run").glob("*.journal")):
        owner = _owner(path)
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if stat.st_mtime < limit and owner not in holding and not _lives_here(owner):
            if not dry_run:
                path.unlink(missing_ok=True)
            report.add(stat.st_size, stat.st_mtime)


def _owner(path: Path) -> str:
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError):
        return ""


def _lives_here(owner: str) -> bool:
    """Whether it is a process of this machine that has not ended."""
    process = owner.rpartition("|")[0]
    return process.partition("|")[0] == this_process().partition("|")[0] and not is_dead(process)
