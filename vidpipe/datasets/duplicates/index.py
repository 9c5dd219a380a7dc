"""An index of fingerprints, in memory: which videos of a library show what a video shows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidpipe.datasets.duplicates.alignment import ALIKE, Match, align
from vidpipe.datasets.duplicates.prints import VideoPrint
from vidpipe.media.perceptual_hash import MIRROR, Hashes, distances, mirrored

#: The lowest 128 bits of a hash are 8 keys of 16 bits. Alike pictures have the same key, or one with another bit.
_KEYS, _KEY_BITS = 8, 16
_OTHER_BITS = (1 << np.arange(_KEY_BITS)).astype(np.uint16)
#: Keys that more pictures have say nothing.
_MAX_COMMON = 2000
#: Pictures that are like the one before are left out, except for every eighth.
_SAME, _STRIDE = 12, 8
#: Pictures of a video whose keys with another bit are looked up: of a new one, and if all videos are compared.
_PROBED, _PROBED_OF_ALL, _AT_ONCE = 8, 1, 48
#: Different bits among the lowest 64 up to which the others are compared, too.
_NEAR = 26
#: Videos that are compared in detail.
_MAX_CANDIDATES = 24

Progress = Callable[[int, int], None]


class DuplicateIndex:
    """Finds copies and parts of videos.

    Args:
        prints: The fingerprints of the library.
    """

    def __init__(self, prints: Iterable[VideoPrint] = ()) -> None:
        self._prints = list(prints)
        self._places = {one.video: place for place, one in enumerate(self._prints)}
        telling = [_telling(one) for one in self._prints]
        self._hashes: Hashes = np.concatenate([np.zeros((0, 4), np.uint64), *telling])
        self._owners = np.repeat(np.arange(len(telling), dtype=np.int32), [len(some) for some in telling])
        self._sorted: list[tuple[NDArray[np.int32], NDArray[np.int64]]] = []
        for key in range(_KEYS):
            keys = _either_way(self._hashes.view(np.uint16)[:, key], key)
            order = np.argsort(keys, kind="stable").astype(np.int32)
            self._sorted.append((order, np.searchsorted(keys[order], np.arange(65537))))

    def matches(self, one: VideoPrint) -> list[Match]:
        """Return what other videos have in common with `one`, most alike first."""
        return sorted(self._matches([one], _PROBED, set()), key=lambda match: (-match.score, match.other))

    def all_matches(
        self, videos: Collection[str] = (), progress: Progress = lambda done, total: None
    ) -> Iterator[Match]:
        """Yield the matches of all videos, each pair once.

        Args:
            videos: Only the matches of these; empty: all.
            progress: Is called with the numbers of compared videos and of all that are compared.
        """
        seen: set[int] = set()
        places = [self._places[video] for video in videos or self._places if video in self._places]
        for first in range(0, len(places), _AT_ONCE):
            prints = [self._prints[place] for place in places[first : first + _AT_ONCE]]
            if videos:
                yield from self._matches(prints, _PROBED, seen)
            else:
                later = np.searchsorted(self._owners, places[first : first + _AT_ONCE], side="right")
                yield from self._matches(prints, _PROBED_OF_ALL, seen, later)
            progress(first + len(prints), len(places))

    def _matches(
        self, prints: Sequence[VideoPrint], probed: int, seen: set[int], later: NDArray[np.int64] | None = None
    ) -> Iterator[Match]:
        for number, place, flipped in self._candidates(prints, probed, later):
            one, other = prints[number], self._prints[place]
            small, large = sorted((self._places.get(one.video, len(self._prints)), place))
            pair = 2 * (small * len(self._prints) + large)
            if pair + flipped not in seen:
                seen.add(pair + flipped)
                if match := align(one.mirrored() if flipped else one, other):
                    seen.add(pair + (not flipped))
                    yield replace(match, mirrored=flipped)

    def _candidates(
        self, prints: Sequence[VideoPrint], probed: int, later: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, int, bool]]:
        """Yield the position in `prints`, the place and whether to mirror of each alike video, the most alike first.

        With `later`, where the pictures of later videos begin, earlier ones are found by other keys only: they have
        found this one.
        """
        telling = [_telling(one) for one in prints]
        rows, askers = np.concatenate(telling), np.repeat(np.arange(len(prints)), [len(some) for some in telling])
        ends = np.cumsum([len(some) for some in telling])
        few = [
            np.arange(end - len(some), end, len(some) // probed + 1) for some, end in zip(telling, ends, strict=True)
        ]
        some_rows = np.concatenate(few)
        asking = np.concatenate([np.arange(len(rows)), np.repeat(some_rows, _KEY_BITS)])
        since = np.zeros(len(asking), np.int64)
        if later is not None:
            since[: len(rows)] = later[askers]
        found, queries = [], []
        for key, (order, starts) in enumerate(self._sorted):
            words = rows.view(np.uint16).reshape(len(rows), 16)[:, key]
            others = (words[some_rows, None] ^ _OTHER_BITS).ravel()
            wanted = _either_way(np.concatenate([words, others]), key).astype(np.int64)
            begins = starts[wanted]
            counts = starts[wanted + 1] - begins
            counts[counts > _MAX_COMMON] = 0
            steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = order[np.repeat(begins, counts) + steps]
            wanted_of = np.repeat(np.arange(len(asking)), counts)
            mine = places >= since[wanted_of]
            found.append(places[mine])
            queries.append(asking[wanted_of[mine]])
        place, query = np.concatenate(found), np.concatenate(queries)
        lowest = self._hashes[place, 0] ^ rows[query, 0]
        asked = []
        for flipped in (False, True):
            near = np.bitwise_count(lowest ^ MIRROR[0] if flipped else lowest) <= _NEAR
            turned = mirrored(rows) if flipped else rows
            alike = distances(self._hashes[place[near]], turned[query[near]]) <= ALIKE
            # the same two pictures may share several keys
            pairs = np.unique(query[near][alike] * len(self._prints) + self._owners[place[near][alike]])
            pairs, counts = np.unique(
                askers[pairs // len(self._prints)] * len(self._prints) + pairs % len(self._prints), return_counts=True
            )
            asked.append(np.stack([pairs * 2 + flipped, -counts]))
        pairs, counts = np.concatenate(asked, axis=1)
        taken = np.zeros(len(prints), np.int64)
        for pair in pairs[np.argsort(counts, kind="stable")].tolist():
            (number, owner), flipped = divmod(pair // 2, len(self._prints)), bool(pair % 2)
            other = self._prints[owner].video
            if taken[number] < _MAX_CANDIDATES and other != prints[number].video:
                taken[number] += 1
                yield number, owner, flipped


def _either_way(words: NDArray[np.uint16], key: int) -> NDArray[np.uint16]:
    """Return keys that a picture and the same one mirrored have in common."""
    common: NDArray[np.uint16] = np.minimum(words, words ^ MIRROR.view(np.uint16)[key])
    return common


def _telling(one: VideoPrint) -> Hashes:
    """Return the hashes that tell something: not flat, and not like the one before."""
    found = []
    for look in one.looks:
        hashes = look.hashes[~look.flat]
        telling = np.arange(len(hashes)) % _STRIDE == 0
        telling[1:] |= distances(hashes[1:], hashes[:-1]) > _SAME
        found.append(hashes[telling])
    return np.concatenate(found)
