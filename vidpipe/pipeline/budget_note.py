"""Why videos wait for the budget of the describing model, as the sensor said last: kept for `vidpipe status`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vidpipe.library.library import Library

_ID = "budget"
#: A sensor that has not looked for so long does not run.
_FRESH = timedelta(minutes=10)


def keep_note(library: Library, sentence: str, now: datetime) -> None:
    library.collections["meta"].update_one({"_id": _ID}, {"$set": {"sentence": sentence, "at": now}}, upsert=True)


def forget_note(library: Library) -> None:
    library.collections["meta"].delete_one({"_id": _ID})


def note_of(library: Library) -> str | None:
    """The sentence; None where nothing waits for the budget, or no sensor looks."""
    note = library.collections["meta"].find_one({"_id": _ID, "at": {"$gte": datetime.now(UTC) - _FRESH}})
    return str(note["sentence"]) if note else None
