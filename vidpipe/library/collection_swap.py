"""Replaces a library's collections by freshly loaded ones, completely or not at all.

They are loaded under other names and renamed at the end. There are several renames: before the first, a marker in
`meta` says that they have begun; whoever opens the library after a process died among them does the rest. `meta` comes
last, and the marker goes with it. Some servers cannot rename (Cosmos DB; a user without the privilege): on these the
collections are loaded in place, and the marker says so until they are complete.
"""

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from vidpipe.errors import UnavailableError
from vidpipe.library.changes import COUNTER
from vidpipe.library.schema import COLLECTIONS, OF_THIS_SERVER, Document

#: `_id` of the marker in `meta`.
MARKER = "restore"
_LOADED = "_restore_"
#: The source of a rename does not exist: it has been renamed before.
_NO_SUCH_COLLECTION = 26


def loading_names(names: Mapping[str, str], token: str | None = None) -> dict[str, str]:
    """Return collection -> the name under which it is loaded; credentials are not.

    Args:
        names: collection -> its name in the database.
        token: Distinguishes one restore from another; None: a new one.
    """
    token = token or uuid.uuid4().hex[:8]
    return {
        collection: name if collection in OF_THIS_SERVER else f"{names['videos']}{_LOADED}{token}_{collection}"
        for collection, name in names.items()
    }


def can_rename(database: Database[Document], names: Mapping[str, str]) -> bool:
    """Return whether the server and the user's privileges allow a collection to replace another."""
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
    """Rename the collections in `loaded` to `names`, dropping the existing ones."""
    beside = {collection: name for collection, name in loaded.items() if name != names[collection]}
    marker = {"state": "renaming", "loaded": beside}
    database[names["meta"]].update_one({"_id": MARKER}, {"$set": marker}, upsert=True)
    finish(database, names)


def finish(database: Database[Document], names: Mapping[str, str]) -> None:
    """Do the renames that remain. Safe to repeat."""
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
    """Empty the library; it cannot be opened until `end_in_place`."""
    meta = database[names["meta"]]
    meta.update_one({"_id": MARKER}, {"$set": {"state": "loading in place"}}, upsert=True)
    for collection in COLLECTIONS:
        if collection not in ("meta", *OF_THIS_SERVER):
            database[names[collection]].delete_many({})


def end_in_place(database: Database[Document], names: Mapping[str, str]) -> None:
    """Mark the library as complete. Its changes are counted anew, as after a replacement."""
    database[names["meta"]].delete_one({"_id": COUNTER})
    database[names["meta"]].delete_one({"_id": MARKER})


def check(marker: Mapping[str, Any] | None, names: Mapping[str, str]) -> bool:
    """Return whether there are renames to finish.

    Raises:
        UnavailableError: The library is only half loaded.
    """
    if marker is None:
        return False
    if marker["state"] == "renaming":
        return True
    raise UnavailableError(
        f"A restore into the library {names['videos']} is in progress or was interrupted: the library is incomplete.",
        "Wait for it, or run it again: `vidpipe restore DIR --replace`.",
    )


def drop_left_over(database: Database[Document], names: Mapping[str, str]) -> None:
    """Drop what interrupted restores had loaded; only while no restore runs."""
    prefix = f"{names['videos']}{_LOADED}"
    left = [name for name in database.list_collection_names() if name.startswith(prefix)]
    with contextlib.suppress(OperationFailure):  # a user without the privilege to drop anything
        for name in left:
            database.drop_collection(name)
