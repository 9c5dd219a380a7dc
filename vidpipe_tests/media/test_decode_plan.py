"""Sizes and streams of the decode pass fit any video."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.media.decode_plan import model_size, plan_decode, thumbnail_size
from vidpipe.media.decoder_messages import DecoderMessages
from vidpipe.media.facts import AudioStream
from vidpipe.settings.schema import SceneDetection


@given(width=st.integers(1, 16384), height=st.integers(1, 16384), most=st.integers(28 * 28, 4_000_000))
def test_model_frames_are_multiples_of_28_within_the_budget(width: int, height: int, most: int) -> None:
    wide, high = model_size(width, height, most)
    assert wide % 28 == high % 28 == 0
    assert min(wide, high) >= 28
    assert wide * high <= most
    assert max(wide, high) <= 100 * min(wide, high)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (504, 280)), ((1080, 1920), (280, 504)), ((640, 480), (448, 336)), ((64, 48), (56, 56))],
)
def test_model_frames_keep_the_shape_of_the_picture(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert model_size(*size, 360 * 420) == expected


def test_thumbnails_are_never_larger_than_the_video() -> None:
    assert thumbnail_size(1920, 1080, 320) == (320, 180)
    assert thumbnail_size(161, 91, 320) == (161, 91)


@given(width=st.integers(1, 1 << 17), height=st.integers(1, 1 << 17))
def test_no_thumbnail_is_a_line(width: int, height: int) -> None:
    wide, high = thumbnail_size(width, height, 320)
    assert 16 <= wide <= 320
    assert 16 <= high <= 1280


@given(width=st.integers(1, 16384), height=st.integers(1, 16384))
def test_the_plan_has_even_sizes_that_ffmpeg_can_make(width: int, height: int) -> None:
    plan = plan_decode(SceneDetection(), video_stream=0, width=width, height=height)
    assert all(side >= 2 and side % 2 == 0 for side in (*plan.detection, *plan.candidate))
    assert max(plan.detection) <= 160


def test_wide_thumbnails_make_wide_candidates() -> None:
    plan = plan_decode(SceneDetection(thumbnail_width=1280), video_stream=0, width=1920, height=1080)
    assert (plan.candidate, plan.thumbnail, plan.model) == ((1280, 720), (1280, 720), (504, 280))


def test_the_default_sound_stream_is_heard_and_an_unknown_codec_is_not() -> None:
    streams = [
        AudioStream(index=1, codec="unknown", default=True),
        AudioStream(index=2, codec="aac"),
        AudioStream(index=3, codec="ac3", default=True),
    ]
    plan = plan_decode(SceneDetection(), video_stream=0, width=64, height=64, audio=streams)
    assert plan.audio_stream == 3
    assert plan_decode(SceneDetection(), video_stream=0, width=64, height=64).audio_stream is None


def test_complaints_are_counted_and_told_once_without_addresses() -> None:
    import io

    lines = [
        "[h264 @ 0x5581] [error] error while decoding MB 3 4, bytestream -5",
        "[h264 @ 0x5582] [error] error while decoding MB 88 1, bytestream 77",
        "[error] Error while decoding stream #0:0: Invalid data found when processing input",
        "[tee @ 0x55] [error] Application provided invalid, non monotonically increasing dts to muxer in stream 0",
        "[swscaler @ 0x99] [warning] deprecated pixel format used",
        "x" * 100_000,
    ]
    reader = DecoderMessages(io.BytesIO("\n".join(lines).encode()))
    reader.run()
    assert reader.count == 3
    assert reader.messages == [
        "[h264] error while decoding MB 3 4, bytestream -5",
        "Error while decoding stream #0:0: Invalid data found when processing input",
    ]
