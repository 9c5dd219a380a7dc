"""Groups of copies."""

from collections import defaultdict
from collections.abc import Iterable

from vidpipe.datasets.duplicates.alignment import Match

#: Share of the pairs of two groups that must match for them to become one, and most videos of the larger one that
#: count: the index compares a video with this many others.
_LINKED, _MAX_COUNTED = 0.08, 24
#: Matches of a video that are too few to tell whether another one is a chance one.
_FEW_COPIES = 2


def groups_of(matches: Iterable[Match], distinct: set[frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the groups of videos that are copies of each other, in order.

    Only copies join a group, those with most copies in common first; a video that has a part of another one does not,
    so that a compilation joins nothing. Nor do single matches join two groups.

    Args:
        matches: What the index has found.
        distinct: Pairs that must not be in one group.
    """
    apart: defaultdict[str, set[str]] = defaultdict(set)
    for pair in distinct:
        for video in pair:
            apart[video] |= pair - {video}
    group: dict[str, set[str]] = {}
    copies = [match for match in matches if match.kind == "copy" and match.video != match.other]
    linked: defaultdict[str, set[str]] = defaultdict(set)
    for match in copies:
        linked[match.video].add(match.other)
        linked[match.other].add(match.video)
    order = []
    for match in copies:
        one, other = linked[match.video], linked[match.other]
        shared = len(one & other)
        # a match of two videos with copies of their own, none of them in common, is a chance one
        if shared or min(len(one), len(other)) <= _FEW_COPIES:
            order.append((-shared, -match.score, match.video, match.other))
    for _, _, first, second in sorted(order):
        small, large = sorted((group.setdefault(video, {video}) for video in (first, second)), key=len)
        if small is large or not all(apart[video].isdisjoint(large) for video in small):
            continue
        links = sum(len(linked[video] & large) for video in small)
        if links >= _LINKED * len(small) * min(len(large), _MAX_COUNTED):
            large |= small
            group |= dict.fromkeys(small, large)
    return sorted({tuple(sorted(one)) for one in group.values() if len(one) > 1})
