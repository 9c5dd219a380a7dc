"""One process at a time changes the shape of a library: a lock document in its `meta` collection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from vidpipe.errors import UnavailableError
from vidpipe.library.processes import is_dead, this_process

Document = dict[str, Any]

LOCK = "lock"
#: A lock that its owner has not renewed for so long is nobody's: its machine died.
_VALID_S = 60.0
_POLL_S = 0.1


@contextlib.contextmanager
def holding(meta: Collection[Document], doing: str, *, patience_s: float) -> Iterator[None]:
    """Holds the lock inside the block. That of a process that died is taken over.

    doing: what others are told, after "is the process that": "brings the library to schema version 3"
    Raises UnavailableError when another process holds it for longer than `patience_s`.
    """
    owner = f"{this_process()}|{threading.get_ident()}"
    _take(meta, owner, doing, patience_s)
    ended = threading.Event()
    renewer = threading.Thread(target=_renew, args=(meta, owner, ended), name="lock-renewer", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        ended.set()
        renewer.join(timeout=5)
        meta.delete_one({"_id": LOCK, "owner": owner})


def _take(meta: Collection[Document], owner: str, doing: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        mine = {"doing": {"$literal": doing}, "since": "$$NOW", "until": _valid()}
        try:
            meta.update_one({"_id": LOCK, "owner": owner}, [{"$set": mine}], upsert=True)
            return
        except DuplicateKeyError:
            holder = meta.find_one({"_id": LOCK})
        if holder is None:
            continue
        meta.delete_one({"_id": LOCK, "owner": holder["owner"], "$expr": {"$lt": ["$until", "$$NOW"]}})
        if is_dead(holder["owner"].rpartition("|")[0]):
            meta.delete_one({"_id": LOCK, "owner": holder["owner"]})
            continue
        if time.monotonic() > deadline:
            machine, pid = holder["owner"].split("|")[:2]
            raise UnavailableError(
                f"Process {pid} on {machine.split('/')[0]} {holder['doing']}, since {holder['since']:%H:%M} (UTC).",
                "Wait until it has ended, then give the command again.",
            )
        time.sleep(_POLL_S)


def _renew(meta: Collection[Document], owner: str, ended: threading.Event) -> None:
    while not ended.wait(_VALID_S / 4):
        with contextlib.suppress(PyMongoError):
            meta.update_one({"_id": LOCK, "owner": owner}, [{"$set": {"until": _valid()}}])


def _valid() -> Document:
    return {"$add": ["$$NOW", int(_VALID_S * 1000)]}
