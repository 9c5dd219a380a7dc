"""metadata_conditions: fields, operators, spellings, and values that are not known."""

import re
from typing import Any

import pytest

from vidpipe.tagging.conditions import parse_condition
from vidpipe.tagging.fields import FIELDS
from vidpipe_tests.tagging.facts import facts_of

FILM = facts_of(
    duration_s=725.3, resolution="4K", width=3840, height=2160, video_codec="h264", bit_rate=2_500_000,
    frame_rate=30000 / 1001, hdr="hdr10", container="mov", has_audio=True, audio_streams=2,
    audio_language=("deu", "eng"), subtitle_language=(), color=("blue", "grey"), orientation="landscape",
)  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [
        ("duration_gt", 600, True),
        ("duration_gt", 725.3, False),
        ("duration_gte", 725.3, True),
        ("duration_s_lt", 600, False),
        ("resolution", "4k", True),
        ("resolution", "2160p", True),
        ("resolution", ["HD", "Full HD"], False),
        ("resolution_gte", "Full HD", True),
        ("resolution_lt", "4K", False),
        ("codec", "H.264", True),
        ("codec", ["hevc", "avc1"], True),
        ("video_codec_not", "h265", True),
        ("bit_rate_gt", 2_000_000, True),
        ("fps", 29.97, True),
        ("fps", 30, False),
        ("width", 3841, False),
        ("hdr", True, True),
        ("hdr", False, False),
        ("hdr_not", True, False),
        ("hdr", "HDR10", True),
        ("hdr", "HLG", False),
        ("container", "mp4", True),
        ("audio_language", "en", True),
        ("audio_language", "German", True),
        ("audio_language_not", "eng", False),
        ("audio_language_in", ["fra", "en-US"], True),
        ("subtitle_language", "eng", False),
        ("subtitle_language_not", "eng", True),
        ("colour", "Gray", True),
        ("has_audio", False, False),
        ("has_audio_not", False, True),
        ("orientation_in", ["portrait", "square"], False),
    ],
)
def test_a_condition_holds_or_not(key: str, value: Any, holds: bool) -> None:
    assert parse_condition(key, value).holds(FILM) is holds


@pytest.mark.parametrize("key", ["loudness_db_lt", "sentiment_not", "hdr_not", "damaged_not", "audio_codec_not"])
def test_what_is_not_known_never_matches_not_even_negated(key: str) -> None:
    value: Any = {"loudness_db_lt": 0, "damaged_not": True, "sentiment_not": "negative"}.get(key, "x")
    condition = parse_condition(key, value)
    assert not condition.holds(facts_of())
    assert condition.found(facts_of()) == "not known"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("durration_gt", 5, 'did you mean "duration_gt"'),
        ("zzz", 5, "fields are duration_s"),
        ("duration_gt", "600", "takes a number (s), without quotes"),
        ("duration_gt", True, "takes a number"),
        ("duration_gt", [1, 2], "one value, not a list"),
        ("duration_in", 5, "takes a list"),
        ("codec", [], "empty list"),
        ("codec", 264, 'such as "h264"'),
        ("codec_gt", "h264", "cannot be compared with _gt"),
        ("has_audio", "yes", "true or false"),
        ("has_audio_in", [True], "cannot be compared with _in"),
        ("resolution", "1920x1080", "for an exact size use width and height"),
        ("orientation", "portait", 'did you mean "portrait"'),
        ("hdr", 1, "or true or false"),
    ],
)
def test_a_wrong_condition_is_refused_with_what_is_allowed(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(key)) as error:
        parse_condition(key, value)
    assert sentence in str(error.value)


def test_every_field_can_be_asked_for_under_each_of_its_operators() -> None:
    for spec in FIELDS.values():
        value = {"number": 1, "flag": True}.get(spec.kind, spec.allowed[0] if spec.allowed else "x")
        for suffix in spec.operators:
            assert parse_condition(spec.name + suffix, [value] if suffix == "_in" else value).spec is spec
