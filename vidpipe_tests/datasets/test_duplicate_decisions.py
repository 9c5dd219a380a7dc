"""What people decided about duplicates stays until it is withdrawn, or a video of it is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.datasets.duplicates.decisions import DistinctPair, distinct_pairs, mark_distinct, withdraw_distinct
from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.videos import NoSuchVideo
from vidpipe.operations.retention.undo_copies import restore
from vidpipe.operations.retention.video_removal import forget
from vidpipe.settings import Settings
from vidpipe_tests.library.conftest import backups, library, target
from vidpipe_tests.library.sample_library import GRAPH, sha256_of
from vidpipe_tests.operations.backups.backup_round_trip import backed_up, restored

__all__ = ["backups", "library", "target"]

ONE, TWO, ABSENT = sha256_of("harbour.mp4"), sha256_of("race.mkv"), "0" * 64
FIRST, SECOND = sorted((ONE, TWO))


def decided(library: Library) -> list[tuple[str, str, str, str]]:
    return [(pair.video, pair.other, pair.by, pair.note) for pair in distinct_pairs(library)]


def test_a_decision_is_about_a_pair_in_either_order_and_the_last_one_holds(library: Library) -> None:
    mark_distinct(library, DistinctPair(video=SECOND, other=FIRST, by="ada", note="two takes"))
    mark_distinct(library, DistinctPair(video=FIRST, other=SECOND, by="ben"))
    assert decided(library) == [(FIRST, SECOND, "ben", "")]
    assert withdraw_distinct(library, SECOND, FIRST, "ada")
    assert not withdraw_distinct(library, SECOND, FIRST, "ada")
    assert decided(library) == []


def test_only_two_videos_of_the_library_can_be_told_apart(library: Library) -> None:
    with pytest.raises(SettingsError, match="itself"):
        mark_distinct(library, DistinctPair(video=ONE, other=ONE, by="ada"))
    with pytest.raises(NoSuchVideo, match=ABSENT[:12]):
        mark_distinct(library, DistinctPair(video=ONE, other=ABSENT, by="ada"))
    assert decided(library) == []


def test_it_goes_with_a_forgotten_video_comes_back_with_it_and_is_in_backups(
    library: Library, target: Settings, backups: Path
) -> None:
    mark_distinct(library, DistinctPair(video=ONE, other=TWO, by="ada", note="two takes"))
    before = decided(library)
    backed_up(library, backups)
    restored(target, backups)
    with Library.open(target, GRAPH) as again:
        assert decided(again) == before
    forget(library, [ONE], lambda _: None)
    assert decided(library) == []
    restore(library, ONE, lambda _: None)
    assert decided(library) == before
