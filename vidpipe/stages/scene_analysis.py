"""The scenes stage for one video: decoding, thumbnails and frames, and the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vidpipe.media import hwaccel, memory
from vidpipe.media.active_area import ActiveAreas, active_areas
from vidpipe.media.decode import DecodeEnd
from vidpipe.media.decode_plan import DecodePlan, plan_decode
from vidpipe.media.facts import Damage, PackedFrame, PackReference, Scene, Thumbnail
from vidpipe.media.frame_pack import FramePackWriter, frames_version, resized_jpeg
from vidpipe.media.frame_selection import SpillFile, model_frames, poster, scene_thumbnails, spread
from vidpipe.media.reference_decode import REFERENCE_CODECS, REFERENCE_DETECTORS, FullDecodeRequired
from vidpipe.media.scene_pass import SceneFindings, run_pass
from vidpipe.media.scene_stats import no_sums, scene_light_profile, scene_stats, without_bars
from vidpipe.media.streams import INTERLACED_ORDERS, MIN_FRAME_RATE
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.contract import Cancelled, Item, StageContext, StageError
from vidpipe.stages.results import Scenes

_MIN_TIME_LIMIT_S = 120.0
_TIME_LIMIT_WITHOUT_DURATION_S = 6 * 3600.0
#: What decides how a video is decoded.
_PLANNED_BY = ("video_stream", "width", "height", "video_codec", "audio", "color_transfer", "field_order", "rotation",
               "bit_depth")  # fmt: skip
#: Below this frame rate decoding is cheap, and neighboring reference frames are too far apart.
_MIN_REFERENCE_RATE = 10
#: Fewer pixels in all frames are decoded sooner than the process for intervals starts (100 frames of 1080p).
_MIN_REFERENCE_PIXELS = 200_000_000
#: Many intact files lack less than this at their end.
_MISSING_S, _MISSING_SHARE = 1.0, 0.02


class _Pictures(NamedTuple):
    """What is stored of the pictures; `frames` are those in the pack, `converted` is explained by DecodePlan."""

    pack: PackReference
    frames: Sequence[PackedFrame]
    converted: bool
    thumbnails: tuple[Thumbnail, ...]
    poster: str | None


def analyze_scenes(item: Item, context: StageContext, *, min_time_limit_s: float = _MIN_TIME_LIMIT_S) -> Scenes:
    """Decode a video once, and store its thumbnails and the model's frames.

    Args:
        item: The video.
        context: The context of the stage.
        min_time_limit_s: Shortest time limit of the decode, in seconds, however short the video is.

    Raises:
        StageError: The video cannot be decoded.
        MediaError: Its frames cannot be read.
        UnavailableError: ffmpeg is missing or memory ran out.
        OSError: Frames cannot be written.
        Cancelled: The run was stopped.
    """
    started = time.monotonic()
    settings = context.settings
    path = settings.resolve(item["raw_video.path"])
    if not path.is_file():
        raise StageError(f"{item.name}: its file {path} does not exist.", "Run the raw_video stage for it.")
    codec = item["metadata.video_codec"]
    plan = plan_decode(
        settings.scene_detection,
        duration_s=item["metadata.duration_s"],
        clock_jumps=item["metadata.clock_jumps"],
        forced_rate=_frame_rate(item) if item["metadata.duration_source"] == "rate" else None,
        reference_frames=_may_skip_frames(item, settings.scene_detection),
        hwaccel="" if item["metadata.mirrored"] else hwaccel.choose(settings.scene_detection.hw_accel, codec),
        **{name: item[f"metadata.{name}"] for name in _PLANNED_BY},
    )
    with FramePackWriter(settings, item.sha256) as writer, SpillFile(writer.folder) as spill:
        findings = _decode(item, context, path, plan, spill, min_time_limit_s=min_time_limit_s)
        pictures = _write(settings.scene_detection, plan, findings, writer, spill)
        areas = active_areas(
            [scene_light_profile(span.sums) for span in findings.scenes],
            lambda scene: (spill.read(kept) for kept in spread(findings.kept.get(scene, ()), 1)),
            plan.detection,
            (item["metadata.width"], item["metadata.height"]),
        )
    damage = _damage(findings, item)
    result = _result(settings.scene_detection, findings, pictures, areas, damage)
    return result.model_copy(update={"decode_seconds": round(time.monotonic() - started, 3)})


def _decode(
    item: Item, context: StageContext, path: Path, plan: DecodePlan, spill: SpillFile, *, min_time_limit_s: float
) -> SceneFindings:
    expected_s = item["metadata.duration_s"]
    factor = context.settings.scene_detection.timeout_factor
    limit_s = max(min_time_limit_s, factor * expected_s) if expected_s else _TIME_LIMIT_WITHOUT_DURATION_S

    limits = memory.FileLimits(context.settings.limits, pixels=item["metadata.width"] * item["metadata.height"])
    limits.extra_bytes = hwaccel.DRIVER_BYTES if plan.hwaccel else 0

    def decode(plan: DecodePlan) -> SceneFindings:
        with memory.reading(limits):
            found = run_pass(
                path,
                plan,
                context.settings.scene_detection,
                spill,
                frame_rate=_frame_rate(item),
                expected_s=expected_s,
                frame_count=item["metadata.frame_count"],
                time_limit_s=limit_s,
                cancelled=context.cancelled,
                progress=lambda fraction: context.progress(item.sha256, fraction),
            )
        if not found.end.lacked_memory or limits.generous:
            return found
        limits.generous = True
        return decode(plan)

    def decode_with_fallbacks(plan: DecodePlan) -> SceneFindings:
        try:
            findings = decode(plan)
        except FullDecodeRequired:
            return decode_with_fallbacks(replace(plan, reference_frames=False))
        if plan.hwaccel and findings.end.returncode and not findings.end.ended:
            hwaccel.note_failure(plan.hwaccel, item["metadata.video_codec"])
            return decode_with_fallbacks(replace(plan, hwaccel=""))
        if plan.reference_frames and not findings.frames and not findings.end.ended:
            return decode_with_fallbacks(replace(plan, reference_frames=False))
        return findings

    findings = decode_with_fallbacks(plan)
    if not findings.frames and findings.end.returncode > 0 and plan.audio_stream is not None:
        # ffmpeg stops at once if it has no decoder for the sound; the pictures can still be decoded
        findings = decode(replace(plan, audio_stream=None))
    if context.cancelled.is_set():
        raise Cancelled
    end = findings.end
    reached = f"after {findings.end_us / 1e6:.1f} s of video" if findings.frames else "before the first frame"
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
    if not findings.frames and end.lacked_memory:
        raise memory.MemoryLimitError("ffmpeg", limits.limit_bytes or 0)
    if not findings.frames:
        raise StageError(
            f"{item.name}: ffmpeg decoded no frame of video stream {plan.video_stream}{_first_message(end)}",
            "The file may be cut short, or this ffmpeg cannot read its codec (`ffmpeg -codecs` lists what it can).",
        )
    count = item["metadata.frame_count"]
    if findings.frames == 1 and count is not None and count > 1:
        raise StageError(
            f"{item.name}: ffmpeg decoded only one of {count} frames{_first_message(end)}",
            "The file may be damaged, or this ffmpeg cannot read its codec.",
        )
    return findings


def _write(
    options: SceneDetection, plan: DecodePlan, findings: SceneFindings, writer: FramePackWriter, spill: SpillFile
) -> _Pictures:
    """Write the frame pack and the thumbnails."""
    durations = {index: (end_us - start_us) / 1e6 for index, (start_us, end_us) in enumerate(findings.spans_us)}
    for kept in model_frames(findings.kept, durations, options):
        jpeg = spill.read(kept)
        if plan.candidate != plan.model:
            jpeg = resized_jpeg(jpeg, plan.model)
        writer.add_frame(time_s=kept.time_us / 1e6, scene=kept.scene, size=plan.model, jpeg=jpeg)
    chosen = findings.by_time or scene_thumbnails(findings.kept, options.max_thumbnails)
    names = []
    for kept in chosen:
        jpeg = resized_jpeg(spill.read(kept), plan.thumbnail)
        names.append(writer.add_thumbnail(kept.time_us / 1e6, kept.scene, plan.thumbnail, jpeg))
    pack = writer.publish()
    thumbnails = tuple(
        Thumbnail(time_s=kept.time_us / 1e6, scene=kept.scene, path=f"{pack.path}/{name}")
        for kept, name in zip(chosen, names, strict=True)
    )
    best = thumbnails[chosen.index(poster(chosen, durations))].path if chosen else None
    return _Pictures(pack, writer.frames, plan.converted, thumbnails, best)


def _result(
    options: SceneDetection,
    findings: SceneFindings,
    pictures: _Pictures,
    areas: ActiveAreas,
    damage: Damage | None,
) -> Scenes:
    sums = [
        without_bars(span.sums, share, areas.bars) for span, share in zip(findings.scenes, areas.shares, strict=True)
    ]
    of_scene: dict[int, str] = {}
    for thumbnail in pictures.thumbnails:
        of_scene.setdefault(thumbnail.scene, thumbnail.path)
    seen: dict[int, list[PackedFrame]] = {}
    for frame in pictures.frames:
        seen.setdefault(frame.scene, []).append(frame)
    end_frames = [span.start_frame for span in findings.scenes[1:]] + [findings.frame_count]
    scenes = tuple(
        Scene(
            index=index,
            start_s=start_us / 1e6,
            end_s=end_us / 1e6,
            start_frame=span.start_frame,
            end_frame=end_frame,
            thumbnail=of_scene.get(index),
            frames=len(seen.get(index, ())),
            frames_version=frames_version(seen.get(index, ()), converted=pictures.converted),
            active_area=areas.scenes[index],
            stats=scene_stats(sums[index], sound=findings.sound),
        )
        for index, (span, (start_us, end_us), end_frame) in enumerate(
            zip(findings.scenes, findings.spans_us, end_frames, strict=True)
        )
    )
    duration_s = findings.end_us / 1e6
    return Scenes(
        scenes=scenes,
        count=len(scenes),
        detector=options.detector,
        threshold=options.threshold,
        duration_s=duration_s,
        frames_decoded=findings.frames,
        decoder=findings.decoder or "software",
        decoded="partial" if findings.frames < findings.frame_count else "all",
        cuts_per_minute=round((len(scenes) - 1) * 60 / duration_s, 3) if duration_s else 0.0,
        mean_scene_s=round(duration_s / len(scenes), 3),
        active_area=areas.video,
        stats=scene_stats(sum(sums, no_sums()), sound=findings.sound),
        pack=pictures.pack,
        frames_version=frames_version(pictures.frames, converted=pictures.converted),
        thumbnails=pictures.thumbnails,
        poster=pictures.poster,
        damage=damage,
    )


def _damage(findings: SceneFindings, item: Item) -> Damage | None:
    """Return what is damaged; None if the file is complete and was decoded without errors."""
    end, decoded_s = findings.end, findings.end_us / 1e6
    expected_s: float | None = item["metadata.duration_s"]
    announced_s: float | None = item["metadata.announced_duration_s"]
    count: int | None = item["metadata.frame_count"]
    all_decoded = count is not None and findings.frame_count >= count
    missing_s = expected_s - decoded_s if expected_s and not all_decoded else 0.0
    incomplete = missing_s > max(_MISSING_S, _MISSING_SHARE * (expected_s or 0.0))
    # errors before the first key frame are no damage if all other pictures were decoded
    leading = item["metadata.undecodable_packets"] and findings.frames == count
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
        sentence=f"{kind}: {' and '.join(parts)}{first}. What decodes was processed.",
    )


def _may_skip_frames(item: Item, options: SceneDetection) -> bool:
    """Return whether nothing that is known of a file forbids decoding its reference frames only."""
    rate = _frame_rate(item)
    return bool(
        options.decode == "auto"
        and options.detector in REFERENCE_DETECTORS
        and item["metadata.video_codec"] in REFERENCE_CODECS
        and item["metadata.field_order"] not in INTERLACED_ORDERS
        and item["metadata.duration_source"] == "packets"
        and item["metadata.frame_count_source"] == "packets"
        and rate
        and rate >= _MIN_REFERENCE_RATE
        and item["metadata.width"] * item["metadata.height"] * item["metadata.frame_count"] >= _MIN_REFERENCE_PIXELS
        and not item["metadata.mirrored"]
        and item["metadata.container"] != "avi"  # has no presentation times
        and not item["metadata.clock_jumps"]
        and not item["metadata.undecodable_packets"]
        and not item["metadata.announced_duration_s"]
    )


def _first_message(end: DecodeEnd) -> str:
    return f": {end.messages[0]}." if end.messages else "."


def _frame_rate(item: Item) -> Fraction | None:
    exact: str | None = item["metadata.frame_rate_exact"]
    try:
        rate = Fraction(exact) if exact else Fraction(item["metadata.frame_rate"] or 0).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        return None
    return rate if rate >= MIN_FRAME_RATE else None
