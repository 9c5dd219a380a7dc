"""Encoding a video, or a part of it, as H.264 and AAC in MP4: playable copies (proxies) and clips.

The picture is deinterlaced, rotated and tone-mapped to BT.709. Times are those of the library: the first video frame is
at 0. Frames keep their times, so a variable rate stays variable, unless it is limited.

Several parts of a video are encoded in one ffmpeg process, which decodes their pictures once. What is written of a part
does not depend on the others: each has an encoder of its own, and an own input for its sound, because what a decoder of
sound gives may depend on where it began.
"""

import math
import re
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg, memory, programs
from vidpipe.media.decode import first_frame_us
from vidpipe.media.decode_plan import DecodePlan, Size, even_side, frame_times, input_options
from vidpipe.media.facts import ActiveArea
from vidpipe.media.frame_times import FrameTimes
from vidpipe.media.picture_format import tone_mapping

#: Memory of an encoder with its threads, and of the pictures in it and waiting for it, per pixel; measured: 160 MB
#: for 1280x720.
_ENCODER_BYTES, _PIXEL_BYTES = 64 << 20, 128
#: How much earlier than a part its sound is decoded: what decoders need to begin.
_SOUND_EARLIER_S = 1.0
#: Longer parts are encoded alone, because shorter ones are held in memory until their pictures and sound are complete.
LONG_S = 300.0
#: Below the priority of runs.
_NICENESS = 15
_ADDRESS = re.compile(r"\[[^\]]*\] ?|file:\S*/")


@dataclass(frozen=True)
class EncodeFormat:
    """How pictures and sound are encoded.

    Attributes:
        long_side: Most pixels of the longer side.
        short_side: Most pixels of the shorter side.
        max_frame_rate: Most frames per second: of more, the first in each such interval is kept; None: all frames.
        crf: Constant quality of x264, 0 to 51; lower is better.
        preset: Speed of x264.
        audio: Whether to keep the sound.
        crop: Part of the displayed picture to keep; None: all of it.
        key_interval_s: Between key frames, at which a player that seeks begins to decode.
        threads: Of the encoder, whose bytes depend on them; 0: as many as suit the machine.
    """

    long_side: int = 1280
    short_side: int = 720
    max_frame_rate: float | None = None
    crf: int = 23
    preset: str = "veryfast"
    audio: bool = True
    crop: ActiveArea | None = None
    key_interval_s: float = 2.0
    threads: int = 0

    def size(self, width: int, height: int) -> Size:
        """Return the size for a displayed picture of this size, in pixels: both sides even, never enlarged."""
        shrink = max(1.0, max(width, height) / self.long_side, min(width, height) / self.short_side)
        return even_side(width / shrink), even_side(height / shrink)


@dataclass(frozen=True)
class EncodePart:
    """A part of a video that becomes a file of its own.

    Attributes:
        destination: The file; incomplete if an error is raised.
        frames: The numbers of its frames in the `FrameTimes` of the order.
        crop: Part of the displayed picture to keep; None: all of it.
    """

    destination: Path
    frames: range
    crop: ActiveArea | None = None


@dataclass(frozen=True)
class EncodeOrder:
    """What is encoded, and within which limits.

    Attributes:
        path: The video file.
        plan: How it is decoded.
        size: Size of its picture as displayed, in pixels.
        duration_s: Its duration in seconds, if known.
        limits: Limits of memory.
        time_limit_s: Time limit in seconds.
        max_bytes: Largest size of the result; None: any.
        cancelled: Ends the work when set.
        progress: Called with the share that is done, 0 to 1.
        form: How it is encoded.
        task: What is being done, for messages: "making a playable copy".
        cover: A video with transparency that is laid over all of the picture of a whole video; None: none.
        times: The times of its frames, for parts.
        niceness: By how much the priority is lower than that of this process.
    """

    path: Path
    plan: DecodePlan
    size: Size
    duration_s: float | None
    limits: memory.FileLimits
    time_limit_s: float
    max_bytes: int | None
    cancelled: threading.Event
    progress: Callable[[float], None]
    form: EncodeFormat = EncodeFormat()
    task: str = "making a playable copy"
    cover: Path | None = None
    times: FrameTimes = field(default_factory=FrameTimes)
    niceness: int = _NICENESS


