"""The describing model's answers, one document each (collection `answers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pymongo.collection import Collection

from vidpipe.library.inserting import insert_once
from vidpipe.library.schema import Document
from vidpipe.library.states import chunked
from vidpipe.stages.contract import AnswerCell

#: field -> what it is where an older version of vidpipe has not stored it
_FIELDS = {
    field.name: "" if field.default is MISSING else field.default for field in fields(AnswerCell) if field.name != "key"
}


@dataclass(frozen=True)
class Cells:
    """The answers already given (the contract's CellStore). Both ways ride out an outage of the server.

    run: kept with each new answer
    """

    answers: Collection[Document]
    ride_out: Callable[[Callable[[], Any]], Any]
    run: str = ""

    def get(self, keys: Iterable[str]) -> dict[str, AnswerCell]:
        """key -> answer, for those of `keys` that are there."""
        found: dict[str, AnswerCell] = {}
        for chunk in chunked(keys):
            rows: list[Document] = self.ride_out(partial(self._find, {"_id": {"$in": chunk}}))
            found.update((row["_id"], _cell(row)) for row in rows)
        return found

    def of_video(self, sha256: str) -> list[tuple[AnswerCell, Document]]:
        """Every answer about a video, out-of-date ones too, the oldest first; each with its document (run, at)."""
        rows: list[Document] = self.ride_out(partial(self._find, {"video": sha256}))
        return [(_cell(row), row) for row in sorted(rows, key=lambda row: row["at"])]

    def keep(self, cells: Sequence[AnswerCell]) -> None:
        """Stores new answers; one that is already there stays as it is."""
        now = datetime.now(UTC)
        documents = [
            {"_id": cell.key, **{name: getattr(cell, name) for name in _FIELDS}, "run": self.run, "at": now}
            for cell in cells
        ]
        self.ride_out(partial(insert_once, self.answers, documents))

    def _find(self, query: Document) -> list[Document]:
        return list(self.answers.find(query))


def _cell(row: Document) -> AnswerCell:
    return AnswerCell(key=row["_id"], **{name: row.get(name, absent) for name, absent in _FIELDS.items()})
