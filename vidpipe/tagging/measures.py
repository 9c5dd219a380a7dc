"""How often tags and categories are right: precision with its interval, recall and F1, from verdicts or labels."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

#: Of a video: keys of its tags according to labels, of those that were looked for (None: all that occur in the labels),
#: and of those that were found; its category according to labels ("": not known), and the one found.
Compared = tuple[frozenset[str], frozenset[str] | None, frozenset[str], str, str]

#: 95 % of a normal distribution lie within so many standard deviations.
_Z = 1.959963984540054


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which a sample is known (E. B. Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    share, squared = right / total, _Z * _Z / total
    half = sqrt(share * (1 - share) * squared + squared * squared / 4)
    low, high = ((share + squared / 2 + sign * half) / (1 + squared) for sign in (-1, 1))
    return (low if right else 0.0), (high if right < total else 1.0)


def measure(counts: Mapping[str, int], *, complete: bool = False) -> dict[str, Any]:
    """Return precision with its interval (`low`, `high`), recall and F1; None where they cannot be estimated.

    Args:
        counts: `yes`: given and right; `no`: given and wrong; `missed`: not given, but would be right.
        complete: All that was missed is known; otherwise there is no recall until something was missed.
    """
    yes, no, missed = (counts.get(name, 0) for name in ("yes", "no", "missed"))
    low, high = wilson(yes, yes + no)
    recall = yes / (yes + missed) if missed or (complete and yes) else None
    f1 = 2 * yes / (2 * yes + no + missed) if missed or (complete and yes + no) else None
    precision = yes / (yes + no) if yes + no else None
    found = {"yes": yes, "no": no, "missed": missed, "precision": precision, "low": low, "high": high}
    return found | {"recall": recall, "f1": f1}


def compare_labels(videos: Iterable[Compared], names: Mapping[str, str]) -> dict[str, Any]:
    """Return precision, recall and F1 of each tag, their averages, and how often each category was taken for which.

    Args:
        videos: The videos.
        names: Key of each tag in the labels -> the tag.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    confusion: defaultdict[str, Counter[str]] = defaultdict(Counter)
    total = 0
    for total, (true, checked, given, category, found) in enumerate(videos, 1):  # noqa: B007
        for key in true | (given & (names.keys() if checked is None else checked)):
            counts[key]["missed" if key not in given else "yes" if key in true else "no"] += 1
        if category:
            confusion[category][found] += 1
    tags = [{"tag": names.get(key, key), **measure(counts[key], complete=True)} for key in sorted(counts)]
    known = {name: [one[name] for one in tags if one[name] is not None] for name in ("precision", "recall", "f1")}
    macro = {name: sum(values) / len(values) if values else None for name, values in known.items()}
    micro = measure(sum(counts.values(), Counter()), complete=True)
    return {"videos": total, "tags": tags, "micro": micro, "macro": macro, "confusion": confusion}