def encode(order: EncodeOrder, destination: Path) -> None:
    """Encode a whole video.

    Args:
        order: How.
        destination: The file; incomplete if an error is raised.

    Raises:
        MediaError: The file cannot be decoded, exceeds its limits, or would be larger than allowed; or cancelled.
    """
    encode_parts(order, [EncodePart(destination, range(0), order.form.crop)])


def encode_parts(order: EncodeOrder, parts: Sequence[EncodePart]) -> None:
    """Encode parts of a video, each into a file of its own.

    Raises what `encode` raises.
    """
    order.limits.extra_bytes += (_ENCODER_BYTES + _PIXEL_BYTES * math.prod(order.form.size(*order.size))) * len(parts)
    if not order.form.audio:
        order = replace(order, plan=replace(order.plan, audio_stream=None))
    with memory.reading(order.limits):
        done, frames = memory.retried(lambda: _encode(order, parts))
        if not frames and order.plan.audio_stream is not None:  # ffmpeg may have no decoder for the sound
            silent = replace(order, plan=replace(order.plan, audio_stream=None))
            done, frames = memory.retried(lambda: _encode(silent, parts))
    if done.returncode or not frames:
        lines = [_ADDRESS.sub("", line) for line in done.stderr.splitlines() if line.strip()]
        reason = lines[0][:300] if lines else f"ffmpeg ended with code {done.returncode}"
        hint = "The file may be damaged, or the disk full; `vidpipe check` decodes it completely."
        what = "clip" if len(order.times.times_s) else "playable copy"
        raise MediaError(f"No {what} could be made: {reason}.", hint)


def _encode(order: EncodeOrder, parts: Sequence[EncodePart]) -> tuple[programs.CompletedProgram, int]:
    """Return how ffmpeg ended, and the number of frames that it wrote."""
    first_s = order.times.first_s
    if first_s is None:
        first_s = first_frame_us(order.path, order.plan, order.time_limit_s, order.cancelled) / 1e6
    done, frames = programs.CompletedProgram(0, b"", ""), 0

    def report() -> Generator[bytes, None, None]:
        nonlocal done
        done = yield from programs.lines(
            _command(order, parts, first_s), timeout_s=order.time_limit_s, task=order.task, niceness=order.niceness,
        )  # fmt: skip

    with closing(report()) as lines:
        for line in lines:
            name, _, value = line.decode(errors="replace").strip().partition("=")
            number = int(value) if value.isdecimal() else 0
            if order.cancelled.is_set():
                raise MediaError("The server was stopped.")
            if name == "frame":
                frames = number
            elif name == "total_size" and order.max_bytes is not None and number > order.max_bytes:
                hint = "Raise ProxyCacheMB in [LibraryPage], or download the original."
                raise MediaError(f"The copy does not fit into the cache of {order.max_bytes / 1e6:.0f} MB.", hint)
            elif name == "out_time_us" and order.duration_s:
                order.progress(min(1.0, number / 1e6 / order.duration_s))
    return done, frames


