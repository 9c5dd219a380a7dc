"""Compares two fingerprints: whether one video, or a part of it, is in the other one, and where."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidpipe.datasets.duplicates.prints import VideoPrint
from vidpipe.media.perceptual_hash import SOUND_INTERVAL_S, Hashes, distances

#: Pictures are alike up to this number of different bits of 256.
ALIKE = 72
#: A copy has this share of the longer video, a part of another video this share of the shorter one.
_COPY, _PART = 0.7, 0.7
#: Interruptions of a match, and the share of alike pictures within it.
_MAX_GAP_S, _MIN_ALIKE = 2.5, 0.75
#: Time differences that are tried, and the pictures that vote for them.
_OFFSETS, _MAX_VOTERS, _VOTERS_AT_ONCE = 6, 256, 16
#: Bits that change in a picture, on average, from which changes are compared.
_MOVING = 6.0
#: How well they have to agree: if the sound is the same; and else by the share of the differences that never changes,
#: as that of a logo or border. Still videos without the same sound have at most this number of different bits.
_AGREEMENT_WITH_SOUND, _AGREEMENT = 0.12, ((0.7, 0.3), (0.45, 0.46), (0.0, 0.54))
_STILL_ALIKE = 24.0
#: Share of different bits up to which sound is the same, and from which it is another one; words that are compared.
_SAME_SOUND, _OTHER_SOUND, _MIN_WORDS = 0.33, 0.4, 16
_SOUND_SHIFTS = 6


@dataclass(frozen=True, slots=True)
class Match:
    """Two videos that show the same.

    Attributes:
        video: The first one.
        other: The second one.
        kind: copy: they have most in common. part: one has a part of the other.
        start_s: Where what they have in common begins in `video`.
        end_s: Where it ends.
        other_start_s: Where it begins in `other`.
        other_end_s: Where it ends.
        score: How alike they are there, 0 to 1.
        mirrored: Whether one is mirrored.
    """

    video: str
    other: str
    kind: Literal["copy", "part"]
    start_s: float
    end_s: float
    other_start_s: float
    other_end_s: float
    score: float
    mirrored: bool = False


class _Aligned(NamedTuple):
    """Pictures of two videos at one time difference: `first` up to `last` (exclusive) of the first video."""

    offset: int
    first: int
    last: int
    apart: NDArray[np.int64]
    alike: int
    mine: Hashes
    others: Hashes


def align(video: VideoPrint, against: VideoPrint) -> Match | None:
    """Return what two videos have in common; None if it is not enough of the shorter one."""
    matches = (_match(one, other) for one in video.looks for other in against.looks)
    return max(filter(None, matches), key=lambda match: match.score, default=None)


def _match(video: VideoPrint, against: VideoPrint) -> Match | None:
    interval_s = max(video.interval_s, against.interval_s)
    one, other = (_at_interval(each, interval_s) for each in (video, against))
    found = [aligned for offset in _offsets(one, other) if (aligned := _aligned(one, other, offset))]
    if not found:
        return None
    best = max(found, key=lambda each: (each.alike, -float(each.apart.mean())))
    start_s, other_start_s = best.first * interval_s, (best.first + best.offset) * interval_s
    length_s = min(
        (best.last - best.first) * interval_s, video.duration_s - start_s, against.duration_s - other_start_s
    )
    shorter_s, longer_s = sorted((video.duration_s, against.duration_s))
    if length_s + interval_s < _PART * shorter_s:
        return None
    sound = _sound_difference(video, against, start_s, other_start_s, length_s)
    if not _agree(best, sound):
        return None
    likeness = 1 - float(best.apart.mean()) / 128
    score = likeness if sound is None else 0.7 * likeness + 0.3 * (1 - min(1.0, 2 * sound))
    kind: Literal["copy", "part"] = "copy" if length_s + interval_s >= _COPY * longer_s else "part"
    end_s, other_end_s = round(start_s + length_s, 3), round(other_start_s + length_s, 3)
    return Match(video.video, against.video, kind, start_s, end_s, other_start_s, other_end_s, round(score, 4))


def _at_interval(one: VideoPrint, interval_s: float) -> VideoPrint:
    step = round(interval_s / one.interval_s)
    return one if step == 1 else replace(one, interval_s=interval_s, hashes=one.hashes[::step], flat=one.flat[::step])


def _offsets(one: VideoPrint, other: VideoPrint) -> Iterator[int]:
    """Yield the most frequent differences of the positions of alike pictures."""
    voters = np.flatnonzero(~one.flat)
    voters = voters[:: len(voters) // _MAX_VOTERS + 1]
    votes = np.zeros(len(one.hashes) + len(other.hashes), np.int64)
    for first in range(0, len(voters), _VOTERS_AT_ONCE):
        some = voters[first : first + _VOTERS_AT_ONCE]
        voter, place = np.nonzero((distances(one.hashes[some, None], other.hashes) <= ALIKE) & ~other.flat)
        votes += np.bincount(place - some[voter] + len(one.hashes), minlength=len(votes))
    for vote in np.argsort(-votes, kind="stable")[:_OFFSETS]:
        if votes[vote]:
            yield int(vote) - len(one.hashes)


def _aligned(one: VideoPrint, other: VideoPrint, offset: int) -> _Aligned | None:
    """Return the longest match at a time difference, if it is one."""
    places = np.arange(max(0, -offset), min(len(one.hashes), len(other.hashes) - offset))
    # the pictures of both were taken at different times: up to half an interval apart
    near = np.clip(places + offset + np.array([[0], [-1], [1]]), 0, len(other.hashes) - 1)
    apart = distances(one.hashes[places], other.hashes[near])
    nearest, apart = near[apart.argmin(axis=0), np.arange(len(places))], apart.min(axis=0)
    seen = ~(one.flat[places] | other.flat[places + offset])
    alike = np.flatnonzero((apart <= ALIKE) & seen)
    if not len(alike):
        return None
    runs = np.split(alike, np.flatnonzero(np.diff(alike) * one.interval_s > _MAX_GAP_S) + 1)
    run = max(runs, key=len)
    span = np.arange(run[0], run[-1] + 1)[seen[run[0] : run[-1] + 1]]
    if len(run) < _MIN_ALIKE * len(span):
        return None
    pairs = one.hashes[places[span]], other.hashes[nearest[span]]
    return _Aligned(offset, int(places[run[0]]), int(places[run[-1]]) + 1, apart[span], len(run), *pairs)


def _agree(aligned: _Aligned, sound: float | None) -> bool:
    """Return whether pictures that are alike are of the same video, given the share of different bits of the sound."""
    same_sound = sound is not None and sound <= _SAME_SOUND
    agreement, mark = _agreement(aligned.mine, aligned.others)
    if agreement is None:
        return same_sound or ((sound is None or sound < _OTHER_SOUND) and aligned.apart.mean() <= _STILL_ALIKE)
    needed = next(needed for least, needed in _AGREEMENT if mark >= least)
    return agreement >= (_AGREEMENT_WITH_SOUND if same_sound else needed)


def _agreement(one: Hashes, other: Hashes) -> tuple[float | None, float]:
    """Return how well the changes of pictures agree, 0 to 1, and the share of the differences that never changes.

    Two videos of the same studio have the same bits, but others change. None: both are nearly still.
    """
    bits = [np.unpackbits(each.view(np.uint8), axis=1) for each in (one, other)]
    changes = [each ^ (each.mean(axis=0) > 0.5) for each in bits]
    counts = [float(each.sum()) for each in changes]
    if max(counts) < _MOVING * len(one):
        return None, 0.0
    different = bits[0] ^ bits[1]
    mark = np.count_nonzero(different.mean(axis=0) > 0.5) * len(one) / max(1.0, float(different.sum()))
    return float((changes[0] & changes[1]).sum()) / max(1.0, float(np.sqrt(counts[0] * counts[1]))), float(mark)


def _sound_difference(
    one: VideoPrint, other: VideoPrint, start_s: float, other_start_s: float, length_s: float
) -> float | None:
    """Return the share of different bits of the sound, 0 to 1; None if there is too little to compare."""
    first, other_first, count = (round(time_s / SOUND_INTERVAL_S) for time_s in (start_s, other_start_s, length_s))
    heard = one.audio[first : first + count]
    best: float | None = None
    for shift in range(-_SOUND_SHIFTS, _SOUND_SHIFTS + 1):
        begin = other_first + shift
        against = other.audio[max(0, begin) : max(0, begin + len(heard))]
        mine = heard[max(0, -begin) :][: len(against)]
        against = against[: len(mine)]
        both = (mine != 0) & (against != 0)
        if np.count_nonzero(both) >= _MIN_WORDS:
            share = float(np.bitwise_count(mine ^ against)[both].mean()) / 16
            best = share if best is None else min(best, share)
    return best
