"""What changed in a list since it was last read, and the cache of its lines, 32 bytes each, in data/run/lists.

The cache saves parsing known lines again and shows which ones are gone. It can be lost: the file and MongoDB have the
same information. A line's digest may be that of a secret, so only the owner may read the cache.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.safe_files import replace_file
from vidpipe.settings.operation import Lists
from vidpipe.sources.list_files import list_lines
from vidpipe.sources.lists import Lines, ListEntry, ListProblem, key_of
from vidpipe.sources.records import ListedSource
from vidpipe.sources.source_request import SourceRequest, local_path, request_for

_KEY_BYTES = _ID_BYTES = 16
_ENTRY_BYTES = _KEY_BYTES + _ID_BYTES
_FORMAT = 1
#: In place of the source of a line that names files of this machine: these are checked each time.
LOCAL = bytes(_ID_BYTES)


@dataclass
class LineCache:
    """The known lines of a list.

    Attributes:
        lines: Digest of a line -> id of its source, or LOCAL.
        complete: Every line of the file was known at least once, so missing ones were removed.
    """

    lines: dict[bytes, bytes] = field(default_factory=dict)
    complete: bool = False

    def ids(self) -> set[bytes]:
        """Return the ids of all sources."""
        return set(self.lines.values()) - {LOCAL}


class ListCacheFiles:
    """The cache files of one library's lists."""

    def __init__(self, folder: Path, database: str) -> None:
        """Use a folder.

        Args:
            folder: Where the files are.
            database: Names the library; the cache of another one is ignored.
        """
        self._folder = folder
        self._database = database

    def load(self, name: str) -> LineCache:
        """Return the cache of the list `name`; an empty one if the file is missing or invalid."""
        header, entries = self._read(name, "lines")
        if header.get("bytes") != len(entries):
            return LineCache()
        lines = {
            entries[start : start + _KEY_BYTES]: entries[start + _KEY_BYTES : start + _ENTRY_BYTES]
            for start in range(0, len(entries), _ENTRY_BYTES)
        }
        return LineCache(lines, bool(header.get("complete")))

    def save(self, name: str, cache: LineCache) -> None:
        """Write the cache of the list `name`."""
        entries = b"".join(part for entry in cache.lines.items() for part in entry)
        self._write(name, "lines", {"bytes": len(entries), "complete": cache.complete}, entries)

    def load_local(self, name: str) -> dict[str, Any]:
        """Return what is cached of the local files in the list `name`."""
        header, _ = self._read(name, "local")
        return dict(header.get("local", {}))

    def save_local(self, name: str, local: Mapping[str, Any]) -> None:
        """Cache the local files in the list `name`."""
        self._write(name, "local", {"local": local})

    def forget(self, name: str) -> None:
        """Delete the cache of the list `name`."""
        for kind in ("lines", "local"):
            self._path(name, kind).unlink(missing_ok=True)

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.{kind}"

    def _read(self, name: str, kind: str) -> tuple[dict[str, Any], bytes]:
        try:
            line, _, content = self._path(name, kind).read_bytes().partition(b"\n")
            header: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            return {}, b""
        return (header, content) if header.get("of") == [_FORMAT, self._database, name] else ({}, b"")

    def _write(self, name: str, kind: str, header: Mapping[str, Any], content: bytes = b"") -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps({"of": [_FORMAT, self._database, name], **header}, separators=(",", ":"))
        replace_file(self._path(name, kind), line.encode() + b"\n" + content, mode=0o600)


def parse_list(path: Path, data: bytes, columns: Lists) -> Lines:
    """Return the lines of a list's contents; none if it is empty, even of a table. Raises VidpipeError.

    A watched folder is a list with one line: itself.
    """
    if path.is_dir():
        return Lines([key_of(str(path))], lambda _: ListEntry(1, str(path)))
    return list_lines(path, data, columns) if data.strip() else Lines((), ().__getitem__)


class ListDiff:
    """The difference between the lines of a list and the known ones. If a source is named twice, its first line counts.

    Consume `news` to its end, then `edited` and `removed`, and keep `cache`. Or consume it in part and keep
    `partial_cache`: the next diff continues from there.

    Attributes:
        problems: Invalid lines.
        local: Lines that name files and folders of this machine.
    """

    def __init__(self, lines: Lines, known: LineCache) -> None:
        self._lines = lines
        self._known = known
        self._ids: list[bytes | None] = list(map(known.lines.get, lines.keys))
        #: source -> position of its first line
        self._first: dict[bytes | None, int] = dict(
            zip(reversed(self._ids), range(len(self._ids) - 1, -1, -1), strict=True)
        )
        self._before = known.ids()
        self._lines_with_news: dict[bytes, bytes] = {}
        self._other_lines: dict[bytes, bytes] = {}
        self.problems: list[ListProblem] = []
        self.local: list[ListEntry] = []

    def news(self) -> Iterator[ListedSource]:
        """Yield the entries of the unknown lines, in the file's order."""
        for position, before in enumerate(self._ids):
            if before is not None and before != LOCAL:
                continue
            row = self._lines.row(position)
            if isinstance(row, ListProblem):
                self.problems.append(row)
            elif before == LOCAL or local_path(row.text):
                self.local.append(row)
                self._assign(position, LOCAL, self._other_lines)
            else:
                try:
                    request = request_for(row.text, quoted=False)
                except VidpipeError as error:
                    self.problems.append(ListProblem(row.line, str(error)))
                    continue
                source = bytes.fromhex(request.id)
                if self._first.setdefault(source, position) < position:
                    self._assign(position, source, self._other_lines)
                else:
                    self._first[source] = position
                    self._assign(position, source, self._lines_with_news)
                    yield listed_source(request, row, edited=source in self._before)

    def _assign(self, position: int, source: bytes, lines: dict[bytes, bytes]) -> None:
        self._ids[position] = source
        lines[self._lines.keys[position]] = source

    def edited(self) -> Iterator[ListedSource]:
        """Yield the sources for which another line counts now, because the earlier one is gone or comes later."""
        reported = set(self._lines_with_news.values())
        counted: dict[bytes, bytes] = {}
        for key, source in self._known.lines.items():
            counted.setdefault(source, key)
        for named, position in self._first.items():
            if named is None or named == LOCAL or named in reported or named not in counted:
                continue
            if counted[named] != self._lines.keys[position]:
                row = self._lines.row(position)
                if isinstance(row, ListEntry):
                    yield listed_source(request_for(row.text), row, edited=True)

    def removed(self) -> list[str]:
        """Return the ids of sources that no line names any more."""
        return [source.hex() for source in self._before - self._first.keys()]

    def partial_cache(self) -> LineCache:
        """Return the cache after `news` was consumed in part.

        Of the lines of a source, the one that was reported last comes first: from it `edited` of the next diff knows
        what the library has.
        """
        return LineCache({**self._lines_with_news, **self._known.lines, **self._other_lines}, self._known.complete)

    def cache(self) -> LineCache:
        """Return the cache once everything was stored, in the file's order."""
        pairs = zip(self._lines.keys, self._ids, strict=True)
        return LineCache({key: source for key, source in pairs if source is not None}, True)


def listed_source(request: SourceRequest, options: ListEntry | SourceRequest, *, edited: bool) -> ListedSource:
    """Return the listed source of a request, with what its list entry says of the video."""
    return ListedSource(**request.identity, **options.stated, edited=edited)
