"""filename_patterns and source_patterns; names and addresses come from strangers."""

import pytest

from vidpipe.tagging.blocks import PatternBlock
from vidpipe.tagging.patterns import Subject, parse_pattern
from vidpipe_tests.tagging.facts import facts_of


@pytest.mark.parametrize(
    ("pattern", "subject", "text", "matches"),
    [
        ("*.MKV", "filename", "holiday.mkv", True),
        ("dji_*", "filename", "DJI_0042.MP4", True),
        ("dji_*", "filename", "my DJI_0042.MP4", False),
        (r"re:s\d+e\d+", "filename", "Show.S01E07.mkv", True),
        (r"re:^s\d+", "filename", "Show.S01.mkv", False),
        ("nasa.gov", "source", "https://images.NASA.gov/a.mp4", True),
        ("nasa.gov", "source", "https://notnasa.gov/a.mp4", False),
        ("nasa.gov", "source", "https://evil.example/nasa.gov", False),
        ("*.nasa.gov/video/*", "source", "https://images.nasa.gov/video/1/a.mp4", True),
        ("https://*", "source", "http://a.example/", False),
        ("nasa.gov", "source", "http://[broken", False),
    ],
)
def test_a_pattern_matches_or_not(pattern: str, subject: Subject, text: str, matches: bool) -> None:
    assert parse_pattern(pattern, subject).matches(text) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "*/Holiday 2019/*",
        "*/holiday%202019/*",
        "file:///me/Holiday 2019/*",
        "/me/Holiday*",
        r"re:Holiday 2019/\w+\.mp4$",
    ],
)
def test_a_source_pattern_matches_a_file_however_it_is_spelled(pattern: str) -> None:
    facts = facts_of(
        urls=("/me/Holiday 2019/a.mp4", "file:///me/Holiday 2019/a.mp4", "file:///me/Holiday%202019/a.mp4")
    )
    assert PatternBlock.parse("source_patterns", [pattern]).matches(facts)


@pytest.mark.parametrize("pattern", ["re:^(a+)+$", "*a*a*a*a*a*a*a*a*b", "re:(a|a)*b"])
def test_a_hostile_name_cannot_make_a_pattern_slow(pattern: str) -> None:
    # A backtracking engine would still be at it when the test's time is over.
    assert not parse_pattern(pattern, "filename").matches("a" * 4000 + "!")


@pytest.mark.parametrize("pattern", ["", "   ", "x" * 501, "re:(", "re:(?=ahead)", r"re:(a)\1"])
def test_a_wrong_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"characters|RE2"):
        parse_pattern(pattern, "filename")


def test_a_name_in_evidence_is_one_short_printable_line() -> None:
    facts = facts_of(names=("evil\n\x1b[31m" + "x" * 400 + ".mp4",))
    evidence = PatternBlock.parse("filename_patterns", ["*.mp4"]).evidence(facts)
    assert evidence.isprintable()
    assert len(evidence) < 200
