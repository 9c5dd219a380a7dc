"""Splits: groups stay whole, shares and labels are met as far as groups allow, and nothing depends on chance."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.datasets.groups import leaks, linked_groups
from vidpipe.datasets.splits import parse_shares, split_groups
from vidpipe.errors import SettingsError

_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_FEW = settings(max_examples=25)
_LABELS = st.lists(st.sampled_from(["cat", "dog", "sea", "=1+1", ""]), max_size=3)
_VIDEOS = st.lists(st.tuples(st.integers(0, 30).map("v{:02d}".format), _LABELS), max_size=60)
_LINKS = st.lists(
    st.tuples(
        st.integers(0, 40).map("v{:02d}".format),
        st.sampled_from(["channel", "near-duplicates"]),
        st.sampled_from("abcde"),
    ),
    max_size=20,
)


@_FEW
@given(items=_VIDEOS, links=_LINKS, seed=st.integers(0, 5))
def test_no_group_spans_two_splits_and_every_item_is_in_one(
    items: list[tuple[str, list[str]]], links: list[tuple[str, str, str]], seed: int
) -> None:
    groups = linked_groups({video for video, _ in items}, links)
    splits = split_groups([(groups[video], labels) for video, labels in items], _SHARES, seed=seed).splits
    split_of = {video: splits[groups[video]] for video, _ in items}
    assert set(split_of.values()) <= _SHARES.keys()
    inside = [(video, kind, one) for video, kind, one in links if video in split_of]
    assert not any(leaks(split_of, inside).values())
    for video, kind, one in inside:
        for other, other_kind, other_one in inside:
            assert (kind, one) != (other_kind, other_one) or split_of[video] == split_of[other]


@_FEW
@given(items=_VIDEOS, links=_LINKS, seed=st.integers(0, 5), order=st.randoms())
def test_the_same_seed_gives_the_same_splits_in_whatever_order_items_come(
    items: list[tuple[str, list[str]]], links: list[tuple[str, str, str]], seed: int, order: random.Random
) -> None:
    def split() -> dict[str, str]:
        groups = linked_groups([video for video, _ in items], links)
        return dict(split_groups([(groups[video], labels) for video, labels in items], _SHARES, seed=seed).splits)

    first = split()
    order.shuffle(items)
    order.shuffle(links)
    assert split() == first


@_FEW
@given(
    items=st.lists(_LABELS, max_size=120),
    seed=st.integers(0, 5),
    shares=st.sampled_from(["80/10/10", "70/30", "1/1/1"]),
)
def test_sizes_are_near_the_asked_shares_where_groups_allow(items: list[list[str]], seed: int, shares: str) -> None:
    asked = parse_shares(shares)
    placed = split_groups([(f"v{number}", labels) for number, labels in enumerate(items)], asked, seed=seed).splits
    sizes = Counter(placed.values())
    assert all(abs(sizes[split] - share * len(items)) <= 2 for split, share in asked.items())


def test_each_label_is_balanced_over_the_splits() -> None:
    chance = random.Random(1)
    items = [
        (
            f"v{number}",
            [label for label, odds in (("common", 0.6), ("rare", 0.1), ("both", 0.3)) if chance.random() < odds],
        )
        for number in range(1000)
    ]
    placed = split_groups(items, _SHARES).splits
    for label in ("common", "rare", "both"):
        found = Counter(placed[video] for video, labels in items if label in labels)
        for split, share in _SHARES.items():
            assert abs(found[split] - share * found.total()) <= 2, (label, found)


def test_a_label_per_video_does_not_put_all_into_the_largest_split() -> None:
    placed = split_groups([(f"v{number}", [f"label {number}"]) for number in range(100)], _SHARES).splits
    assert Counter(placed.values()) == {"train": 80, "validation": 10, "test": 10}


@_FEW
@given(items=_VIDEOS, more=_VIDEOS, seed=st.integers(0, 3))
def test_added_videos_do_not_move_those_of_before(
    items: list[tuple[str, list[str]]], more: list[tuple[str, list[str]]], seed: int
) -> None:
    before = split_groups(items, _SHARES, seed=seed).splits
    after = split_groups(
        [*items, *more], _SHARES, seed=seed + 1, before={group: [split] for group, split in before.items()}
    )
    assert {group: after.splits[group] for group in before} == dict(before)


def test_joined_groups_go_to_the_later_split_so_that_no_test_video_is_trained_on() -> None:
    assert split_groups([("a", [])] * 3, _SHARES, before={"a": ["test", "train"]}).splits == {"a": "test"}


def test_wishes_that_groups_do_not_allow_are_said() -> None:
    plan = split_groups([("a", ["x"])] * 9 + [("b", ["y"])], _SHARES)
    assert any("has 0% of the items instead of 10%: there are 2 groups" in warning for warning in plan.warnings)
    assert any("2 labels are in too few groups" in warning and '"x"' in warning for warning in plan.warnings)


def test_shares_are_train_validation_and_test() -> None:
    assert parse_shares("80/10/10") == pytest.approx(_SHARES)
    assert parse_shares("3/1") == {"train": 0.75, "test": 0.25}
    assert parse_shares("80/0/20") == pytest.approx({"train": 0.8, "test": 0.2})
    assert parse_shares("80") == {"train": 1.0}
    assert parse_shares("") == {}


@pytest.mark.parametrize("text", ["0/0", "a/b", "80/-10/30", "1/2/3/4", "nan/1", "80//20", "1e3/2"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not understood"):
        parse_shares(text)


def test_videos_linked_through_others_are_one_group() -> None:
    links = [("c", "channel", "1"), ("b", "channel", "1"), ("b", "page", "2"), ("a", "page", "2"), ("z", "page", "2")]
    assert linked_groups(["a", "b", "c", "d"], links) == {"a": "a", "b": "a", "c": "a", "d": "d"}
