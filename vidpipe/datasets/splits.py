"""Grouped, stratified splits, after Sechidis et al., "On the stratification of multi-label data" (2011).

Groups with the rarest label are placed first, each in the split that lacks most of its labels and of all items. What a
split lacks is counted against the items placed so far, so that sizes stay near their shares however many labels there
are. Then each group is placed once more against all items.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidpipe.errors import SettingsError

#: Names of one, two and three splits. Where groups of earlier versions are joined, the later split wins: what was
#: tested on is never trained on.
_NAMES = (("train",), ("train", "test"), ("train", "validation", "test"))
ORDER = _NAMES[-1]
_ROUNDS = 2
_SHARE = re.compile(r"\d{1,6}(\.\d{1,6})?")
#: Deviations from the asked shares that are worth a warning.
_TOLERATED_SHARE, _TOLERATED_ITEMS = 0.02, 1.0


@dataclass(frozen=True)
class SplitPlan:
    """What goes where.

    Attributes:
        splits: Group -> its split.
        warnings: Wishes that cannot be met.
    """

    splits: Mapping[str, str]
    warnings: tuple[str, ...]


def parse_shares(text: str) -> dict[str, float]:
    """Return split -> its share of 1, given "80/10/10" (train, validation, test), "80/20" (train, test) or "".

    Raises:
        SettingsError: It is something else.
    """
    parts = text.split("/") if text else []
    numbers = [float(part) for part in parts if _SHARE.fullmatch(part)]
    if len(numbers) != len(parts) or len(parts) > len(_NAMES) or (parts and not sum(numbers)):
        raise SettingsError(f'--split "{text}" is not understood.', "Use 80/10/10 (train, validation, test) or 80/20.")
    names = _NAMES[len(parts) - 1] if parts else ()
    return {name: number / sum(numbers) for name, number in zip(names, numbers, strict=True) if number}


def split_groups(
    items: Iterable[tuple[str, Sequence[str]]], shares: Mapping[str, float], *, seed: int = 0,
    before: Mapping[str, Iterable[str]] | None = None,
) -> SplitPlan:  # fmt: skip
    """Split groups so that items and labels are shared out as asked. The order of the items does not matter.

    Args:
        items: (group, labels to balance) of each item.
        shares: Split -> its share of 1.
        seed: Equal seeds give equal splits.
        before: Group -> the splits that its videos had in earlier versions: it stays there.
    """
    weights: dict[str, Counter[str | None]] = {}
    for group, labels in items:
        weights.setdefault(group, Counter()).update([None, *set(labels)])
    everything: Counter[str | None] = Counter()
    spread: Counter[str | None] = Counter()
    for weight in weights.values():
        everything.update(weight)
        spread.update(weight.keys())
    kept = {
        group: [split for split in sorted(before[group], key=ORDER.index) if split in shares][-1:]
        for group in weights if before and group in before
    }  # fmt: skip
    fixed = {group: splits[0] for group, splits in kept.items() if splits}

    def place(group: str) -> tuple[bool, int, int, str]:
        rarest = min((everything[label] for label in weights[group] if label is not None), default=0)
        return group not in fixed, rarest, -weights[group][None], hashlib.sha256(f"{seed} {group}".encode()).hexdigest()

    order, placed = sorted(weights, key=place), dict[str, str]()
    total: Counter[str | None] = Counter()
    counts: dict[str, Counter[str | None]] = {split: Counter() for split in shares}
    for _ in range(_ROUNDS):
        for group in order if shares else ():
            weight, now = weights[group], placed.get(group, "")
            if now in counts:
                counts[now].subtract(weight)
            else:
                total.update(weight)
            lacks = {}
            for split, share in shares.items():
                lack = {label: n * (share * total[label] - counts[split][label]) for label, n in weight.items()}
                # All items count as much as all labels together; the order of labels must not matter.
                lacks[split] = round(math.fsum(lack.values()) + lack[None] * max(0, len(weight) - 2), 6)
            placed[group] = fixed.get(group) or max(lacks, key=lambda split: (lacks[split], split == now))
            counts[placed[group]].update(weight)
    return SplitPlan({group: placed.get(group, "") for group in weights}, _warnings(counts, everything, shares, spread))


def _warnings(
    counts: Mapping[str, Mapping[str | None, int]], everything: Mapping[str | None, int], shares: Mapping[str, float],
    spread: Mapping[str | None, int],
) -> tuple[str, ...]:  # fmt: skip
    total, found = everything.get(None, 0), list[str]()
    for split, share in shares.items():
        off = abs(counts[split][None] - share * total)
        if total and (not counts[split][None] or off > max(_TOLERATED_ITEMS, _TOLERATED_SHARE * total)):
            has = f"{split} has {counts[split][None] / total:.0%} of the items instead of {share:.0%}"
            found.append(f"{has}: there are {spread[None]} groups that stay whole, or earlier versions are kept.")
    rare = sorted(label for label in everything if label is not None and spread[label] < len(shares))
    if rare:
        named = ", ".join(f'"{label[:40]}"' for label in rare[:3])
        number = f"{len(rare)} labels are" if len(rare) > 1 else "1 label is"
        found.append(f"{number} in too few groups to be in every split, such as {named}.")
    return tuple(found)
