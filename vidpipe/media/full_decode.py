"""Decodes a whole video and keeps nothing, to find out whether it is damaged."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidpipe.media.decode import DecodeEnd, DecodePass
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.timing import last_frame_s

#: Frames are decoded in full and then scaled to this size: what follows the decoder costs next to nothing.
_TINY = (16, 16)
#: Between two JPEGs, which are not wanted: longer than any video, so there is one.
_INTERVAL_S = 1e9
_PROGRESS_FRAMES = 64


@dataclass(frozen=True)
class FullDecode:
    """Result of decoding a video.

    Attributes:
        frames: Number of decoded frames.
        end_us: End of the last frame, in microseconds from the first.
        end: How the decode ended.
    """

    frames: int
    end_us: int
    end: DecodeEnd


def decode_all(
    path: Path,
    plan: DecodePlan,
    *,
    frame_rate: Fraction | None,
    expected_s: float | None,
    time_limit_s: float,
    cancelled: threading.Event,
    progress: Callable[[float], None],
) -> FullDecode:
    """Decode every frame of the plan's video stream, and its sound. A failure is reported in `FullDecode.end`.

    Args:
        path: The video file.
        plan: What to decode; its sizes do not matter.
        frame_rate: Average frame rate of the stream, if known.
        expected_s: Duration of the stream in seconds, if known.
        time_limit_s: Time limit, in seconds.
        cancelled: Ends the decode when set.
        progress: Called with the share of the video that has been decoded, 0 to 1.

    Raises:
        UnavailableError: ffmpeg is missing.
    """
    plan = replace(
        plan, detection=_TINY, candidate=_TINY, candidate_interval_s=_INTERVAL_S, dense_from_s=None, deinterlace=False,
        color_transfer=None,
    )  # fmt: skip
    frames = first_us = last_us = gap_us = 0
    with DecodePass(path, plan, time_limit_s=time_limit_s, cancelled=cancelled) as decode:
        for frame in decode.frames():
            first_us = first_us if frames else frame.time_us
            time_us = frame.time_us - first_us
            gap_us, last_us = max(0, time_us - last_us), time_us
            frames += 1
            decode.sound.clear()
            if frames % _PROGRESS_FRAMES == 0 and expected_s:
                progress(min(1.0, time_us / 1e6 / expected_s))
        end = decode.finish()
    if not frames:
        return FullDecode(0, 0, end)
    rate = frame_rate or Fraction(25)
    left_s = last_frame_s(frames, last_us, gap_us, float(1 / rate), expected_s)
    return FullDecode(frames, last_us + round(left_s * 1e6), end)
