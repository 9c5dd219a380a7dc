"""Which detections to believe: a detector is often sure, and wrong, about what it was never shown.

A cartoon rabbit is a bird in one frame, a cat in the next and a sheep in a third, each with a confidence of 0.9. So the
frames of a scene are asked whether they agree: detections at the same place, in a frame or in successive ones, are one
thing. A thing that goes by several names is dropped, and so is a label that one frame alone suggests.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from vidpipe.stages.analyses.results import Box, DetectedObject

#: Boxes that share this much of their union are one thing. A rider and a bicycle share less.
_SAME_PLACE = 0.6
#: Share of the confidence in a thing that its first name must have. Measured on real clips: 0.62 for a cartoon rabbit
#: taken for a bird and 0.63 for a cartoon sheep taken for a kite; 0.95 or more for people, cars and bicycles.
_AGREEMENT = 0.8
#: From this confidence on, one frame is enough.
_SURE = 0.8
#: Frames for which a thing may be unseen.
_PATIENCE = 2
#: Detections of this share of the least confidence do not count, but tell what else a thing may be.
WEAK = 0.6


@dataclass
class _Thing:
    """A thing in successive frames."""

    seen: int
    boxes: list[Box]
    found: list[tuple[int, DetectedObject]] = field(default_factory=list)


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
    support: dict[str, int] = defaultdict(int)
    peak: dict[str, float] = defaultdict(float)
    for some in remaining:
        for label in {one.label for one in some}:
            support[label] += 1
            peak[label] = max(peak[label], *(one.confidence for one in some if one.label == label))
    believed = {label for label in peak if support[label] > 1 or peak[label] >= _SURE or len(frames) == 1}
    return [[one for one in some if one.label in believed and one.confidence >= min_confidence] for some in remaining]


def _things(frames: Sequence[Sequence[DetectedObject]]) -> list[_Thing]:
    things: list[_Thing] = []
    for number, some in enumerate(frames):
        for one in some:
            if one.box is None:
                continue
            recent = [thing for thing in things if thing.seen >= number - _PATIENCE]
            best = max(recent, key=lambda thing: _overlap_of(thing, one.box), default=None)
            if best is None or _overlap_of(best, one.box) < _SAME_PLACE:
                best = _Thing(number, [])
                things.append(best)
            if best.seen != number:
                best.seen, best.boxes = number, []
            best.boxes.append(one.box)
            best.found.append((number, one))
    return things


def _contested(thing: _Thing) -> Sequence[DetectedObject]:
    """Return all detections of a thing if they disagree about what it is, otherwise those of other labels."""
    best: dict[tuple[str, int], float] = defaultdict(float)
    for number, one in thing.found:
        best[one.label, number] = max(best[one.label, number], one.confidence)
    totals: dict[str, float] = defaultdict(float)
    for (label, _), confidence in best.items():
        totals[label] += confidence
    first = max(totals, key=lambda label: totals[label])
    agrees = totals[first] >= _AGREEMENT * sum(totals.values())
    return [one for _, one in thing.found if not agrees or one.label != first]


def _overlap_of(thing: _Thing, box: Box | None) -> float:
    return max((_overlap(box, other) for other in thing.boxes), default=0.0) if box else 0.0


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes as a share of their union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (one[2] * one[3] + other[2] * other[3] - common) if common else 0.0
