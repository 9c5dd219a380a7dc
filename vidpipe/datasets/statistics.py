"""What a dataset holds, counted item by item: splits, labels, tags, categories, models, origins."""

from collections import Counter, defaultdict
from typing import Any

from vidpipe.datasets.item import DatasetItem
from vidpipe.datasets.splits import ORDER

UNKNOWN = "unknown"
#: Most names of one kind that a report holds; a label per video is possible.
_MOST_NAMES = 1000


class DatasetStatistics:
    """Counts items, which come in the order of a dataset: those of one video follow each other."""

    def __init__(self) -> None:
        self._splits: dict[str, dict[str, float]] = {}
        self._counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self._video = ""

    def add(self, item: DatasetItem) -> None:
        """Count an item."""
        one = {"items": 1, "videos": int(item.video != self._video), "unlabelled": int(not item.labels),
               "duration_s": item.duration_s}  # fmt: skip
        split = self._splits.setdefault(item.split, dict.fromkeys(one, 0))
        for name, number in one.items():
            split[name] = round(split[name] + number, 6)
        self._video = item.video
        for kind, names in _properties(item).items():
            for value in set(names):
                self._counts[kind][value][item.split] += 1

    def as_document(self) -> dict[str, Any]:
        """Return what was counted.

        `items`, `videos`, `unlabelled` (items without a stated label) and `duration_s`, also of each of the `splits`.
        `counts`: kind -> entries with `name`, `items` and `splits`, the most frequent first.
        """
        counts = {}
        for kind, found in sorted(self._counts.items()):
            ordered = sorted(found.items(), key=lambda one: (-one[1].total(), one[0]))[:_MOST_NAMES]
            counts[kind] = [{"name": name, "items": by.total(), "splits": dict(by)} for name, by in ordered]
        total = {name: round(sum(split[name] for split in self._splits.values()), 3)
                 for name in ("items", "videos", "unlabelled", "duration_s")}  # fmt: skip
        splits = {name: self._splits[name] for name in ("", *ORDER) if name in self._splits}
        return {**total, "splits": splits, "counts": counts}


def _properties(item: DatasetItem) -> dict[str, tuple[str, ...]]:
    """Return kind -> the names that an item counts for."""
    described = f"measurements ({item.described_by})" if item.measured else item.described_by
    return {
        "label": item.labels or ("unlabelled",),
        "tag": tuple(tag.tag for tag in item.tags),
        "category": (item.category or "none",),
        "description from": (described if item.description else "none",),
        "site": tuple(one.site or UNKNOWN for one in item.sources) or (UNKNOWN,),
        "licence": tuple(one.licence or UNKNOWN for one in item.sources) or (UNKNOWN,),
        **{f"version of {name}": (version,) for name, version in item.versions.items()},
    }
