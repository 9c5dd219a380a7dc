"""A file that others write: read only when it is at rest, and whole."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe.safe_files import check_regular, open_regular

#: A file is at rest when nobody has touched it for so long.
REST_S = 1.0
#: Likewise where the last line has no end: somebody may be in the middle of it.
REST_IN_LINE_S = 4.0

#: inode, size in bytes, time of the last change in ns
Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Sight:
    """How a file looked, and since when it has looked like that (seconds since the epoch)."""

    signature: Signature
    since: float

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any] | None) -> Sight | None:
        return cls(tuple(plain["signature"]), plain["since"]) if plain else None

    def plain(self) -> dict[str, Any]:
        return {"signature": list(self.signature), "since": self.since}


def look(path: Path, before: Sight | None) -> Sight:
    """Today's sight of `path`. Errors: OSError.

    Since when it has looked so is what the disk says, or, where that clock goes wrong, when it was first seen so. The
    time of the last change of the inode counts as well: programs that copy files set the other one back.
    """
    found = check_regular(path)
    signature = _signature(found)
    now = time.time()
    changed_at = max(found.st_mtime, found.st_ctime)
    if changed_at > now:
        changed_at = before.since if before is not None and before.signature == signature else now
    return Sight(signature, changed_at)


def read_at_rest(path: Path, sight: Sight) -> bytes | None:
    """The whole contents that `sight` belongs to; None where somebody is writing, or has just put another file there.

    Errors: OSError.
    """
    now = time.time()
    if now - sight.since < REST_S:
        return None
    with open_regular(path) as file:
        if _signature(os.fstat(file.fileno())) != sight.signature:
            return None
        data = file.read()
        if len(data) != sight.signature[1] or _signature(os.fstat(file.fileno())) != sight.signature:
            return None
    if _signature(path.stat()) != sight.signature:
        return None
    in_line = bool(data) and not data.endswith((b"\n", b"\r", b"\n\0", b"\0\n"))
    return None if in_line and now - sight.since < REST_IN_LINE_S else data


def _signature(found: os.stat_result) -> Signature:
    return found.st_ino, found.st_size, found.st_mtime_ns
