"""Numbers that order the changes of a library, so that what is derived from it can catch up.

Whatever changes a video's document stores a new number in its `change_seq`. A number may become visible after later
ones: it is taken before the write that stores it, which the writer's lease limits to `LEASE_S`. A deleted video leaves
a tombstone with its hash and a number; forgotten videos have one for ever, so that nothing adds them again.
"""

import uuid
from contextlib import suppress
from typing import Any, NamedTuple

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from vidpipe.library.schema import Collections

#: `_id` of the counter in `meta`. It is not restored from a backup.
COUNTER = "changes"


class ChangeState(NamedTuple):
    """How far a library has changed.

    Attributes:
        epoch: Random name of the counter; another one means that the library was replaced.
        seq: The latest number.
    """

    epoch: str
    seq: int


class Changes:
    """The counter of changes."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def take(self, count: int = 1) -> range:
        """Return `count` new numbers."""
        while True:
            row = self._collections["meta"].find_one_and_update(
                {"_id": COUNTER}, {"$inc": {"seq": count}}, return_document=ReturnDocument.AFTER
            )
            if row is not None:
                return range(row["seq"] - count + 1, row["seq"] + 1)
            self._begin()

    def state(self) -> ChangeState:
        """Return how far the library has changed."""
        while (row := self._collections["meta"].find_one({"_id": COUNTER})) is None:
            self._begin()
        return ChangeState(row["epoch"], row["seq"])

    def add_tombstone(self, sha256: str, **facts: Any) -> None:
        """Leave a tombstone with facts about the removal. Call it before the document is deleted."""
        (seq,) = self.take()
        entry = {"change_seq": seq, **facts}
        self._collections["tombstones"].update_one({"_id": sha256}, {"$set": entry}, upsert=True)

    def restart(self) -> None:
        """Begin a new epoch: the library is not what it was."""
        self._collections["meta"].delete_one({"_id": COUNTER})

    def _begin(self) -> None:
        """Start a counter above every stored number."""
        latest = (
            self._collections[name].find_one({"change_seq": {"$exists": True}}, sort=[("change_seq", -1)])
            for name in ("videos", "tombstones")
        )
        seq = max((row["change_seq"] for row in latest if row), default=0)
        with suppress(DuplicateKeyError):
            self._collections["meta"].insert_one({"_id": COUNTER, "epoch": uuid.uuid4().hex, "seq": seq})
