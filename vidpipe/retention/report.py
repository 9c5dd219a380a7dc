"""What one kind of clean-up came to, and how the kinds are gone through: each alone, one clean-up at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.settings import audit

log = logging.getLogger(__name__)

DAY_S = 86400.0
#: Between two chunks of a large deletion others get at the database or the disk.
PAUSE_S = 0.02

Item = TypeVar("Item")


@dataclass
class Pruned:
    """What was deleted, or with `dry_run` would be.

    oldest: time of the oldest of them, UTC; None where nothing is old
    notes:  what a person should know besides: what was left, what gave space back
    error:  what went wrong; what was deleted before that is counted
    """

    kind: str
    count: int = 0
    size_bytes: int = 0
    oldest: datetime | None = None
    notes: list[str] = field(default_factory=list)
    error: str = ""

    def add(self, size_bytes: int, at: datetime | float | None, count: int = 1) -> None:
        """Counts some of `size_bytes` together, the oldest of them of the time `at` (seconds since 1970, or aware)."""
        self.count += count
        self.size_bytes += size_bytes
        if at is not None:
            when = datetime.fromtimestamp(at, UTC) if isinstance(at, float | int) else at
            self.oldest = when if self.oldest is None else min(self.oldest, when)

    def as_document(self) -> dict[str, object]:
        return {
            "kind": self.kind, "count": self.count, "size_bytes": self.size_bytes,
            "oldest": self.oldest.isoformat() if self.oldest else None, "notes": self.notes, "error": self.error,
        }  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of what is deleted. work: fills the report; with `dry_run` it deletes nothing and counts the same."""

    name: str
    description: str
    work: Callable[[Pruned, bool], None]


def prune(kinds: Sequence[Kind], run_directory: Path, *, dry_run: bool = False) -> list[Pruned]:
    """Goes through `kinds` in order; an error in one is told in its report, and the others go on.

    run_directory: data/run of the home, where a lock keeps two clean-ups apart
    Raises UnavailableError where another clean-up is at work.
    """
    run_directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run_directory / "prune.lock", blocking=False):
            return [_one(kind, dry_run) for kind in kinds]
    except Timeout:
        raise UnavailableError(
            "Another clean-up of this home is at work.", "Wait for its end; Dagster's page shows the job clean_up."
        ) from None


def _one(kind: Kind, dry_run: bool) -> Pruned:
    report = Pruned(kind.name)
    began = time.monotonic()
    try:
        kind.work(report, dry_run)
    except Exception as error:
        said = error if isinstance(error, VidpipeError) else VidpipeError(f"{type(error).__name__}: {error}")
        report.error = str(said)
        log.warning("clean-up of %s: %s", kind.name, said, exc_info=not isinstance(error, VidpipeError))
    if not dry_run and (report.count or report.error):
        audit(
            "pruned", kind=kind.name, count=report.count, size_bytes=report.size_bytes,
            seconds=round(time.monotonic() - began, 3), **({"error": report.error} if report.error else {}),
        )  # fmt: skip
    return report


def in_chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Slices of `items`, with a short pause after each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        time.sleep(PAUSE_S)


def cutoff(days: float, now: float | None = None) -> float:
    """The time before which something is older than `days`, in seconds since 1970."""
    return (time.time() if now is None else now) - days * DAY_S
