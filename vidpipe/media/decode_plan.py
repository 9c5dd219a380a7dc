"""Plans the single decode pass: streams, sizes, the filter graph and ffmpeg's command line."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidpipe.media import ffmpeg, hwaccel, memory
from vidpipe.media.facts import AudioStream
from vidpipe.media.picture_format import tone_mapping
from vidpipe.media.streams import INTERLACED_ORDERS
from vidpipe.settings.schema import SceneDetection

#: Longer side of the frames for detectors and statistics, in pixels. PySceneDetect uses 256. At 160 and less than half
#: the cost, means over all pixels (adaptive, content, threshold, ffmpeg) stay within a few percent, and the cuts of all
#: clips tried are the same; histograms and hashes are not.
DETECTION_SIDE = 160
DETAILED_DETECTION_SIDE = 256
_DETAILED_DETECTORS = ("histogram", "hash")
#: Qwen2-VL uses patches of 14 x 14 pixels, merged two by two.
MODEL_MULTIPLE = 28
#: Longer pictures are squeezed: Qwen2-VL rejects aspect ratios above 200 to 1.
_MAX_ASPECT = 100
#: Minimum side of a thumbnail in pixels, and maximum ratio of its height to the configured width.
_MIN_THUMBNAIL_SIDE, _MAX_THUMBNAIL_HEIGHT = 16, 4
#: Smaller pictures are never interlaced, and the filter rejects fewer than three lines.
_MIN_INTERLACED_SIDE = 16
AUDIO_RATE_HZ = 16_000
#: Samples per block of sound: a tenth of a second.
AUDIO_BLOCK = AUDIO_RATE_HZ // 10

#: By default, ffmpeg takes a gap of 10 s in a transport stream for a jump of its clock.
_MAX_GAP_S = 10**6

Size = tuple[int, int]


@dataclass(frozen=True)
class DecodePlan:
    """One decode pass. Sizes are width and height in pixels, in displayed orientation.

    Attributes:
        video_stream: Index of the video stream.
        audio_stream: Index of the audio stream; None for no sound.
        detection: Size of the bgr24 frames for detectors and statistics; both sides are even.
        candidate: Size of the JPEGs from which thumbnails and the model's frames are chosen.
        model: Size of the model's frames, multiples of 28.
        thumbnail: Size of the thumbnails.
        candidate_interval_s: Interval between two candidates, in seconds.
        dense_from_s: Time from which candidates are four times as dense, so that a short last scene has one; or None.
        deinterlace: Whether candidates are deinterlaced if their frame is marked as interlaced.
        color_transfer: The stream's transfer function; PQ and HLG are tone-mapped.
        converted: Whether candidates are tone-mapped, or known in advance to be deinterlaced.
        keep_gaps: Whether a gap of any length is kept because the clock never jumps.
        forced_rate: Frames per second of a stream without timestamps; None for other streams.
        one_thread: Whether to decode in a single thread: with several, Theora cannot restart in a chained stream.
        reference_frames: Whether to decode only frames that others refer to, and to list the times of all packets.
        rotation: Clockwise rotation for display, in degrees.
        hwaccel: Name of the hardware decoder; empty for software.
        bit_depth: Bits per sample.
        pictures: Whether pictures are decoded, not only the sound.
        sound_file: Where the samples of the sound are kept, see `vidpipe.media.sound`; None: nowhere.
        picture_file: Where small pictures are kept, see `vidpipe.media.perceptual_hash`; None: nowhere.
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
    keep_gaps: bool = True
    forced_rate: Fraction | None = None
    one_thread: bool = False
    reference_frames: bool = False
    rotation: int = 0
    hwaccel: str = ""
    bit_depth: int | None = None
    pictures: bool = True
    sound_file: Path | None = None
    picture_file: Path | None = None


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
    rotation: int = 0,
    bit_depth: int | None = None,
) -> DecodePlan:
    """Plan the decode pass of a video.

    Args:
        settings: The section [SceneDetection].
        video_stream: Index of the video stream.
        width: Displayed width, in pixels.
        height: Displayed height, in pixels.
        video_codec: ffprobe's name of the codec.
        audio: The audio streams.
        duration_s: Duration in seconds, if known.
        color_transfer: ffmpeg's name of the transfer function.
        field_order: ffprobe's `field_order`.
        clock_jumps: Number of jumps of the stream's clock.
        forced_rate: Frames per second of a stream without timestamps.
        rotation: Clockwise rotation for display, in degrees.
        bit_depth: Bits per sample, if known.
    """
    model = model_size(width, height, settings.frame_max_pixels)
    thumbnail = thumbnail_size(width, height, settings.thumbnail_width)
    # a slightly wider thumbnail is not worth encoding every frame a second time
    candidate = model if model[0] >= 0.8 * thumbnail[0] else (even_side(thumbnail[0]), even_side(thumbnail[1]))
    longer_side = DETAILED_DETECTION_SIDE if settings.detector in _DETAILED_DETECTORS else DETECTION_SIDE
    return DecodePlan(
        video_stream=video_stream,
        audio_stream=audio_stream(audio),
        detection=_detection_size(width, height, longer_side),
        candidate=candidate,
        model=model,
        thumbnail=thumbnail,
        candidate_interval_s=min(0.5, max(0.1, 0.8 * settings.min_scene_length)),
        dense_from_s=max(0.0, duration_s - max(settings.min_scene_length, 0.5)) if duration_s else None,
        deinterlace=min(width, height) >= _MIN_INTERLACED_SIDE,
        color_transfer=color_transfer,
        converted=bool(tone_mapping(color_transfer)) or field_order in INTERLACED_ORDERS,
        keep_gaps=not clock_jumps,
        forced_rate=forced_rate,
        one_thread=video_codec == "theora" and clock_jumps > 0,
        rotation=rotation,
        bit_depth=bit_depth,
    )


