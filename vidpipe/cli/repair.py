"""vidpipe doctor --repair: repair damaged MongoDB and Dagster data in steps, each confirmed by the user."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import typer

from vidpipe.cli.output import counted, note, out, print_json, words
from vidpipe.cli.services import users_of
from vidpipe.errors import DamagedError, SettingsError, UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.library.mongod_files import MissingLibraryError, logged_damage
from vidpipe.library.repair import (
    DamagedFilesFolder,
    audited,
    lost_videos,
    rebuild,
    request_again,
    salvage,
    unknown_files,
)
from vidpipe.operations.backups.manifest import BackupError, BackupManifest, ProgressMonitor, read
from vidpipe.operations.backups.restore import check_backup, restore
from vidpipe.operations.services.service_definitions import find_running
from vidpipe.safe_files import private_directory
from vidpipe.settings import Settings, audit
from vidpipe.stages.registry import build_graph

#: In data/run while a repair is unfinished, so that the next one restores and rebuilds what is missing.
_MARKER = "repair"


@dataclass(frozen=True)
class RepairStep:
    """One step of a repair.

    Attributes:
        result: A sentence; for a declined step its question.
    """

    name: str
    state: Literal["done", "declined", "failed"]
    result: str


@dataclass
class Repair:
    """A repair of one home. Every step can be interrupted and repeated; nothing is deleted.

    agrees: asks the user to confirm a step
    empty:  start with an empty library if it is missing
    backup: a backup to restore from, or a folder of several; None: the newest that audit.jsonl names
    """

    settings: Settings
    agrees: Callable[[str], bool]
    empty: bool = False
    backup: Path | None = None
    steps: list[RepairStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.aside = DamagedFilesFolder(self.settings)
        self._marker = self.settings.data_directory / "run" / _MARKER

    def run(self) -> None:
        """Looks for damage and repairs it. Raises UnavailableError while servers or commands use the home."""
        fault, history = library_damage(self.settings), _damaged_history(self.settings)
        if fault is not None or history:
            _refuse_while_in_use(self.settings)
        for path, found in history:
            self._set_aside(path, found)
        if isinstance(fault, MissingLibraryError):
            if not self._begin_again():
                return
        elif fault is not None:
            self._salvage(fault)
        with suppress(DamagedError):  # left by a declined step; `repair` reports it
            self._fill(any(path.name == "index.db" for path, _ in history))

    def _step(self, name: str, question: str, work: Callable[[], str]) -> bool:
        """Does the work if the user agrees to the question. Returns whether it was done."""
        if not self.agrees(question):
            self.steps.append(RepairStep(name, "declined", question))
            return False
        try:
            self.steps.append(RepairStep(name, "done", work()))
        except VidpipeError as error:
            self.steps.append(RepairStep(name, "failed", str(error)))
        return self.steps[-1].state == "done"

    def _set_aside(self, path: Path, found: str) -> None:
        from vidpipe.pipeline.instance import set_aside

        self._step(
            "history", f"{path} {found}. Move it to {self.aside.folder}, and let Dagster create a new one?",
            lambda: f"Moved {path.name} of Dagster's history to {set_aside(path, self.aside)}.",
        )  # fmt: skip

    def _salvage(self, fault: DamagedError) -> None:
        def work() -> str:
            self._mark()
            whole = salvage(self.settings, self.aside)
            if whole and library_damage(self.settings) is not None:
                whole = False
                self.aside.move(embedded.files_of(self.settings).data)
            saved = "mongod salvaged all readable data" if whole else "Nothing could be salvaged"
            return f"{saved}; the damaged data is in {self.aside.folder}."

        self._step("MongoDB", f"{fault.message} Repair a copy of the data and move the original aside?", work)

    def _begin_again(self) -> bool:
        """For a missing library. Returns whether a library is to be restored or rebuilt."""
        if salvage(self.settings, self.aside):  # an earlier repair was interrupted just before its end
            return True
        self._mark()
        if not self.empty:
            return True

        def work() -> str:
            embedded.start(self.settings, may_be_new=True)
            self._marker.unlink(missing_ok=True)
            return "The library is now empty; stored video files are kept."

        self._step("empty library", "Start with an empty library?", work)
        return False

    def _fill(self, new_history: bool) -> None:
        """Restores and rebuilds what a damaged library has lost."""
        began = len(self.steps)
        if self._marker.exists():
            connect(self.settings, may_be_new=True).close()
        with Library.open(self.settings, build_graph(self.settings)) as library:
            if self._marker.exists() or not library.videos.count():
                library.changes.restart()  # documents and numbers may be lost
                self._restore(library)
                self._rebuild(library)
                self._list_lost(library)
            if new_history or any(step.state == "done" for step in self.steps[began:]):
                self._show_again(library)
        if all(step.state == "done" for step in self.steps):
            self._marker.unlink(missing_ok=True)

    def _restore(self, library: Library) -> None:
        found = newest_backup(self.settings, self.backup)
        there = library.videos.count()
        if found is None or found[1].videos <= there:
            return
        folder, manifest = found

        def work() -> str:
            check_backup(folder, manifest, ProgressMonitor())
            restore(library.connection, self.settings, library.graph, folder, manifest, replace=True)
            return f"Restored {counted(manifest.videos, 'video')} from {folder}."

        backed_up = counted(manifest.videos, "video")
        self._step("backup", f"Restore the backup {folder} of {backed_up}? The library has {there}.", work)

    def _rebuild(self, library: Library) -> None:
        unknown = sum(1 for _ in unknown_files(library))
        if not unknown:
            return

        def work() -> str:
            done = rebuild(library)
            damaged = [self.aside.move(path) for path in done.damaged]
            result = f"Added {counted(len(done.videos), 'stored video')}; `vidpipe run` computes their results."
            return f"{result} Damaged, moved aside: {', '.join(map(str, damaged))}." if damaged else result

        self._step("media", f"Add {counted(unknown, 'stored file')} missing from the library?", work)

    def _list_lost(self, library: Library) -> None:
        lost = lost_videos(library)
        if not lost:
            return
        place = self.aside.folder / "lost.txt"

        def work() -> str:
            addresses = request_again(library, lost)
            private_directory(place.parent)
            place.write_text("".join(f"{address}\n" for address in addresses), encoding="utf-8")
            return (
                f"{counted(len(lost), 'video')} could not be restored. {place} lists their "
                f"{counted(len(addresses), 'known source')}; `vidpipe add {place}` adds them again."
            )

        self._step("lost", f"List the sources of {counted(len(lost), 'lost video')} in {place}?", work)

    def _show_again(self, library: Library) -> None:
        from vidpipe.pipeline.clean_up import report_results_again

        try:
            report_results_again(self.settings, library)
            self.steps.append(RepairStep("Dagster", "done", "Dagster shows all videos and their results."))
        except VidpipeError as error:
            self.steps.append(RepairStep("Dagster", "failed", str(error)))

    def _mark(self) -> None:
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        self._marker.touch()


def library_damage(settings: Settings) -> DamagedError | None:
    """Return the damage to the embedded server's data; None if it is intact or another server is used.

    Raises UnavailableError if the server cannot start for another reason.
    """
    if not embedded.is_embedded(settings):
        return None
    try:
        embedded.start(settings)
    except DamagedError as error:
        return error
    return logged_damage(embedded.files_of(settings), last_start=False)


def _damaged_history(settings: Settings) -> list[tuple[Path, str]]:
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.instance import damaged_files

    return list(damaged_files(dagster_home(settings)))


def newest_backup(settings: Settings, named: Path | None) -> tuple[Path, BackupManifest] | None:
    """The backup in `named`, or the newest readable one that audit.jsonl names."""
    if named is not None:
        return read(named.expanduser().absolute())
    made = {str(entry["path"]) for entry in audited(settings) if entry.get("event") == "backup" and "path" in entry}
    found = []
    for folder in {Path(path).parent for path in made}:
        with suppress(BackupError, OSError):
            found.append(read(folder))
    return max(found, key=lambda one: one[1].made_at, default=None)


def _refuse_while_in_use(settings: Settings) -> None:
    running = embedded.status(settings)
    users = users_of(running.port) if running.port is not None else []
    if find_running(settings.home) or users:
        raise UnavailableError(
            f"The data cannot be repaired while in use{f' by {users[0]}' if users else ''}.",
            "Stop the servers with `vidpipe down` and other commands with Ctrl-C.",
        )


def repair(settings: Settings, *, yes: bool, empty: bool, backup: Path | None, as_json: bool) -> int:
    """Repairs the home and shows what was done. Returns the exit code: 3 if something is still damaged."""
    can_ask = sys.stdin.isatty() and not as_json
    if not (yes or can_ask):
        raise SettingsError(
            "A repair asks for confirmation, but stdin is not a terminal.",
            "Use `vidpipe doctor --repair --yes` to confirm every step.",
        )
    done = Repair(settings, lambda question: yes or typer.confirm(question, err=True), empty, backup)
    done.run()
    left = [str(error)] if (error := library_damage(settings)) else []
    left += [f"{path} {found}" for path, found in _damaged_history(settings)]
    moved = done.aside.folder if done.aside.moved else None
    ok = not left and all(step.state == "done" for step in done.steps)
    report: dict[str, Any] = {
        "ok": ok, "steps": [asdict(step) for step in done.steps], "moved_to": moved, "damaged": left,
    }  # fmt: skip
    if done.steps:
        audit("repair", **report)
    if as_json:
        print_json(report)
    else:
        _show(done, left)
    return 0 if ok else 3


def _show(done: Repair, left: list[str]) -> None:
    console = out()
    for step in done.steps:
        label = {"done": ("done", "green"), "declined": ("not done", "yellow"), "failed": ("failed", "red")}[step.state]
        line = words(f"{label[0]}: ", label[1])
        line.append_text(words(step.result))
        console.print(line, soft_wrap=True)
    for sentence in left:
        note(f"Still damaged: {sentence}", "yellow")
    if not done.steps and not left:
        console.print("No damage found.")


def offer_recovery(error: DamagedError) -> bool:
    """Asks the user what to do about a missing library, and does it. Returns whether the command can continue."""
    if not (isinstance(error, MissingLibraryError) and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    note(error.message, "yellow")
    if typer.confirm("Restore or rebuild the library from backups and stored files?", err=True):
        return repair(error.settings, yes=True, empty=False, backup=None, as_json=False) == 0
    if typer.confirm("Start with an empty library?", err=True):
        embedded.start(error.settings, may_be_new=True)
        return True
    return False
