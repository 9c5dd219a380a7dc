"""Clean-up: deletes what is old enough. Its tasks run one after another; an error in one does not stop the others."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.settings import audit

log = logging.getLogger(__name__)


@dataclass
class PruneReport:
    """What a task deleted, or would delete in a dry run.

    Attributes:
        kind: Name of the task.
        count: Number of deleted items.
        oldest: Time of the oldest deleted item, UTC; None if none has a time.
        notes: Sentences for the user, such as what was left.
        error: What went wrong; items deleted before that are counted.
    """

    kind: str
    count: int = 0
    size_bytes: int = 0
    oldest: datetime | None = None
    notes: list[str] = field(default_factory=list)
    error: str = ""

    def add(self, size_bytes: int, at: datetime | float | None, count: int = 1) -> None:
        """Count deleted items.

        Args:
            size_bytes: Their size together.
            at: Time of the oldest of them: aware, or in seconds since 1970.
            count: Their number.
        """
        self.count += count
        self.size_bytes += size_bytes
        if at is not None:
            when = datetime.fromtimestamp(at, UTC) if isinstance(at, float | int) else at
            self.oldest = when if self.oldest is None else min(self.oldest, when)

    def as_document(self) -> dict[str, object]:
        """Return the report as it appears in `--json`."""
        return {**vars(self), "oldest": self.oldest.isoformat() if self.oldest else None}


@dataclass(frozen=True)
class PruneTask:
    """Deletes one kind of old data.

    Attributes:
        name: As shown to users.
        work: Fills the report; if its second argument is true (a dry run), it deletes nothing and counts the same.
    """

    name: str
    work: Callable[[PruneReport, bool], None]


def prune(tasks: Sequence[PruneTask], run_directory: Path, *, dry_run: bool = False) -> list[PruneReport]:
    """Run the tasks in order.

    Args:
        tasks: What to delete.
        run_directory: data/run of the home, where a lock prevents two clean-ups at once.
        dry_run: Only count.

    Raises:
        UnavailableError: Another clean-up is running.
    """
    run_directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run_directory / "prune.lock", blocking=False):
            return [_run(task, dry_run) for task in tasks]
    except Timeout:
        raise UnavailableError(
            "Another clean-up of this home is running.",
            "Wait until it has finished; Dagster's web page shows the job clean_up.",
        ) from None


def _run(task: PruneTask, dry_run: bool) -> PruneReport:
    report = PruneReport(task.name)
    began = time.monotonic()
    try:
        task.work(report, dry_run)
    except Exception as error:
        known = isinstance(error, VidpipeError)
        report.error = str(error if known else VidpipeError(f"{type(error).__name__}: {error}"))
        log.warning("clean-up of %s: %s", task.name, report.error, exc_info=not known)
    if not dry_run and (report.count or report.error):
        details = {"error": report.error} if report.error else {}
        seconds = round(time.monotonic() - began, 3)
        audit("pruned", kind=task.name, count=report.count, size_bytes=report.size_bytes, seconds=seconds, **details)
    return report


def cutoff(days: float) -> float:
    """Return the time that is `days` ago, in seconds since 1970."""
    return time.time() - days * 86400
