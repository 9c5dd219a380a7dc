"""Where the files of videos are stored, in their documents (`vidpipe.storage.places.MediaPlaces`)."""

from __future__ import annotations

from vidpipe.library.retry import Retry
from vidpipe.library.schema import Collections, Document
from vidpipe.storage.object_store import LOCAL
from vidpipe.storage.places import MediaPlace

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

    def set_media(self, sha256: str, store: str, *, was: str | None = None) -> bool:
        """Note which store holds a video's file; with `was`, only if it is in that store now. Returns whether."""
        query: Document = {"_id": sha256}
        if was is not None:
            query[f"{PLACE}.media"] = was if was != LOCAL else {"$in": [LOCAL, None]}
        done = self._retry(lambda: self._videos.update_one(query, {"$set": {f"{PLACE}.media": store}}))
        return bool(done.matched_count)

    def set_pack(self, sha256: str, version: str, store: str) -> None:
        """Note which store holds a frame pack."""
        place = f"{PLACE}.packs.{version}"
        change = {"$unset": {place: ""}} if store == LOCAL else {"$set": {place: store}}
        self._retry(lambda: self._videos.update_one({"_id": sha256}, change))
