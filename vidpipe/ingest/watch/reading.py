"""One reading of a list: what its lines say that was not known, and what it names no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidpipe.errors import VidpipeError
from vidpipe.ingest.list_files import list_lines
from vidpipe.ingest.lists import Lines, ListEntry, ListProblem
from vidpipe.ingest.records import ListedSource
from vidpipe.ingest.sources import SourceRequest, local_path, request_for
from vidpipe.ingest.watch.memory import LOCAL, Memory
from vidpipe.settings.operation import Lists


def read_lines(path: Path, data: bytes, columns: Lists) -> Lines:
    """The lines of a list's contents. An empty file has none, a table too. Errors: VidpipeError."""
    return list_lines(path, data, columns) if data.strip() else Lines((), ().__getitem__)


class Reading:
    """What `lines` say, against what was known. Where a source is named twice, its first line counts.

    Take `news` to its end, then `edited` and `removed`, and keep `memory`. Or take it only in part and keep
    `memory_so_far`: the next reading goes on from there.

    problems: the lines that cannot be read
    local:    those that name files and folders of this machine
    """

    def __init__(self, lines: Lines, known: Memory) -> None:
        self._lines = lines
        self._known = known
        self._ids: list[bytes | None] = list(map(known.lines.get, lines.keys))
        #: source -> position of its first line
        self._first: dict[bytes | None, int] = dict(
            zip(reversed(self._ids), range(len(self._ids) - 1, -1, -1), strict=True)
        )
        self._before = known.ids()
        #: lines that gave news, and those that gave none
        self._told_lines: dict[bytes, bytes] = {}
        self._other_lines: dict[bytes, bytes] = {}
        self.problems: list[ListProblem] = []
        self.local: list[ListEntry] = []

    def news(self) -> Iterator[ListedSource]:
        """What the unknown lines say of their sources, in the file's order."""
        for position, before in enumerate(self._ids):
            if before is not None and before != LOCAL:
                continue
            row = self._lines.row(position)
            if isinstance(row, ListProblem):
                self.problems.append(row)
            elif before == LOCAL or local_path(row.text):
                self.local.append(row)
                self._take(position, LOCAL, self._other_lines)
            else:
                try:
                    request = request_for(row.text, quoted=False)
                except VidpipeError as error:
                    self.problems.append(ListProblem(row.line, str(error)))
                    continue
                source = bytes.fromhex(request.id)
                if self._first.setdefault(source, position) < position:
                    self._take(position, source, self._other_lines)
                else:
                    self._first[source] = position
                    self._take(position, source, self._told_lines)
                    yield listed(request, row, edited=source in self._before)

    def _take(self, position: int, source: bytes, among: dict[bytes, bytes]) -> None:
        self._ids[position] = source
        among[self._lines.keys[position]] = source

    def edited(self) -> Iterator[ListedSource]:
        """Sources for which another line counts now: the one that did is gone, or comes later."""
        told = set(self._told_lines.values())
        counted: dict[bytes, bytes] = {}
        for key, source in self._known.lines.items():
            counted.setdefault(source, key)
        for named, position in self._first.items():
            if named is None or named == LOCAL or named in told or named not in counted:
                continue
            if counted[named] != self._lines.keys[position]:
                row = self._lines.row(position)
                if isinstance(row, ListEntry):
                    yield listed(request_for(row.text), row, edited=True)

    def removed(self) -> list[str]:
        """Sources that no line names any more."""
        return [source.hex() for source in self._before - self._first.keys()]

    def memory_so_far(self) -> Memory:
        """What is known of a reading that was cut short.

        Of the lines of a source, the one that gave news last comes first: from it `edited` of the next reading knows
        what the library holds.
        """
        return Memory({**self._told_lines, **self._known.lines, **self._other_lines}, self._known.complete)

    def memory(self) -> Memory:
        """What is known once `news` came to its end and all else was written down, in the file's order."""
        pairs = zip(self._lines.keys, self._ids, strict=True)
        return Memory({key: source for key, source in pairs if source is not None}, True)


def listed(request: SourceRequest, said: ListEntry, *, edited: bool) -> ListedSource:
    return ListedSource(
        id=request.id,
        url=request.url,
        has_secret=request.has_secret,
        fragment_dropped=request.fragment_dropped,
        kind=request.kind,
        title=said.title,
        labels=said.labels,
        priority=said.priority,
        edited=edited,
    )
