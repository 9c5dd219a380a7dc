"""What is known of the lines of a list: a digest of each and the source it names, 32 bytes a line, in data/run/lists.

It saves reading lines again that were read before, and tells which are gone. It can be lost: the file and MongoDB say
the same. A line's digest may be one of a secret, so only the owner may read it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

KEY_BYTES = ID_BYTES = 16
_ENTRY_BYTES = KEY_BYTES + ID_BYTES
_FORMAT = 1
#: Stands for the source of a line that names files of this machine: these are looked at each time.
LOCAL = bytes(ID_BYTES)


@dataclass
class Memory:
    """
    lines:    digest of a line -> id of its source, or LOCAL
    complete: every line of the file was known at least once, so that what is missing now was removed
    """

    lines: dict[bytes, bytes] = field(default_factory=dict)
    complete: bool = False

    def ids(self) -> set[bytes]:
        return set(self.lines.values()) - {LOCAL}


class MemoryFiles:
    """The memories of one library. database: another one's memory is not believed."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database

    def load(self, name: str) -> Memory:
        """What is known of the list `name`; nothing where the file is lost or of another kind."""
        try:
            header, _, entries = self._path(name, "lines").read_bytes().partition(b"\n")
            said = json.loads(header)
        except (OSError, ValueError):
            return Memory()
        if said.get("of") != self._of(name) or said.get("bytes") != len(entries):
            return Memory()
        lines = {
            entries[start : start + KEY_BYTES]: entries[start + KEY_BYTES : start + _ENTRY_BYTES]
            for start in range(0, len(entries), _ENTRY_BYTES)
        }
        return Memory(lines, bool(said.get("complete")))

    def save(self, name: str, memory: Memory) -> None:
        entries = b"".join(part for entry in memory.lines.items() for part in entry)
        header = {"of": self._of(name), "bytes": len(entries), "complete": memory.complete}
        self._write(self._path(name, "lines"), [json.dumps(header).encode(), b"\n", entries])

    def load_local(self, name: str) -> dict[str, Any]:
        try:
            said = json.loads(self._path(name, "local").read_bytes())
        except (OSError, ValueError):
            return {}
        return dict(said["local"]) if said.get("of") == self._of(name) else {}

    def save_local(self, name: str, local: Mapping[str, Any]) -> None:
        plain = json.dumps({"of": self._of(name), "local": local}, separators=(",", ":"))
        self._write(self._path(name, "local"), [plain.encode()])

    def forget(self, name: str) -> None:
        for kind in ("lines", "local"):
            self._path(name, kind).unlink(missing_ok=True)

    def _of(self, name: str) -> list[Any]:
        return [_FORMAT, self._database, name]

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.{kind}"

    def _write(self, path: Path, parts: Iterable[bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(parts)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
