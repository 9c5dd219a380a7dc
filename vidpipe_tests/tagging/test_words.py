"""Keywords are found as whole words, whatever their case, hyphens or plural."""

import pytest

from vidpipe.tagging.blocks import KeywordBlock
from vidpipe.tagging.facts import TagFacts


def found(keyword: str, description: str) -> bool:
    return KeywordBlock.parse([keyword]).matches(TagFacts(description=description))


@pytest.mark.parametrize(
    ("keyword", "description"),
    [
        ("sunset", "A SUNSET, seen from the pier."),
        ("beach", "Two beaches at noon"),
        ("city", "Lights of the cities"),
        ("Bird's Eye", "seen from a bird\u2019s eye view"),
        ("close-up", "a close up of a hand"),
        ("slow motion", "In slow\nmotion, a cat jumps"),
        ("café", "the cafe\u0301 on the corner"),
        ("海滩", "孩子们在海滩上玩耍。"),
    ],
)
def test_a_keyword_is_found(keyword: str, description: str) -> None:
    assert found(keyword, description)


@pytest.mark.parametrize(
    ("keyword", "description"),
    [
        ("car", "a carpet and a scarf"),
        ("slow motion", "slow, then a motion"),
        ("action", "satisfaction and reactions"),
        ("sunset", ""),
    ],
)
def test_parts_of_words_are_not(keyword: str, description: str) -> None:
    assert not found(keyword, description)


def test_evidence_names_what_the_description_says_not_what_was_asked() -> None:
    facts = TagFacts(description="Drones over beaches")
    assert KeywordBlock.parse(["beach", "drone", "snow"]).evidence(facts) == (
        'the description says "beaches", "drones"'
    )
