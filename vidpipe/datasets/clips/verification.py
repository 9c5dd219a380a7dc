"""Verifies clips after they are made: they decode, and hold the frames that were asked for at their times."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from vidpipe.errors import MediaError


def kept_times(times_s: Sequence[float], max_frame_rate: float | None) -> list[float]:
    """Return the times that a limit of the frame rate leaves, see `EncodeFormat`; both count from the first frame."""
    first, kept, last = times_s[0], [], -1
    for time_s in times_s:
        number = int((time_s - first + 0.0005) * max_frame_rate) if max_frame_rate else last + 1
        if number > last:
            kept.append(time_s - first)
            last = number
    return kept


def verify(path: Path, times_s: Sequence[float], tolerance_s: float) -> None:
    """Decode a clip that vidpipe encoded.

    Args:
        path: The clip.
        times_s: When it must show a frame, in seconds from the first.
        tolerance_s: Of each time.

    Raises:
        MediaError: It does not decode, or has other frames.
    """
    shown: list[float] = []
    try:
        with av.open(str(path)) as container:
            for stream in container.streams:
                # errors are found as the stream is parsed; how the picture looks does not matter here
                stream.codec_context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
            for packet in container.demux():
                shown += [frame.time for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"The clip does not decode: {error}.", "The disk may be full.") from error
    if len(shown) != len(times_s):
        raise MediaError(
            f"The clip has {len(shown)} frames instead of {len(times_s)}.",
            "The video may be damaged there; `vidpipe check` decodes it completely.",
        )
    late_s = float(np.abs(np.asarray(shown) - times_s).max(initial=0.0))
    if late_s > tolerance_s:
        raise MediaError(f"A frame of the clip is {late_s:.3f} s off its time.", "`vidpipe check` decodes the video.")
