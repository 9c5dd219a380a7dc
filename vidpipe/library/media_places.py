"""Where the files of videos are stored, in their documents (`vidpipe.storage.places.MediaPlaces`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vidpipe.library.schema import Collections, Document
from vidpipe.storage.object_store import LOCAL
from vidpipe.storage.places import MediaPlace

if TYPE_CHECKING:
    from vidpipe.library.retry import Retry

#: Field of a video's document.
PLACE = "storage"


class VideoPlaces:
    """The places of a library's videos."""

    def __init__(self, collections: Collections, retry: Retry) -> None:
        self._videos = collections["videos"]
        self._retry = retry

    def get(self, sha256: str) -> MediaPlace:
        """Return where a video is stored; an unknown one is in the local folders."""
        return self.find(sha256) or MediaPlace()

    def find(self, sha256: str) -> MediaPlace | None:
        """Return where a video is stored; None if it is unknown."""
        row = self._retry(lambda: self._videos.find_one({"_id": sha256}, {PLACE: 1, "ingest.modified_ns": 1}))
        return MediaPlace.model_validate({**row.get(PLACE, {}), **row["ingest"]}) if row else None

    def note(self, sha256: str, part: str, store: str, was: str | None = None, left: Sequence[Document] = ()) -> bool:
        """Note which store holds a part of a video, and which copies of it are still to be deleted.

        Args:
            sha256: The video.
            part: "media", or "packs.VERSION".
            store: URL of the store, or "dropped".
            was: Only if it is in this store now.
            left: `store` and `key` of each copy that is left in another store.

        Returns:
            Whether it was noted.
        """
        place = f"{PLACE}.{part}"
        query: Document = {"_id": sha256}
        if was is not None:
            query[place] = was if was != LOCAL else {"$in": [LOCAL, None]}
        change: Document = {"$unset": {place: ""}} if store == LOCAL else {"$set": {place: store}}
        if left:
            change["$push"] = {f"{PLACE}.left": {"$each": list(left)}}
        return bool(self._retry(lambda: self._videos.update_one(query, change)).matched_count)

    def settle(self, sha256: str, left: Document) -> None:
        """Note that a copy which `note` named is deleted."""
        self._retry(lambda: self._videos.update_one({"_id": sha256}, {"$pull": {f"{PLACE}.left": left}}))
