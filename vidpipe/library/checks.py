"""What `vidpipe check` found: when a video was decoded completely, and which times of it are damaged.

It is stored in the video's document as `checked`, outside the results of stages: `at`, `intact`, `sentence`, `spans`.
"""

from collections.abc import Sequence

from vidpipe.library import server_clock
from vidpipe.library.library import Library


def record_check(library: Library, video: str, sentence: str, spans: Sequence[tuple[float, float]]) -> None:
    """Store the result of a check, instead of the one before.

    Args:
        library: The library.
        video: sha256 of the video.
        sentence: What is damaged; empty if nothing is.
        spans: The damaged times: (start, end) in seconds.
    """
    (number,) = library.changes.take()
    found = {"at": server_clock.now(), "intact": not sentence, "sentence": sentence}
    found["spans"] = [{"start_s": start_s, "end_s": end_s} for start_s, end_s in spans]
    library.collections["videos"].update_one({"_id": video}, {"$set": {"checked": found, "change_seq": number}})


def damaged_spans(library: Library, video: str) -> list[tuple[float, float]]:
    """Return the damaged times of a video: (start, end) in seconds; none if it is intact or was never checked."""
    row = library.collections["videos"].find_one({"_id": video}, {"checked.spans": 1}) or {}
    return [(span["start_s"], span["end_s"]) for span in (row.get("checked") or {}).get("spans", ())]
