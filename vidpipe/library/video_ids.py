"""Many video ids (sha256 in hex): kept compactly, and sent to MongoDB in parts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice


class VideoIds:
    """Video ids in 32 bytes each, so that a million fit in a list."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._bytes = array("B")
        self.extend(ids)

    def extend(self, ids: Iterable[str]) -> None:
        """Append ids.

        Raises:
            ValueError: One of them is not a sha256 in hex.
        """
        for sha256 in ids:
            digest = bytes.fromhex(sha256)
            if len(digest) != 32:  # any other length would shift all that follow
                raise ValueError(f"{sha256!r} is not a sha256 in hex")
            self._bytes.frombytes(digest)

    def __len__(self) -> int:
        return len(self._bytes) // 32

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._bytes), 32):
            yield self._bytes[start : start + 32].tobytes().hex()


def chunked(ids: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    """Yield lists of at most `size` ids: a long `$in` is sent in parts."""
    remaining = iter(ids)
    while chunk := list(islice(remaining, size)):
        yield chunk
