"""Decoding one stored video completely: its plan, its limits, and what was damaged.

The scenes stage and `vidpipe check` share this, so that both report the same damage in the same words.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from vidpipe.media import hwaccel, memory
from vidpipe.media.damage_times import Times, damaged_times, joined
from vidpipe.media.decode import Decoded, DecodeEnd, DecodePass, SmallFrame, first_frame_us
from vidpipe.media.decode_plan import DecodePlan, plan_decode
from vidpipe.media.facts import Damage
from vidpipe.media.perceptual_hash import PictureSampler, keep_pictures
from vidpipe.media.probe import probe
from vidpipe.media.sound import KeptSound, keep_sound, sound_folder
from vidpipe.media.streams import MIN_FRAME_RATE
from vidpipe.media.timing import last_frame_s
from vidpipe.settings import Settings
from vidpipe.stages.contract import Cancelled, Item, StageContext, StageError

MIN_TIME_LIMIT_S = 120.0
_TIME_LIMIT_WITHOUT_DURATION_S = 6 * 3600.0
#: What decides how a video is decoded.
_PLANNED_BY = ("video_stream", "width", "height", "video_codec", "audio", "color_transfer", "field_order", "rotation",
               "bit_depth")  # fmt: skip
#: Many intact files lack less than this at their end.
_MISSING_S, _MISSING_SHARE = 1.0, 0.02
#: Size of the pictures of a decode that keeps nothing.
_SMALL = (16, 16)
#: Interval between its JPEGs: longer than any video, so there is one.
_NEVER_S = 1e9
_PROGRESS_FRAMES = 64


DecodedT = TypeVar("DecodedT", bound=Decoded)
#: Decodes a file by a plan, within a time limit in seconds.
Decode = Callable[[Path, DecodePlan, float], DecodedT]


def plan_for(item: Item, settings: Settings) -> DecodePlan:
    """Plan the decode of every frame of a video, in software."""
    return plan_decode(
        settings.scene_detection,
        duration_s=item["metadata.duration_s"],
        clock_jumps=item["metadata.clock_jumps"],
        forced_rate=frame_rate(item) if item["metadata.duration_source"] == "rate" else None,
        **{name: item[f"metadata.{name}"] for name in _PLANNED_BY},
    )


def decode_within_limits(
    item: Item, context: StageContext, plan: DecodePlan, decode: Decode[DecodedT], min_limit_s: float = MIN_TIME_LIMIT_S
) -> DecodedT:
    """Decode a video under its limits of memory and time.

    Args:
        item: The video.
        context: The context of the stage.
        plan: What to decode.
        decode: Called again with more memory if it lacked memory, and without sound if there is no decoder for it.
        min_limit_s: Shortest time limit, in seconds, however short the video is.

    Raises:
        StageError: The file does not exist, or cannot be decoded.
        StoreError: It cannot be downloaded.
        MemoryLimitError: Memory ran out before the first frame.
        Cancelled: The run was stopped.
    """
    expected_s = item["metadata.duration_s"]
    factor = context.settings.scene_detection.timeout_factor
    limit_s = max(min_limit_s, factor * expected_s) if expected_s else _TIME_LIMIT_WITHOUT_DURATION_S

    limits = memory.FileLimits(
        context.settings.limits,
        pixels=item["metadata.width"] * item["metadata.height"],
        extra_bytes=hwaccel.DRIVER_BYTES if plan.hwaccel else 0,
    )
    if plan.reference_frames:
        limits.default_threads = memory.SKIPPING_THREADS

    def limited(plan: DecodePlan) -> DecodedT:
        with context.files.video(item.sha256, item["raw_video.path"], context.cancelled) as path:
            if not path.is_file():
                raise StageError(f"{item.name}: its file {path} does not exist.", "Run the raw_video stage for it.")
            with memory.reading(limits):
                found = decode(path, plan, limit_s)
        if not found.end.lacked_memory or limits.generous:
            return found
        limits.generous = True
        return limited(plan)

    found = limited(plan)
    if not found.frames and found.end.returncode > 0 and plan.audio_stream is not None and plan.pictures:
        # ffmpeg stops at once if it has no decoder for the sound; the pictures can still be decoded
        found = limited(replace(plan, audio_stream=None))
    if context.cancelled.is_set():
        raise Cancelled
    end = found.end
    reached = f"after {found.end_us / 1e6:.1f} s of video" if found.frames else "before the first frame"
    if end.ended == "time limit":
        raise StageError(
            f"{item.name}: decoding exceeded its time limit of {limit_s:.0f} s and was stopped {reached}.",
            "The machine may be overloaded; raise TimeoutFactor in [SceneDetection] to allow more time.",
            transient=True,
        )
    if end.returncode < 0:
        raise StageError(
            f"{item.name}: ffmpeg was killed by signal {-end.returncode} {reached}{_first_message(end)}",
            "Out of memory, or a bug of this ffmpeg version with this file: try `ffmpeg -i FILE -f null -`.",
        )
    if not found.frames and end.lacked_memory:
        raise memory.MemoryLimitError("ffmpeg", limits.limit_bytes or 0)
    if not plan.pictures:
        if not found.frames and (end.errors or end.returncode):
            raise StageError(
                f"{item.name}: ffmpeg decoded no sound of audio stream {plan.audio_stream}{_first_message(end)}",
                "The stream may be damaged, or this ffmpeg cannot read its codec (`ffmpeg -codecs` lists what it can).",
            )
        return found
    if not found.frames:
        raise StageError(
            f"{item.name}: ffmpeg decoded no frame of video stream {plan.video_stream}{_first_message(end)}",
            "The file may be cut short, or this ffmpeg cannot read its codec (`ffmpeg -codecs` lists what it can).",
        )
    count = item["metadata.frame_count"]
    if found.frames == 1 and count is not None and count > 1:
        raise StageError(
            f"{item.name}: ffmpeg decoded only one of {count} frames{_first_message(end)}",
            "The file may be damaged, or this ffmpeg cannot read its codec.",
        )
    return found


def decode_video(
    item: Item, context: StageContext, plan: DecodePlan | None = None, add: Callable[[SmallFrame], None] | None = None
) -> Decoded:
    """Decode every frame of a video and its sound. Raises what `decode_within_limits` raises.

    Args:
        item: The video.
        context: The context of the stage.
        plan: What to decode; by default, nothing is kept.
        add: Called with each frame.
    """
    expected_s = item["metadata.duration_s"]

    def decode(path: Path, plan: DecodePlan, limit_s: float) -> Decoded:
        frames = first_us = last_us = gap_us = 0
        with DecodePass(path, plan, time_limit_s=limit_s, cancelled=context.cancelled) as running:
            for frames, frame in enumerate(running.frames(), start=1):
                first_us = first_us if frames > 1 else frame.time_us
                last_us, before_us = frame.time_us - first_us, last_us
                if add:
                    add(frame)
                gap_us = max(0, last_us - before_us)
                running.sound.clear()
                if frames % _PROGRESS_FRAMES == 0 and expected_s:
                    context.progress(item.sha256, min(1.0, last_us / 1e6 / expected_s))
            end = running.finish()
        nominal_s = float(1 / (frame_rate(item) or Fraction(25)))
        rest_s = last_frame_s(frames, last_us, gap_us, nominal_s, expected_s) if frames else 0.0
        return Decoded(frames, last_us + round(rest_s * 1e6), end)

    return decode_within_limits(item, context, plan or _keeping_nothing(item, context), decode)


def probed_item(sha256: str, path: Path, settings: Settings, stored: str = "") -> Item:
    """Return the item of a file that is decoded outside a run, with the metadata that it has now.

    Raises:
        MediaError: It is no video.
    """
    facts = dict(probe(path, name=str(path), limits=settings.limits))
    return Item(sha256, {"raw_video.path": stored or str(path), **{f"metadata.{name}": facts[name] for name in facts}})


def _keeping_nothing(item: Item, context: StageContext) -> DecodePlan:
    # frames are decoded in full before they are scaled
    tiny: dict[str, Any] = {"detection": _SMALL, "candidate": _SMALL, "candidate_interval_s": _NEVER_S}
    return replace(plan_for(item, context.settings), **tiny, dense_from_s=None, deinterlace=False, color_transfer=None)


def decode_samples(item: Item, context: StageContext) -> None:
    """Decode a video once, and keep its sound and small pictures. Raises what `decode_sound` raises."""
    folder = sound_folder(context.settings, item.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    sound, pictures = folder / "decoding", folder / "sampling"
    plan = plan_for(item, context.settings)
    sampler = PictureSampler(pictures)
    plan = replace(plan, candidate=_SMALL, candidate_interval_s=_NEVER_S, dense_from_s=None, deinterlace=False,
                   sound_file=None if plan.audio_stream is None else sound)  # fmt: skip
    decode_video(item, context, plan, sampler.add)
    if plan.audio_stream is not None and sound.exists():
        keep_sound(context.settings, item.sha256, sound, plan.audio_stream, sampler.first_us)
    keep_pictures(context.settings, item.sha256, pictures)


def decode_sound(item: Item, context: StageContext) -> KeptSound:
    """Decode the sound of a video, and of its pictures only the first, from which times count; and keep it.

    Raises what `decode_within_limits` raises, and OSError if the sound cannot be written.
    """
    file = sound_folder(context.settings, item.sha256) / "decoding"
    file.parent.mkdir(parents=True, exist_ok=True)
    first_us = 0

    def decode(path: Path, plan: DecodePlan, limit_s: float) -> Decoded:
        nonlocal first_us
        first_us = first_frame_us(path, plan, limit_s, context.cancelled)
        with DecodePass(path, plan, time_limit_s=limit_s, cancelled=context.cancelled) as running:
            end = running.finish()
        return Decoded(len(running.sound), running.sound[-1].time_us if running.sound else 0, end)

    plan = replace(_keeping_nothing(item, context), pictures=False, sound_file=file)
    decode_within_limits(item, context, plan, decode)
    assert plan.audio_stream is not None  # noqa: S101  (callers have checked that there is sound)
    return keep_sound(context.settings, item.sha256, file, plan.audio_stream, first_us)


def find_damage(decoded: Decoded, item: Item, remark: str = "") -> Damage | None:
    """Return what is damaged; None if the file is complete and was decoded without errors.

    Args:
        decoded: Result of decoding the video.
        item: The video.
        remark: Follows the sentence about the damage.
    """
    end, decoded_s = decoded.end, decoded.end_us / 1e6
    expected_s: float | None = item["metadata.duration_s"]
    announced_s: float | None = item["metadata.announced_duration_s"]
    count: int | None = item["metadata.frame_count"]
    all_decoded = count is not None and decoded.frames >= count
    missing_s = expected_s - decoded_s if expected_s and not all_decoded else 0.0
    incomplete = missing_s > max(_MISSING_S, _MISSING_SHARE * (expected_s or 0.0))
    # errors before the first key frame are no damage if all other pictures were decoded
    leading = item["metadata.undecodable_packets"] and decoded.frames == count
    if not ((end.errors and not leading) or incomplete or end.returncode or announced_s):
        return None
    parts = []
    if announced_s:
        parts.append(f"the file ends after {decoded_s:.2f} s of the {announced_s:.2f} s that its header announces")
    if end.errors:
        parts.append(f"the decoder reported {end.errors} error{'s' if end.errors > 1 else ''}")
    if incomplete and not announced_s:
        parts.append(f"{decoded_s:.2f} s of {expected_s:.2f} s could be decoded")
    if not parts:
        parts.append(f"ffmpeg ended with code {end.returncode}")
    first = f" (first: {end.messages[0]})" if end.messages else ""
    kind = "Truncated" if announced_s else "Damaged"
    return Damage(
        errors=end.errors,
        messages=end.messages,
        decoded_s=decoded_s,
        expected_s=announced_s or expected_s,
        truncated=announced_s is not None,
        sentence=f"{kind}: {' and '.join(parts)}{first}.{remark}",
    )


def damaged_spans(path: Path, item: Item, settings: Settings, damage: Damage, decoded: Decoded) -> list[Times]:
    """Return the damaged times of a file, (start, end) in seconds; all of them if they cannot be located.

    Raises:
        MediaError: The file cannot be decoded within its limits.
    """
    plan, decoded_s = plan_for(item, settings), decoded.end_us / 1e6
    spans = [(decoded_s, damage.expected_s)] if damage.truncated and damage.expected_s else []
    with memory.reading(memory.FileLimits(settings.limits, item["metadata.width"] * item["metadata.height"])):
        limit_s = max(MIN_TIME_LIMIT_S, settings.scene_detection.timeout_factor * decoded_s)
        if not plan.forced_rate and plan.keep_gaps:  # else these times are not those of the library
            spans += damaged_times(path, plan.video_stream, plan.audio_stream, limit_s)
    return joined(spans or [(0.0, decoded_s)], 0.0)


def frame_rate(item: Item) -> Fraction | None:
    """Return the average frame rate of a video; None if it is unknown."""
    exact: str | None = item["metadata.frame_rate_exact"]
    try:
        rate = Fraction(exact) if exact else Fraction(item["metadata.frame_rate"] or 0).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        return None
    return rate if rate >= MIN_FRAME_RATE else None


def _first_message(end: DecodeEnd) -> str:
    return f": {end.messages[0]}." if end.messages else "."
