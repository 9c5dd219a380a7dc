"""What happened to a video: commits of its stages, and tags that were added, removed or changed."""

from datetime import datetime
from typing import NamedTuple

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.schema import Document

_FIELDS = {"video": 0, "inputs": 0, "data": 0}


class HistoryPage(NamedTuple):
    """A page of a video's lineage.

    Attributes:
        entries: Newest first; each has `kind` ("commit" or "tag"), `stage`, `at` and `run`.
        next: What `after` takes for the next page; None: this is the last.
    """

    entries: list[Document]
    next: str | None


def history(library: Library, sha256: str, *, limit: int = 50, after: str | None = None) -> HistoryPage:
    """Return a page of what happened to a video.

    Args:
        library: The library.
        sha256: The video.
        limit: Most entries.
        after: `next` of the page before.

    Raises:
        SettingsError: `after` is not from a page before.
    """
    query: Document = {"video": sha256}
    if after:
        time, _, entry = after.partition("~")
        try:
            at = datetime.fromisoformat(time)
        except ValueError:
            raise SettingsError("`after` is not from a page of a history.", "Take it from `next`.") from None
        query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$gt": entry}}]
    found = library.collections["lineage"].find(query, _FIELDS).sort([("at", -1), ("_id", 1)]).limit(limit + 1)
    rows = list(found)
    entries = rows[:limit]
    following = (
        f"{entries[-1]['at'].replace(tzinfo=None).isoformat()}~{entries[-1]['_id']}" if len(rows) > limit else None
    )
    return HistoryPage([{name: row[name] for name in row if name != "_id"} for row in entries], following)
