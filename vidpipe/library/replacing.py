"""Putting freshly loaded collections in the place of a library's own, whole or not at all.

They are loaded under other names and renamed at the end. The renames are several: before the first, a marker in `meta`
says that they have begun; whoever opens the library after a process that died among them does the rest. `meta` comes
last, and with it the marker is gone. Some servers do not rename (Cosmos DB; a user without the right): there they are
loaded in place, and the marker says so until they are whole.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from vidpipe.errors import UnavailableError
from vidpipe.library.schema import COLLECTIONS, Document

MARKER = "restore"
_LOADED = "_restore_"
#: The source of a rename is not there: it has been renamed before.
_NO_SUCH_COLLECTION = 26


def loading_names(names: Mapping[str, str], token: str | None = None) -> dict[str, str]:
    """collection -> the name under which it is loaded. token: tells one restore from another; None: a new one."""
    token = token or uuid.uuid4().hex[:8]
    return {collection: f"{names['videos']}{_LOADED}{token}_{collection}" for collection in names}


def can_rename(database: Database[Document], names: Mapping[str, str]) -> bool:
    """Whether the server, and the user's rights, let a collection take the place of another."""
    probes = list(loading_names(names, "probe").values())[:2]
    try:
        for probe in probes:
            database[probe].update_one({"_id": 1}, {"$set": {"tried": True}}, upsert=True)
        database[probes[0]].rename(probes[1], dropTarget=True)
        return True
    except OperationFailure:
        return False
    finally:
        for probe in probes:
            with contextlib.suppress(OperationFailure):
                database[probe].drop()


def replace(database: Database[Document], names: Mapping[str, str], loaded: Mapping[str, str]) -> None:
    """Renames the collections in `loaded` to `names`. What is there is dropped."""
    marker = {"state": "renaming", "loaded": dict(loaded)}
    database[names["meta"]].update_one({"_id": MARKER}, {"$set": marker}, upsert=True)
    finish(database, names)


def finish(database: Database[Document], names: Mapping[str, str]) -> None:
    """The renames that are still to be done. Safe to repeat."""
    marker = database[names["meta"]].find_one({"_id": MARKER})
    if marker is None or marker["state"] != "renaming":
        return
    loaded: Mapping[str, str] = marker["loaded"]
    for collection in sorted(loaded, key=lambda name: name == "meta"):
        try:
            database[loaded[collection]].rename(names[collection], dropTarget=True)
        except OperationFailure as error:
            if error.code != _NO_SUCH_COLLECTION:
                raise


def begin_in_place(database: Database[Document], names: Mapping[str, str]) -> None:
    """Empties the library; until `end_in_place` nobody can open it."""
    meta = database[names["meta"]]
    meta.update_one({"_id": MARKER}, {"$set": {"state": "loading in place"}}, upsert=True)
    for collection in COLLECTIONS:
        if collection != "meta":
            database[names[collection]].delete_many({})


def end_in_place(database: Database[Document], names: Mapping[str, str]) -> None:
    database[names["meta"]].delete_one({"_id": MARKER})


def check(marker: Mapping[str, Any] | None, names: Mapping[str, str]) -> bool:
    """Whether there are renames to finish. Raises UnavailableError where the library is only half loaded."""
    if marker is None:
        return False
    if marker["state"] == "renaming":
        return True
    raise UnavailableError(
        f"A restore into the library {names['videos']} is at work or was broken off: it is not whole.",
        "Wait for it, or give it again: `vidpipe restore DIR --replace`.",
    )


def drop_left_over(database: Database[Document], names: Mapping[str, str]) -> int:
    """Drops what restores that were broken off had loaded; only while no restore is at work. Gives how many."""
    prefix = f"{names['videos']}{_LOADED}"
    left = [name for name in database.list_collection_names() if name.startswith(prefix)]
    with contextlib.suppress(OperationFailure):  # a user without the right to drop anything
        for name in left:
            database.drop_collection(name)
    return len(left)
