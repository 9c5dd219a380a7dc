"""What happened to a video: commits of its stages, changes of its tags and category, and verdicts."""

from datetime import datetime

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.schema import Document

_FIELDS = {"video": 0, "inputs": 0, "data": 0}


def history(
    library: Library, sha256: str, *, limit: int = 50, after: str | None = None
) -> tuple[list[Document], str | None]:
    """Return a page of what happened to a video, newest first, and `after` of the next page; None: it is the last.

    Each entry has `kind` ("commit", "tag", "category" or "verdict"), `stage`, `at` and `run`.

    Args:
        library: The library.
        sha256: The video.
        limit: Most entries.
        after: Where the page begins.

    Raises:
        SettingsError: `after` is not from a page before.
    """
    query: Document = {"video": sha256}
    if after:
        time, _, entry = after.partition("~")
        try:
            at = datetime.fromisoformat(time).replace(tzinfo=None)  # as `next` has it: in UTC
        except ValueError:
            raise SettingsError("`after` is not from a page of a history.", "Take it from `next`.") from None
        query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$gt": entry}}]
    rows = list(library.collections["lineage"].find(query, _FIELDS).sort([("at", -1), ("_id", 1)]).limit(limit + 1))
    entries = rows[:limit]
    following = (
        f"{entries[-1]['at'].replace(tzinfo=None).isoformat()}~{entries[-1]['_id']}" if len(rows) > limit else None
    )
    return [{name: row[name] for name in row if name != "_id"} for row in entries], following
