"""Of what each spec was made, kept by its hash, so that it can be said what a change of settings, rules or model made
due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from vidpipe.library.schema import Document


def keep_spec(lineage: Collection[Document], stage: str, spec: str, parts: Mapping[str, str]) -> None:
    """Keeps the `parts` of a spec (see `vidpipe.stages.graph.spec_parts`); once is enough."""
    name = _name(spec)
    if lineage.find_one({"_id": name}, {"_id": 1}) is None:
        stored = [{"name": part, "version": version} for part, version in parts.items()]
        try:
            lineage.insert_one({"_id": name, "kind": "spec", "stage": stage, "parts": stored, "at": datetime.now(UTC)})
        except DuplicateKeyError:
            return


def changed_parts(lineage: Collection[Document], former: str, parts: Mapping[str, str]) -> list[str]:
    """The names of those `parts` that differ from the ones of the spec `former`; empty where that one is not known."""
    known = lineage.find_one({"_id": _name(former)}, {"parts": 1})
    if known is None:
        return []
    before = {part["name"]: part["version"] for part in known["parts"]}
    return [name for name in sorted({*before, *parts}) if before.get(name) != parts.get(name)]


def _name(spec: str) -> str:
    return f"spec:{spec}"
