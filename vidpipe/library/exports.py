"""Records of the exports that were written, so that a forgotten video can be removed from them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from vidpipe.library import server_clock
from vidpipe.library.schema import Collections, Document

#: In the folder of a dataset: file -> what it was made of. Later exports and removals go by it.
STATE = ".vidpipe-export.json"
#: Of a video's hash, in the keys of its items, which name their files.
KEY_DIGITS = 16


def record(collections: Collections, destination: str, export_format: str) -> None:
    """Record an export; one to the same destination replaces it.

    Args:
        collections: Of the library.
        destination: A path, or the URL of a store with the key.
        export_format: Any format of `vidpipe export`.
    """
    place = destination if "://" in destination else str(Path(destination).expanduser().absolute())
    entry = {"destination": place, "format": export_format, "at": server_clock.now()}
    key = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    collections["exports"].replace_one({"_id": key}, entry, upsert=True)


def recorded(collections: Collections) -> Iterator[Document]:
    """Yield the records, the oldest first: `_id`, `destination`, `format`, `at`."""
    yield from collections["exports"].find().sort("at", 1)
