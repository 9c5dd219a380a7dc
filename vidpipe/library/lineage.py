"""What results were made of, by hash: texts of rules and prompts, and the parts of each spec.

With them vidpipe can explain later what a result was made with, and what made it due again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pymongo.collection import Collection

from vidpipe.library.retry import insert_once
from vidpipe.library.schema import Document


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


def changed_parts(lineage: Collection[Document], former: str, parts: Mapping[str, str]) -> list[str]:
    """Return the names of the `parts` that differ from those of the spec `former`; none if that spec is unknown."""
    known = lineage.find_one({"_id": f"spec:{former}"}, {"parts": 1})
    if known is None:
        return []
    before = {part["name"]: part["version"] for part in known["parts"]}
    return [name for name in sorted({*before, *parts}) if before.get(name) != parts.get(name)]


def _store(lineage: Collection[Document], documents: list[Document]) -> None:
    ids = [document["_id"] for document in documents]
    known = {row["_id"] for row in lineage.find({"_id": {"$in": ids}}, {"_id": 1})}
    at = datetime.now(UTC)
    insert_once(lineage, [{**document, "at": at} for document in documents if document["_id"] not in known])
