"""What the single decode pass asks of ffmpeg: streams, sizes, the filter graph and the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidpipe.media import ffmpeg, memory
from vidpipe.media.color import tone_mapping
from vidpipe.media.decode_pipes import PacketPipe
from vidpipe.media.facts import AudioStream
from vidpipe.media.streams import INTERLACED_ORDERS
from vidpipe.settings.schema import SceneDetection

#: Longer side of the frames that detectors and statistics see. PySceneDetect uses 256. Means over all pixels (adaptive,
#: content, threshold, ffmpeg) stay the same within a few per cent at 160, at less than half the cost, and so do the
#: cuts on every clip tried; histograms and hashes do not.
DETECTION_SIDE = 160
DETAILED_DETECTION_SIDE = 256
_DETAILED_DETECTORS = ("histogram", "hash")
#: The model takes patches of 14 x 14 pixels, merged two by two (Qwen2-VL).
MODEL_MULTIPLE = 28
#: Pictures that are longer and narrower are squeezed: Qwen2-VL refuses more than 200 to 1.
_MOST_ELONGATED = 100
#: Of thumbnails: the shorter side has at least so many pixels, the height is at most so many times the widest width.
_LEAST_SIDE, _HIGHEST = 16, 4
#: Smaller pictures are never interlaced, and the filter refuses less than three lines.
_LEAST_INTERLACED_SIDE = 16
AUDIO_RATE_HZ = 16_000
#: Samples of one block of sound: a tenth of a second.
AUDIO_BLOCK = AUDIO_RATE_HZ // 10

#: ffmpeg takes a gap of 10 s in a transport stream for a jump of its clock, unless told otherwise.
_LONGEST_HOLE_S = 10**6

Size = tuple[int, int]


@dataclass(frozen=True)
class DecodePlan:
    """One decode pass. Sizes are width, height, in displayed orientation.

    detection:            bgr24 frames for detectors and statistics, both sides even
    candidate:            JPEGs from which thumbnails and the model's frames are chosen
    model:                size of the model's frames, multiples of 28
    thumbnail:            size of thumbnails
    candidate_interval_s: time between two candidates
    dense_from_s:         from here on they are four times as dense, so that a short last scene has one; or None
    deinterlace:          candidates whose frame says that it is interlaced
    color_transfer:       the stream's transfer function; PQ and HLG are tone-mapped
    converted:            the candidates are tone-mapped, or known beforehand to be deinterlaced
    keep_holes:           the clock never jumps: however long no picture comes, time passes
    forced_rate:          frames a second of a stream without times; None: frames have times
    one_thread:           decode in one thread: in several, Theora cannot begin anew in a chained stream
    """

    video_stream: int
    audio_stream: int | None
    detection: Size
    candidate: Size
    model: Size
    thumbnail: Size
    candidate_interval_s: float
    dense_from_s: float | None
    deinterlace: bool
    color_transfer: str | None
    converted: bool
    keep_holes: bool = True
    forced_rate: Fraction | None = None
    one_thread: bool = False


def plan_decode(
    settings: SceneDetection,
    *,
    video_stream: int,
    width: int,
    height: int,
    video_codec: str = "",
    audio: Sequence[AudioStream] = (),
    duration_s: float | None = None,
    color_transfer: str | None = None,
    field_order: str | None = None,
    clock_jumps: int = 0,
    forced_rate: Fraction | None = None,
) -> DecodePlan:
    """The plan for a video of `width` x `height` displayed pixels."""
    model = model_size(width, height, settings.frame_max_pixels)
    thumbnail = thumbnail_size(width, height, settings.thumbnail_width)
    # a thumbnail a little wider than the model's frame is not worth a second encoding of every frame
    candidate = model if model[0] >= 0.8 * thumbnail[0] else (_even(thumbnail[0]), _even(thumbnail[1]))
    interval_s = min(0.5, max(0.1, 0.8 * settings.min_scene_length))
    return DecodePlan(
        video_stream=video_stream,
        audio_stream=_audio_stream(audio),
        detection=_detection_size(
            width, height, DETAILED_DETECTION_SIDE if settings.detector in _DETAILED_DETECTORS else DETECTION_SIDE
        ),
        candidate=candidate,
        model=model,
        thumbnail=thumbnail,
        candidate_interval_s=interval_s,
        dense_from_s=max(0.0, duration_s - max(settings.min_scene_length, 0.5)) if duration_s else None,
        deinterlace=min(width, height) >= _LEAST_INTERLACED_SIDE,
        color_transfer=color_transfer,
        converted=bool(tone_mapping(color_transfer)) or field_order in INTERLACED_ORDERS,
        keep_holes=not clock_jumps,
        forced_rate=forced_rate,
        one_thread=video_codec == "theora" and clock_jumps > 0,
    )


def model_size(width: int, height: int, max_pixels: int) -> Size:
    """Width and height nearest to the video's, multiples of 28, of at most `max_pixels` (Qwen2-VL's `smart_resize`)."""
    unit = MODEL_MULTIPLE
    fitted = (max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit))
    if fitted[0] * fitted[1] > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        fitted = (
            max(unit, math.floor(width / shrink / unit) * unit),
            max(unit, math.floor(height / shrink / unit) * unit),
        )
    # a very long, narrow picture: the short side is at its least, the long one takes what is left
    longest = min(max(unit, max_pixels // unit // unit * unit), min(fitted) * _MOST_ELONGATED)
    return min(fitted[0], longest), min(fitted[1], longest)


def thumbnail_size(width: int, height: int, thumbnail_width: int) -> Size:
    """A thumbnail is never wider than the video, nor too high or too narrow to be seen: such a picture is squeezed."""
    shrink = max(1.0, width / thumbnail_width, height / thumbnail_width / _HIGHEST)
    return max(_LEAST_SIDE, round(width / shrink)), max(_LEAST_SIDE, round(height / shrink))


def _detection_size(width: int, height: int, longer_side: int) -> Size:
    shrink = max(1.0, max(width, height) / longer_side)
    return max(2, _even(width / shrink)), max(2, _even(height / shrink))


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _audio_stream(audio: Sequence[AudioStream]) -> int | None:
    usable = [
        stream
        for stream in audio
        if stream.codec not in ("", "none", "unknown") and stream.channels != 0 and not stream.empty
    ]
    default = [stream for stream in usable if stream.default]
    return (default or usable)[0].index if usable else None


def decode_command(
    path: Path, plan: DecodePlan, frames: PacketPipe, candidates: PacketPipe, sound: PacketPipe | None
) -> list[str]:
    """ffmpeg's command line for one decode with two or three outputs.

    fast_bilinear samples two pixels in each direction, as OpenCV's linear scaling in PySceneDetect does; it costs a
    third of area scaling and keeps the cuts. It must not change the colour space in the same step: at whole-number
    ratios its rounding turns black into dark blue, whose hue the detectors see. The few candidates are scaled by area,
    for a model and people to look at, and deinterlaced where the frame says that it is interlaced: by its own lines
    alone, since the selected frames are not neighbours. HDR is tone-mapped once it is small.
    """
    small, large = (f"scale={width}:{height}" for width, height in (plan.detection, plan.candidate))
    mapping = tone_mapping(plan.color_transfer)
    pixels = "yuv420p10" if mapping else "yuv420p"
    deinterlaced = "estdif=mode=frame:deint=interlaced," if plan.deinterlace else ""
    graph = (
        f"[0:{plan.video_stream}]split=2[s][l];"
        f"[s]{small}:flags=fast_bilinear,format={pixels},{f'{small},{mapping},' if mapping else ''}"
        f"{small},format=bgr24[small];"
        f"[l]select='{_candidate_times(plan)}',{deinterlaced}"
        f"{large}:flags=area,format={pixels},{f'{large},{mapping},' if mapping else ''}"
        f"{large}:out_color_matrix=bt601:out_range=pc,format=yuvj420p,setsar=1[large]"
    )
    untagged = [part for option, value in ffmpeg.WITHOUT_METADATA.items() for part in (f"-{option}", value)]
    passthrough = [*untagged, *_passthrough(), "-enc_time_base", "1/1000000"]
    # The filters in one thread: slices of such small pictures wait for the decoder's threads longer than they gain
    # (a tenth of the wall time of 1080p on two cores), and several videos are decoded at once anyway.
    options = ["-loglevel", "repeat+level+error", "-filter_complex_threads", "1"]
    if plan.keep_holes:
        options += ["-dts_delta_threshold", str(_LONGEST_HOLE_S)]
    if plan.forced_rate:
        options += ["-r", str(plan.forced_rate)]
    threads = 1 if plan.one_thread else memory.current().threads
    if threads:
        options += ["-threads", str(threads)]
    command = ffmpeg.ffmpeg_command(*options, *ffmpeg.input_arguments(path))
    command += ["-filter_complex", graph]
    command += ["-map", "[small]", "-c:v", "rawvideo", *passthrough, *frames.arguments]
    # one thread: slices would put restart markers into the JPEGs
    jpeg = ["-c:v", "mjpeg", "-q:v", "3", "-huffman", "default", "-threads", "1"]
    command += ["-map", "[large]", *jpeg, *passthrough, *candidates.arguments]
    if sound is not None:
        mono = f"aformat=sample_fmts=s16:channel_layouts=mono:sample_rates={AUDIO_RATE_HZ}"
        command += [
            "-map",
            f"0:{plan.audio_stream}",
            *untagged,
            "-c:a",
            "pcm_s16le",
            "-af",
            f"{mono},asetnsamples=n={AUDIO_BLOCK}:p=0",
            *sound.arguments,
        ]
    return command


def _candidate_times(plan: DecodePlan) -> str:
    # half a millisecond less: 15 frames of 1/30 s shall count as 0.5 s
    interval = f"{plan.candidate_interval_s - 0.0005:.4f}"
    if plan.dense_from_s is not None:
        dense = f"{plan.candidate_interval_s / 4:.4f}"
        interval = f"if(gte(t-start_t,{plan.dense_from_s:.3f}),{dense},{interval})"
    return f"isnan(prev_selected_t)+gte(t-prev_selected_t,{interval})"


def _passthrough() -> list[str]:
    """No frame is repeated or dropped to make the rate constant. `-fps_mode` is ffmpeg 5.1's name of `-vsync`."""
    found = re.match(r"n?(\d+)\.(\d+)", ffmpeg.version(ffmpeg.ffmpeg_path()))
    old = found is not None and (int(found[1]), int(found[2])) < (5, 1)
    return ["-vsync", "passthrough"] if old else ["-fps_mode", "passthrough"]
