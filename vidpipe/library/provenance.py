"""What results are made of: the model's answers, and by hash the texts of rules and prompts and the parts of each spec.

With them vidpipe can explain later what a result was made with, and what made it due again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial

from pymongo.collection import Collection

from vidpipe.library import server_clock
from vidpipe.library.retry import Retry, insert_once
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.stages.contract import AnswerCell

#: field -> its value where an older version of vidpipe has not stored it
_DEFAULTS = {
    field.name: "" if field.default is MISSING else field.default for field in fields(AnswerCell) if field.name != "key"
}


def store_texts(lineage: Collection[Document], texts: Mapping[str, str]) -> None:
    """Store texts of rules and prompts.

    Args:
        lineage: The collection `lineage`.
        texts: hash -> text.
    """
    _store(lineage, [{"_id": f"text:{version}", "kind": "text", "text": text} for version, text in texts.items()])


def store_spec(lineage: Collection[Document], stage: str, spec: str, parts: Mapping[str, str]) -> None:
    """Store the `parts` of a spec (see `vidpipe.stages.versions.spec_parts`)."""
    stored = [{"name": part, "version": version} for part, version in parts.items()]
    _store(lineage, [{"_id": f"spec:{spec}", "kind": "spec", "stage": stage, "parts": stored}])


def spec_difference(lineage: Collection[Document], former: str, parts: Mapping[str, str]) -> dict[str, str | None]:
    """Return the version in the spec `former` of each of the `parts` that differ; empty if that spec is unknown."""
    known = lineage.find_one({"_id": f"spec:{former}"}, {"parts": 1})
    if known is None:
        return {}
    before: dict[str, str] = {part["name"]: part["version"] for part in known["parts"]}
    return {name: before.get(name) for name in sorted({*before, *parts}) if before.get(name) != parts.get(name)}


def _store(lineage: Collection[Document], documents: list[Document]) -> None:
    ids = [document["_id"] for document in documents]
    known = {row["_id"] for row in lineage.find({"_id": {"$in": ids}}, {"_id": 1})}
    at = server_clock.now()
    insert_once(lineage, [{**document, "at": at} for document in documents if document["_id"] not in known])


@dataclass(frozen=True)
class AnswerStore:
    """The answers already given (the contract's `CellStore`). Reads and writes survive an outage of the server.

    Attributes:
        answers: The collection.
        retry: Runs an operation that may be repeated, as `Library.retry` does.
        run: Stored with each new answer.
    """

    answers: Collection[Document]
    retry: Retry
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
        common = {"run": self.run, "at": server_clock.now()}
        documents = [{"_id": cell.key, **{name: getattr(cell, name) for name in _DEFAULTS}, **common} for cell in cells]
        self.retry(partial(insert_once, self.answers, documents))

    def _find(self, query: Document) -> list[Document]:
        rows: list[Document] = self.retry(lambda: list(self.answers.find(query)))
        return rows


def _answer(row: Document) -> AnswerCell:
    return AnswerCell(key=row["_id"], **{name: row.get(name, default) for name, default in _DEFAULTS.items()})
