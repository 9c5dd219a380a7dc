"""Which detections to believe: a detector is often sure, and wrong, about what it was never shown.

A cartoon rabbit is a bird in one frame, a cat in the next and a sheep in a third, each with a confidence of 0.9. So the
frames of a scene are asked whether they agree: detections at the same place, in a frame or in successive ones, are one
thing. A thing that goes by several names is dropped, and so is a label that one frame alone suggests.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from vidpipe.stages.analyses.results import Box, DetectedObject

#: Boxes that share this much of their union are one thing. A rider and a bicycle share less.
_SAME_PLACE = 0.6
#: Share of the confidence in a thing that its first name must have. Measured on real clips: 0.62 for a cartoon rabbit
#: taken for a bird and 0.63 for a cartoon sheep taken for a kite; 0.95 or more for people, cars and bicycles.
_AGREEMENT = 0.8
#: From this confidence on, one frame of two is enough.
_SURE = 0.8
#: Frames for which a thing may be unseen.
_PATIENCE = 2
#: Detections of this share of the least confidence do not count, but tell what else a thing may be.
WEAK = 0.6

#: A thing: number of each frame with it, in order -> its detections there.
_Thing = dict[int, list[DetectedObject]]


def agreed(frames: Sequence[Sequence[DetectedObject]], min_confidence: float) -> list[list[DetectedObject]]:
    """Return the detections to believe.

    Args:
        frames: The detections in each frame of a scene, down to `WEAK` times the least confidence.
        min_confidence: The least confidence.

    Returns:
        For each frame, those of at least `min_confidence` whose labels the frames agree on.
    """
    dropped = {id(one) for thing in _things(frames) for one in _contested(thing)}
    remaining = [[one for one in some if id(one) not in dropped] for some in frames]
    best = _best(remaining).items()
    alone = len(frames) == 1
    believed = {label for label, found in best if len(found) > 1 or alone or (found[0] >= _SURE and len(frames) < 3)}
    return [[one for one in some if one.label in believed and one.confidence >= min_confidence] for some in remaining]


def _things(frames: Sequence[Sequence[DetectedObject]]) -> list[_Thing]:
    things: list[_Thing] = []
    for number, some in enumerate(frames):
        for one in some:
            if one.box is None:
                continue
            place = one.box
            recent = [thing for thing in things if max(thing) >= number - _PATIENCE]
            thing = max(recent, key=lambda thing: _overlap(thing, place), default=None)
            if thing is None or _overlap(thing, place) < _SAME_PLACE:
                things.append(thing := {})
            thing.setdefault(number, []).append(one)
    return things


def _contested(thing: _Thing) -> Iterable[DetectedObject]:
    """Return all detections of a thing if they disagree about what it is, otherwise those of other labels."""
    totals = {label: sum(found) for label, found in _best(thing.values()).items()}
    first = max(totals, key=lambda label: totals[label])
    agrees = totals[first] >= _AGREEMENT * sum(totals.values())
    return [one for some in thing.values() for one in some if not agrees or one.label != first]


def _best(frames: Iterable[Sequence[DetectedObject]]) -> Mapping[str, Sequence[float]]:
    """Return the highest confidence of each label in each frame with it."""
    best: dict[str, list[float]] = defaultdict(list)
    for some in frames:
        for label in dict.fromkeys(one.label for one in some):
            best[label].append(max(one.confidence for one in some if one.label == label))
    return best


def _overlap(thing: _Thing, box: Box) -> float:
    """Return the intersection of a box and the place where a thing was seen last, as a share of their union."""
    return max((_shared(one.box, box) for one in thing[max(thing)] if one.box), default=0.0)


def _shared(one: Box, other: Box) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (one[2] * one[3] + other[2] * other[3] - common) if common else 0.0
