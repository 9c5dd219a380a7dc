"""Subtitles as browsers read them."""

import pytest

from vidpipe.text.webvtt import timestamp, webvtt


@pytest.mark.parametrize(
    ("time_s", "shown"), [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (360_001.5, "100:00:01.500")]
)
def test_times(time_s: float, shown: str) -> None:
    assert timestamp(time_s) == shown


def test_a_text_is_shown_as_it_is() -> None:
    hostile = "<b>--></b>\r\n\r\n00:00:01.000 --> 00:00:02.000\n\nNOTE &amp;\0"
    assert webvtt([(1.0, 1.0, hostile), (2.0, 3.0, " \n ")]) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:01.001\n"
        "&lt;b&gt;--&gt;&lt;/b&gt;\n00:00:01.000 --&gt; 00:00:02.000\nNOTE &amp;amp;\n"
    )
