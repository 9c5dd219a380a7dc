"""Folders: the videos below one, and what was skipped, counted by reason."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vidpipe.errors import readable
from vidpipe.ingest.containers import skip_reason
from vidpipe.ingest.records import IngestNote

_HIDDEN_FOLDER, _LINKED_FOLDER = "hidden folder", "linked folder"


@dataclass
class Skipped:
    """counts: what it is ("JPEG picture") -> how many; unreadable: files and folders that gave an error"""

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: list[OSError] = field(default_factory=list)

    def count(self, reason: str) -> None:
        """reason: what it is, as it stands after "is": "a JPEG picture", "not a video format that …"."""
        name = re.sub(r"^an? |\s*\(.*", "", reason)
        self.counts[f"file {name}" if name.startswith("not ") else name] += 1

    def note(self, given: str) -> IngestNote | None:
        """The sentence about the folder that was `given`; None where nothing was skipped."""
        if not self.counts:
            return None
        folders = self.counts[_HIDDEN_FOLDER] + self.counts[_LINKED_FOLDER]
        totals = {"file": self.counts.total() - folders, "folder": folders}
        number_of = " and ".join(f"{number} {_plural(what, number)}" for what, number in totals.items() if number)
        counts = dict(self.counts.most_common())
        said = ", ".join(f"{number} {_plural(name, number)}" for name, number in counts.items() if number)
        return IngestNote(readable(given), f"{readable(given)}: skipped {number_of}: {said}.", counts)


def videos_below(folder: Path, exclude: Collection[Path], skipped: Skipped) -> Iterator[Path]:
    """Every video below `folder`, links resolved, in the order of names: by suffix, or by content where the suffix does
    not tell. Hidden files and folders, and linked folders, are left alone.

    exclude: folders that are left alone without a word
    skipped: filled on the way
    """
    for directory, names, files in os.walk(folder, onerror=skipped.unreadable.append):
        names[:] = sorted(name for name in names if _is_walked(Path(directory, name), exclude, skipped))
        for name in sorted(files):
            path = Path(directory, name)
            try:
                reason = _skip_reason(path)
            except OSError as error:
                skipped.unreadable.append(error)
                continue
            if reason is None:
                yield path.resolve()
            else:
                skipped.count(reason)


def _is_walked(folder: Path, exclude: Collection[Path], skipped: Skipped) -> bool:
    if folder.name.startswith("."):
        skipped.count(_HIDDEN_FOLDER)
        return False
    if folder.is_symlink():
        skipped.count(_LINKED_FOLDER)
        return False
    return folder.resolve() not in exclude


def _skip_reason(path: Path) -> str | None:
    if path.name.startswith("."):
        return "a hidden file"
    if not path.is_file():
        return "a broken link" if path.is_symlink() else "a device or pipe"
    return skip_reason(path)


def _plural(noun: str, number: int) -> str:
    """1 JPEG picture, 2 JPEG pictures, 2 files not named like a video."""
    head, separator, rest = noun.partition(" not ")
    return noun if number == 1 or head.endswith("s") else f"{head}s{separator}{rest}"