def _command(order: EncodeOrder, parts: Sequence[EncodePart], first_s: float) -> list[str]:
    plan, form, times = order.plan, order.form, order.times
    source, sound, seeks = ffmpeg.input_arguments(order.path), plan.audio_stream, times.first_s is not None
    starts_s = [first_s + times.at(part.frames.start) if part.frames else first_s for part in parts]
    inputs = [*input_options(plan), *source]
    if seeks:
        inputs = ["-copyts", *input_options(plan), *_seek(first_s, times.seek_s(min(starts_s) - first_s)), *source]
    graph = [f"[0:{plan.video_stream}]split={len(parts)}" + "".join(f"[s{n}]" for n in range(len(parts)))]
    if sound is not None and not seeks:
        graph.append(f"[0:{sound}]asplit={len(parts)}" + "".join(f"[t{n}]" for n in range(len(parts))))
    video = ["-c:v", "libx264", "-preset", form.preset, "-crf", str(form.crf), *frame_times("vfr")]
    video += ["-enc_time_base", "1/90000", "-force_key_frames", f"expr:gte(t,n_forced*{form.key_interval_s:g})"]
    video += ["-threads:v", str(form.threads)] if form.threads else []
    outputs: list[str] = []
    for number, (part, start_s) in enumerate(zip(parts, starts_s, strict=True)):
        graph.append(f"[s{number}]{','.join(_picture_filters(order, part, start_s, first_s))}[v{number}]")
        outputs += ["-map", f"[v{number}]", *video]
        if order.cover:
            width, height = form.size(*order.size)
            inputs += ffmpeg.input_arguments(order.cover)
            covered = f";[1:v]scale={width}:{height}:flags=neighbor[cover];[picture][cover]overlay[v{number}]"
            graph[-1] = graph[-1].removesuffix(f"[v{number}]") + "[picture]" + covered
        if sound is not None:
            if seeks:
                inputs += [*_seek(first_s, start_s - first_s - _SOUND_EARLIER_S), "-vn", *source]
            end_s = times.at(part.frames.stop) if part.frames else order.duration_s
            end = f":end={first_s + end_s:.6f}" if end_s else ""
            # gaps become silence: players play frames of sound one after another
            timed = f"atrim=start={start_s:.6f}{end},asetpts=PTS-{start_s:.6f}/TB,aresample=async=1"
            taken = f"[{number + 1}:{sound}]" if seeks else f"[t{number}]"
            graph.append(f"{taken}{timed},aformat=sample_rates=44100|48000:channel_layouts=stereo[a{number}]")
            outputs += ["-map", f"[a{number}]", "-c:a", "aac", "-b:a", "128k"]
        outputs += ["-map_metadata", "-1", "-map_chapters", "-1", "-video_track_timescale", "90000"]
        if part.frames and times.at(part.frames.stop) - times.at(part.frames.start) <= LONG_S:
            # pictures and sound alternate by their times, not by when they happened to be encoded
            outputs += ["-max_interleave_delta", "0"]
        outputs += ["-movflags", "+faststart", "-f", "mp4"]
        outputs.append(ffmpeg.input_address(part.destination))
    # what can be decoded of a damaged file is better than nothing
    begin = ["-y", "-nostats", "-progress", "pipe:1", "-max_error_rate", "1"]
    return ffmpeg.ffmpeg_command(*begin, *inputs, "-filter_complex", ";".join(graph), *outputs)


def _seek(first_s: float, time_s: float) -> list[str]:
    """Return the options of an input that is read from a time, in seconds from the first frame, or somewhat earlier."""
    exact = ["-noaccurate_seek", "-seek_timestamp", "1"]  # the filters trim, by the times of the file
    return [*exact, "-ss", f"{first_s + time_s:.6f}"] if time_s > 0 else []


def _picture_filters(order: EncodeOrder, part: EncodePart, start_s: float, first_s: float) -> list[str]:
    plan, form, times, area = order.plan, order.form, order.times, part.crop
    width, height = form.size(area.width, area.height) if area else form.size(*order.size)
    scale, mapping = f"scale={width}:{height}", tone_mapping(plan.color_transfer)
    filters = []
    if part.frames:
        last = part.frames.stop == len(times.times_s)
        end = "" if last else f":end={first_s + times.at(part.frames.stop) - times.tolerance_s:.6f}"
        filters.append(f"trim=start={start_s - times.tolerance_s:.6f}{end}")
    filters.append(f"setpts='max(0,round(PTS-{start_s:.6f}/TB))'")
    if plan.deinterlace:
        filters.append("bwdif=mode=send_frame:deint=interlaced")
    if form.max_frame_rate:
        number, before = (f"floor(({time}+0.0005)*{form.max_frame_rate:g})" for time in ("t", "prev_selected_t"))
        filters.append(f"select='isnan(prev_selected_t)+gt({number},{before})'")
    if area:  # as shares, because pixels need not be square before scaling
        across, down = f"iw/{order.size[0]}", f"ih/{order.size[1]}"
        filters.append(f"crop={area.width}*{across}:{area.height}*{down}:{area.x}*{across}:{area.y}*{down}")
    if mapping:
        filters += [scale, "format=yuv420p10", scale, *mapping, f"{scale}:out_color_matrix=bt709:out_range=tv"]
        filters += ["format=yuv420p", "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"]
    else:
        filters += [f"{scale}:out_range=tv", "format=yuv420p"]
    return [*filters, "setsar=1"]
