"""Playable copies (proxies) of videos that browsers cannot play: H.264 and AAC in MP4.

The picture is at most 1280x720 or 720x1280, deinterlaced, rotated and tone-mapped to BT.709. The times are those of the
library: the first video frame is at 0. Frames keep their times, so a variable rate stays variable.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg, memory
from vidpipe.media.decode import first_frame_us
from vidpipe.media.decode_plan import DecodePlan, Size, even_side, frame_times, input_options
from vidpipe.media.picture_format import tone_mapping

_LONG_SIDE, _SHORT_SIDE = 1280, 720
#: Between key frames, at which a browser that seeks begins to decode.
_KEY_INTERVAL_S = 2
#: Memory of the encoder and of the pictures that wait for it.
_ENCODER_BYTES = 256 << 20
#: Below the priority of runs.
_NICENESS = 15
_ADDRESS = re.compile(r"\[[^\]]*\] ?|file:\S*/")


@dataclass(frozen=True)
class ProxyOrder:
    """How a proxy is made.

    Attributes:
        path: The video file.
        plan: How it is decoded.
        size: Size of its picture as displayed, in pixels.
        duration_s: Its duration in seconds, if known.
        limits: Limits of memory.
        time_limit_s: Time limit in seconds.
        max_bytes: Largest size of the proxy.
        cancelled: Ends the work when set.
        progress: Called with the share that is done, 0 to 1.
    """

    path: Path
    plan: DecodePlan
    size: Size
    duration_s: float | None
    limits: memory.FileLimits
    time_limit_s: float
    max_bytes: int
    cancelled: threading.Event
    progress: Callable[[float], None]


def proxy_size(width: int, height: int) -> Size:
    """Return the size of the proxy of a picture of this displayed size, in pixels."""
    shrink = max(1.0, max(width, height) / _LONG_SIDE, min(width, height) / _SHORT_SIDE)
    return even_side(width / shrink), even_side(height / shrink)


def make_proxy(order: ProxyOrder, destination: Path) -> None:
    """Write a proxy.

    Args:
        order: How.
        destination: The file; incomplete if an error is raised.

    Raises:
        MediaError: The file cannot be decoded, exceeds its limits, or would be larger than allowed; or cancelled.
    """
    order.limits.extra_bytes += _ENCODER_BYTES
    with memory.reading(order.limits):
        done, frames = memory.retried(lambda: _encode(order, destination))
        if not frames and order.plan.audio_stream is not None:  # ffmpeg may have no decoder for the sound
            silent = replace(order, plan=replace(order.plan, audio_stream=None))
            done, frames = memory.retried(lambda: _encode(silent, destination))
    if done.returncode or not frames:
        lines = [_ADDRESS.sub("", line) for line in done.stderr.splitlines() if line.strip()]
        reason = lines[0][:300] if lines else f"ffmpeg ended with code {done.returncode}"
        hint = "The file may be damaged, or the disk full; `vidpipe check` decodes it completely."
        raise MediaError(f"No playable copy could be made: {reason}.", hint)


def _encode(order: ProxyOrder, destination: Path) -> tuple[ffmpeg.CompletedProgram, int]:
    """Return how ffmpeg ended, and the number of frames that it wrote."""
    first_us = first_frame_us(order.path, order.plan, order.time_limit_s, order.cancelled)
    done, frames = ffmpeg.CompletedProgram(0, b"", ""), 0

    def report() -> Generator[bytes, None, None]:
        nonlocal done
        done = yield from ffmpeg.lines(
            _command(order, destination, first_us / 1e6), timeout_s=order.time_limit_s,
            task="making a playable copy", niceness=_NICENESS,
        )  # fmt: skip

    with closing(report()) as lines:
        for line in lines:
            name, _, value = line.decode(errors="replace").strip().partition("=")
            number = int(value) if value.isdecimal() else 0
            if order.cancelled.is_set():
                raise MediaError("The server was stopped.")
            if name == "frame":
                frames = number
            elif name == "total_size" and number > order.max_bytes:
                hint = "Raise ProxyCacheMB in [LibraryPage], or download the original."
                raise MediaError(f"The copy does not fit into the cache of {order.max_bytes / 1e6:.0f} MB.", hint)
            elif name == "out_time_us" and order.duration_s:
                order.progress(min(1.0, number / 1e6 / order.duration_s))
    return done, frames


def _command(order: ProxyOrder, destination: Path, first_s: float) -> list[str]:
    plan = order.plan
    graph = [f"[0:{plan.video_stream}]{','.join(_picture_filters(order, first_s))}[v]"]
    if plan.audio_stream is not None:
        end = f":end={first_s + order.duration_s:.6f}" if order.duration_s else ""
        # gaps become silence: players play frames of sound one after another
        timed = f"atrim=start={first_s:.6f}{end},asetpts=PTS-{first_s:.6f}/TB,aresample=async=1"
        graph.append(f"[0:{plan.audio_stream}]{timed},aformat=sample_rates=44100|48000:channel_layouts=stereo[a]")
    video = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", *frame_times("vfr"), "-enc_time_base", "1/90000"]
    key_frames = ["-force_key_frames", f"expr:gte(t,n_forced*{_KEY_INTERVAL_S})"]
    return ffmpeg.ffmpeg_command(
        # what can be decoded of a damaged file is better than nothing
        "-y", "-nostats", "-progress", "pipe:1", "-max_error_rate", "1", *input_options(plan),
        *ffmpeg.input_arguments(order.path), "-filter_complex", ";".join(graph),
        "-map", "[v]", *video, *key_frames, *(["-map", "[a]", "-c:a", "aac", "-b:a", "128k"] if len(graph) > 1 else []),
        "-map_metadata", "-1", "-map_chapters", "-1", "-video_track_timescale", "90000", "-movflags", "+faststart",
        "-f", "mp4", ffmpeg.input_address(destination),
    )  # fmt: skip


def _picture_filters(order: ProxyOrder, first_s: float) -> list[str]:
    plan, (width, height) = order.plan, proxy_size(*order.size)
    scale, mapping = f"scale={width}:{height}", tone_mapping(plan.color_transfer)
    filters = [f"setpts='max(0,round(PTS-{first_s:.6f}/TB))'"]
    if plan.deinterlace:
        filters.append("bwdif=mode=send_frame:deint=interlaced")
    if mapping:
        filters += [scale, "format=yuv420p10", scale, *mapping, f"{scale}:out_color_matrix=bt709:out_range=tv"]
        filters += ["format=yuv420p", "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"]
    else:
        filters += [f"{scale}:out_range=tv", "format=yuv420p"]
    return [*filters, "setsar=1"]