def model_size(width: int, height: int, max_pixels: int) -> Size:
    """Return the nearest size in multiples of 28 with at most `max_pixels`, as Qwen2-VL's `smart_resize` does."""
    unit = MODEL_MULTIPLE
    fitted = (max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit))
    if fitted[0] * fitted[1] > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        columns, rows = math.floor(width / shrink / unit), math.floor(height / shrink / unit)
        fitted = max(unit, columns * unit), max(unit, rows * unit)
    # a very long picture: the short side is at its minimum, the long side gets the remaining pixels
    longest = min(max(unit, max_pixels // unit // unit * unit), min(fitted) * _MAX_ASPECT)
    return min(fitted[0], longest), min(fitted[1], longest)


def thumbnail_size(width: int, height: int, thumbnail_width: int) -> Size:
    """Return the size of thumbnails: at most the video's, squeezed if it would be too high or too narrow."""
    shrink = max(1.0, width / thumbnail_width, height / thumbnail_width / _MAX_THUMBNAIL_HEIGHT)
    return max(_MIN_THUMBNAIL_SIDE, round(width / shrink)), max(_MIN_THUMBNAIL_SIDE, round(height / shrink))


def _detection_size(width: int, height: int, longer_side: int) -> Size:
    shrink = max(1.0, max(width, height) / longer_side)
    return max(2, even_side(width / shrink)), max(2, even_side(height / shrink))


def even_side(side: float) -> int:
    """Return the nearest even number of pixels, at least 2."""
    return max(2, round(side / 2) * 2)


def audio_stream(audio: Sequence[AudioStream]) -> int | None:
    """Return the index of the audio stream that is decoded: the default one, else the first; None without any."""
    usable = [
        stream
        for stream in audio
        if stream.codec not in ("", "none", "unknown") and stream.channels != 0 and not stream.empty
    ]
    default = [stream for stream in usable if stream.default]
    return (default or usable)[0].index if usable else None


def input_options(plan: DecodePlan) -> list[str]:
    """Return ffmpeg's options before the input, on which the times of frames depend."""
    # Filters run in one thread: slices of such small pictures wait for the decoder's threads longer than they gain (a
    # tenth of the wall time of 1080p on two cores), and several videos are decoded in parallel anyway.
    options = ["-loglevel", "repeat+level+error", "-filter_complex_threads", "1"]
    if plan.keep_gaps:
        options += ["-dts_delta_threshold", str(_MAX_GAP_S)]
    if plan.forced_rate:
        options += ["-r", str(plan.forced_rate)]
    wanted = 1 if plan.one_thread else memory.SKIPPING_THREADS if plan.reference_frames else memory.DECODER_THREADS
    options += ["-threads", str(min(wanted, memory.current().threads or wanted))]
    if plan.hwaccel:
        options += hwaccel.input_options(plan.hwaccel)
    if plan.reference_frames:
        options += ["-skip_frame", "noref"]
    return options


def decode_command(
    path: Path,
    plan: DecodePlan,
    frames: Sequence[str],
    candidates: Sequence[str],
    *,
    sound: Sequence[str] = (),
    packets: Sequence[str] = (),
) -> list[str]:
    """Return ffmpeg's command line for a decode with two to four outputs.

    fast_bilinear samples two pixels in each direction, like OpenCV's linear scaling in PySceneDetect. It takes a third
    of the time of area scaling and yields the same cuts. It must not convert the color space in the same step: at
    integer ratios its rounding turns black into dark blue, whose hue the detectors see. The few candidates, which
    models and people look at, are scaled by area, and deinterlaced if the frame is marked as interlaced: within the
    frame, because selected frames are not neighbors. HDR is tone-mapped after scaling.

    Args:
        path: The video file.
        plan: What to decode.
        frames: Arguments of the output for frames.
        candidates: Arguments of the output for JPEGs.
        sound: Arguments of the output for sound, if any.
        packets: Arguments of the output for the packets of the video stream, if any.
    """
    large = f"scale={plan.candidate[0]}:{plan.candidate[1]}"
    mapping = ",".join(tone_mapping(plan.color_transfer))
    pixels = "yuv420p10" if mapping else "yuv420p"
    deinterlaced = "estdif=mode=frame:deint=interlaced," if plan.deinterlace else ""
    graph = (
        f"[0:{plan.video_stream}]{','.join([*_from_device(plan), 'split=2'])}[s][l];"
        f"[s]{','.join(detection_filters(plan))}[small];"
        f"[l]select='{_candidate_times(plan)}',{deinterlaced}"
        f"{large}:flags=area,format={pixels},{f'{large},{mapping},' if mapping else ''}"
        f"{large}:out_color_matrix=bt601:out_range=pc,format=yuvj420p,setsar=1[large]"
    )
    untagged = [part for option, value in ffmpeg.WITHOUT_METADATA.items() for part in (f"-{option}", value)]
    passthrough = [*untagged, *frame_times("passthrough"), "-enc_time_base", "1/1000000"]
    command = ffmpeg.ffmpeg_command(*input_options(plan), *ffmpeg.input_arguments(path))
    if plan.pictures:
        command += ["-filter_complex", graph]
        command += ["-map", "[small]", "-c:v", "rawvideo", *passthrough, *frames]
        # one thread: slices would add restart markers to the JPEGs
        jpeg = ["-c:v", "mjpeg", "-q:v", "3", "-huffman", "default", "-threads", "1"]
        command += ["-map", "[large]", *jpeg, *passthrough, *candidates]
    else:
        # times count from the first packet of all streams that are read
        command += ["-map", f"0:{plan.video_stream}", *untagged, "-c:v", "copy", "-f", "null", "-"]
    if sound:
        mono = f"aformat=sample_fmts=s16:channel_layouts=mono:sample_rates={AUDIO_RATE_HZ}"
        blocks = ["-af", f"{mono},asetnsamples=n={AUDIO_BLOCK}:p=0"]
        command += ["-map", f"0:{plan.audio_stream}", *untagged, "-c:a", "pcm_s16le", *blocks, *sound]
    if packets:
        command += ["-map", f"0:{plan.video_stream}", *untagged, *packets]
    return command


#: Rotates frames as the ffmpeg program does by itself.
ROTATION_FILTERS = {0: [], 90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}


def _from_device(plan: DecodePlan) -> list[str]:
    if not plan.hwaccel:
        return []
    pixel_format = "p010le" if (plan.bit_depth or 8) > 8 else "nv12"
    return ["hwdownload", f"format={pixel_format}", *ROTATION_FILTERS[plan.rotation]]


def detection_filters(plan: DecodePlan, color_matrix: str = "auto") -> list[str]:
    """Return the filters that make the frames for detectors and statistics, see `decode_command`.

    Args:
        plan: What to decode.
        color_matrix: ffmpeg's name of the color matrix; auto: as stated by the frames.
    """
    small = f"scale={plan.detection[0]}:{plan.detection[1]}"
    mapping = tone_mapping(plan.color_transfer)
    # keeps the range of the samples, whose conversion depends on the version of ffmpeg
    pixels = "yuv420p10" if mapping else "yuv420p|yuvj420p"
    mapped = [*mapping, small] if mapping else []
    return [
        f"{small}:flags=fast_bilinear",
        f"format={pixels}",
        f"{small}:in_color_matrix={color_matrix}",
        *mapped,
        "format=bgr24",
    ]


def _candidate_times(plan: DecodePlan) -> str:
    """Return the expression of the `select` filter that selects candidates."""
    interval = f"{plan.candidate_interval_s:.4f}"
    if plan.dense_from_s is not None:
        interval = f"if(gte(t-start_t,{plan.dense_from_s:.3f}),{plan.candidate_interval_s / 4:.4f},{interval})"
    # the first frame of each interval, so that all frames and a part of them give about the same; times may be rounded
    number, last = (f"floor(({time}-start_t+0.0005)/{interval})" for time in ("t", "prev_t"))
    return f"isnan(prev_selected_t)+gt({number},{last})"


def frame_times(mode: str) -> list[str]:
    """Return the option for the times of an output's frames; ffmpeg 5.1 renamed `-vsync` to `-fps_mode`.

    Args:
        mode: passthrough: none is repeated or dropped; vfr: none at the time of another.
    """
    found = re.match(r"n?(\d+)\.(\d+)", ffmpeg.version(ffmpeg.ffmpeg_path()))
    old = found is not None and (int(found[1]), int(found[2])) < (5, 1)
    return ["-vsync" if old else "-fps_mode", mode]
