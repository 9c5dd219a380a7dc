"""The media files of items: the original of a whole video, a clip of a part."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from threading import Event

from vidpipe.datasets.clips.maker import TOGETHER, ClipMaker, ClipRequest, Made, together
from vidpipe.datasets.item import DatasetItem
from vidpipe.errors import MediaError, VidpipeError
from vidpipe.library.library import Library

#: Containers that players and the libraries of trainers read as they are.
_MP4 = (".mp4", ".m4v")


class ItemMedia:
    """Gives the files of items.

    Args:
        library: The library.
        clips: Makes the clips.
        cancelled: Stops the work.
    """

    def __init__(self, library: Library, clips: ClipMaker, cancelled: Event) -> None:
        self._library = library
        self._clips = clips
        self._cancelled = cancelled
        self._made: Made = {}

    def batches(
        self, items: Iterable[DatasetItem], needed: Callable[[DatasetItem], bool] = lambda item: True, *, mp4: bool
    ) -> Iterator[tuple[DatasetItem, bool]]:
        """Yield the items, and whether the file of each is `needed`. Clips of a video are made several at once."""
        for _, of_video in groupby(items, lambda item: item.video):
            while batch := [(item, needed(item)) for item in islice(of_video, TOGETHER)]:
                asked = [_request(item) for item, wanted in batch if wanted and not self._as_stored(item, mp4=mp4)]
                self._made = {}
                for group in together(asked, 1):
                    self._made |= self._clips.make_all(group)
                yield from batch

    def suffix(self, item: DatasetItem) -> str:
        """Return the suffix, with the dot, of an item's file that need not be an MP4."""
        return Path(item.path).suffix if self._as_stored(item, mp4=False) else ".mp4"

    def made_of(self, item: DatasetItem, *, mp4: bool) -> str:
        """Return what identifies the bytes of an item's file, without making it."""
        return item.video if self._as_stored(item, mp4=mp4) else self._clips.key(_request(item))

    def size_bytes(self, item: DatasetItem, *, mp4: bool) -> int:
        """Return the size of an item's file. A clip is made for it. Raises what `file` raises."""
        if self._as_stored(item, mp4=mp4):
            return item.size_bytes
        with self.file(item, mp4=mp4) as path:
            return path.stat().st_size

    @contextmanager
    def file(self, item: DatasetItem, *, mp4: bool) -> Iterator[Path]:
        """Give the file of an item.

        Args:
            item: The item.
            mp4: Whether it must be an MP4: other originals are encoded.

        Raises:
            MediaError: It cannot be made.
            StoreError: The video cannot be read.
        """
        if self._as_stored(item, mp4=mp4):
            with self._library.files.video(item.video, item.path, self._cancelled) as path:
                if not path.is_file():
                    raise MediaError(f"The file of {item.name} is missing.", "`vidpipe check` lists lost files.")
                yield path
        else:
            request = _request(item)
            made = self._made.get(request) or self._clips.make_all([request])[request]
            if isinstance(made, VidpipeError):
                raise made
            yield made.path

    def _as_stored(self, item: DatasetItem, *, mp4: bool) -> bool:
        # players show the first of several streams, libraries the largest
        return item.whole and (not mp4 or (Path(item.path).suffix.lower() in _MP4 and item.video_streams == 1))


def _request(item: DatasetItem) -> ClipRequest:
    return ClipRequest(item.video, item.path, item.start_s, item.end_s)
