"""What a process that ended in the middle of a commit left: scenes and lineage that no video's document names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo.collection import Collection

from vidpipe.library.schema import Document
from vidpipe.library.states import chunked


def remove_orphans(collections: Mapping[str, Collection[Document]], ids: Sequence[str]) -> None:
    """Removes them for videos whose lease the caller holds, so that nobody else is just writing what looks like one."""
    for chunk in chunked(ids, 100):
        for document in collections["videos"].find({"_id": {"$in": chunk}}, {"scene_generation": 1, "stages": 1}):
            sha256 = document["_id"]
            unnamed = {"video": sha256, "generation": {"$ne": document.get("scene_generation")}}
            collections["scenes"].delete_many(unnamed)
            for stage, entry in document["stages"].items():
                newer = {"at": {"$gt": entry["at"]}} if "at" in entry else {}
                collections["lineage"].delete_many({"video": sha256, "stage": stage, **newer})
