"""Which store holds the file and the frame packs of which video."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import BaseModel

from vidpipe.storage.object_store import LOCAL


class MediaPlace(BaseModel, frozen=True, extra="ignore"):
    """Where one video is stored; `storage` in its document, which lacks it if everything is in the local folders.

    Attributes:
        media: URL of the store that holds its file, or "dropped".
        packs: Version of a frame pack -> URL of the store that holds it; those in the local folders are left out.
        modified_ns: When its file was last changed, as it was added, in nanoseconds since the epoch; stored elsewhere.
    """

    media: str = LOCAL
    packs: Mapping[str, str] = {}
    modified_ns: int = 0


class MediaPlaces(Protocol):
    """The places of a library's videos (`vidpipe.library.media_places`)."""

    def get(self, sha256: str) -> MediaPlace:
        """Return where a video is stored; an unknown one is in the local folders."""

    def find(self, sha256: str) -> MediaPlace | None:
        """Return where a video is stored; None if it is unknown."""

    def note(self, sha256: str, part: str, store: str, was: str | None = None) -> bool:
        """Note which store holds a part of a video.

        Args:
            sha256: The video.
            part: "media", or "packs.VERSION".
            store: URL of the store, or "dropped".
            was: Only if it is in this store now.

        Returns:
            Whether it was noted.
        """
