"""The model's answers, one document each (collection `answers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pymongo.collection import Collection

from vidpipe.library.retry import insert_once
from vidpipe.library.schema import Document
from vidpipe.library.video_ids import chunked
from vidpipe.stages.contract import AnswerCell

#: field -> its value where an older version of vidpipe has not stored it
_DEFAULTS = {
    field.name: "" if field.default is MISSING else field.default for field in fields(AnswerCell) if field.name != "key"
}


@dataclass(frozen=True)
class AnswerStore:
    """The answers already given (the contract's `CellStore`). Reads and writes survive an outage of the server.

    Attributes:
        answers: The collection.
        retry: Runs an operation that may be repeated, as `Library.retry` does.
        run: Stored with each new answer.
    """

    answers: Collection[Document]
    retry: Callable[[Callable[[], Any]], Any]
    run: str = ""

    def get(self, keys: Iterable[str]) -> dict[str, AnswerCell]:
        """Return key -> answer, for those of `keys` that exist."""
        found: dict[str, AnswerCell] = {}
        for chunk in chunked(keys):
            found.update((row["_id"], _answer(row)) for row in self._find({"_id": {"$in": chunk}}))
        return found

    def of_video(self, sha256: str) -> list[tuple[AnswerCell, Document]]:
        """Return every answer about a video, outdated ones too, oldest first; each with its document (run, at)."""
        return [(_answer(row), row) for row in sorted(self._find({"video": sha256}), key=lambda row: row["at"])]

    def keep(self, cells: Sequence[AnswerCell]) -> None:
        """Store new answers; one that already exists stays as it is."""
        common = {"run": self.run, "at": datetime.now(UTC)}
        documents = [{"_id": cell.key, **{name: getattr(cell, name) for name in _DEFAULTS}, **common} for cell in cells]
        self.retry(partial(insert_once, self.answers, documents))

    def _find(self, query: Document) -> list[Document]:
        rows: list[Document] = self.retry(lambda: list(self.answers.find(query)))
        return rows


def _answer(row: Document) -> AnswerCell:
    return AnswerCell(key=row["_id"], **{name: row.get(name, default) for name, default in _DEFAULTS.items()})
