"""The scenes stage for one video: decoding, thumbnails and frames, and the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidpipe.media import hwaccel
from vidpipe.media.active_area import ActiveAreas, active_areas
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.facts import Damage, PackedFrame, PackReference, Scene, Thumbnail
from vidpipe.media.frame_pack import FramePackWriter, frames_version, resized_jpeg
from vidpipe.media.frame_selection import SpillFile, model_frames, poster, scene_thumbnails, spread
from vidpipe.media.perceptual_hash import keep_pictures
from vidpipe.media.reference_decode import REFERENCE_CODECS, REFERENCE_DETECTORS, FullDecodeRequired
from vidpipe.media.scene_pass import SceneFindings, run_pass
from vidpipe.media.scene_stats import no_sums, scene_light_profile, scene_stats, without_bars
from vidpipe.media.sound import keep_sound
from vidpipe.media.streams import INTERLACED_ORDERS
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages.analyses.packed_frames import ask
from vidpipe.stages.analyses.speech import hears
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.face_blurring import FaceBlurring
from vidpipe.stages.results import Scenes
from vidpipe.stages.video_decode import MIN_TIME_LIMIT_S, decode_within_limits, find_damage, frame_rate, plan_for

#: Below this frame rate decoding is cheap, and neighboring reference frames are too far apart.
_MIN_REFERENCE_RATE = 10
#: Fewer pixels in all frames are decoded sooner than the process for intervals starts (100 frames of 1080p).
_MIN_REFERENCE_PIXELS = 200_000_000


class _Pictures(NamedTuple):
    """What is stored of the pictures.

    `frames` are those in the pack, `converted` is explained by DecodePlan, `faces` by FramePackWriter.
    """

    pack: PackReference
    frames: Sequence[PackedFrame]
    converted: bool
    thumbnails: tuple[Thumbnail, ...]
    poster: str | None
    faces: str


def analyze_scenes(item: Item, context: StageContext, *, min_time_limit_s: float = MIN_TIME_LIMIT_S) -> Scenes:
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
    plan = replace(plan_for(item, settings), reference_frames=_may_skip_frames(item, settings.scene_detection))
    if not item["metadata.mirrored"]:
        codec = item["metadata.video_codec"]
        plan = replace(plan, hwaccel=hwaccel.choose(settings.scene_detection.hw_accel, codec))
    cut_model = partial(_scores, context) if settings.scene_detection.detector == "transnetv2" else None
    face_model = context.resources.get("faces_model")
    blurring = FaceBlurring(face_model, context) if face_model else None
    faces = blurring.version if blurring else ""
    with FramePackWriter(settings, item.sha256, faces=faces) as writer, SpillFile(writer.folder) as spill:
        # a pack from an earlier run: the sound has been heard, so that nothing would take it away
        earlier = any(writer.folder.parent.glob("[!.]*"))
        prints = "fingerprint" in settings.analyses.enabled and not earlier
        if plan.audio_stream is not None and (prints or (not earlier and hears(settings))):
            plan = replace(plan, sound_file=writer.folder / "sound")
        if prints:
            plan = replace(plan, picture_file=writer.folder / "pictures")

        def decode(path: Path, plan: DecodePlan, time_limit_s: float) -> SceneFindings:
            try:
                found = run_pass(
                    path,
                    plan,
                    settings.scene_detection,
                    spill,
                    cut_model=cut_model,
                    frame_rate=frame_rate(item),
                    expected_s=item["metadata.duration_s"],
                    frame_count=item["metadata.frame_count"],
                    time_limit_s=time_limit_s,
                    cancelled=context.cancelled,
                    progress=lambda fraction: context.progress(item.sha256, fraction),
                )
            except FullDecodeRequired:
                return decode(path, replace(plan, reference_frames=False), time_limit_s)
            if plan.hwaccel and found.end.returncode and not found.end.ended:
                hwaccel.note_failure(plan.hwaccel, item["metadata.video_codec"])
                return decode(path, replace(plan, hwaccel=""), time_limit_s)
            return found

        findings = decode_within_limits(item, context, plan, decode, min_time_limit_s)
        if plan.sound_file and plan.audio_stream is not None:
            if findings.sound and not findings.end.returncode:
                keep_sound(settings, item.sha256, plan.sound_file, plan.audio_stream, findings.first_us)
            plan.sound_file.unlink(missing_ok=True)
        if plan.picture_file:
            keep_pictures(settings, item.sha256, plan.picture_file)
        pictures = _write(settings.scene_detection, plan, findings, writer, spill, blurring=blurring)
        areas = active_areas(
            [scene_light_profile(span.sums) for span in findings.scenes],
            lambda scene: (spill.read(kept) for kept in spread(findings.kept.get(scene, ()), 1)),
            plan.detection,
            (item["metadata.width"], item["metadata.height"]),
        )
    damage = find_damage(findings, item, " What decodes was processed.")
    result = _result(settings.scene_detection, findings, pictures, areas, damage)
    return result.model_copy(update={"decode_seconds": round(time.monotonic() - started, 3)})


def _scores(context: StageContext, frames: NDArray[np.uint8]) -> Sequence[float]:
    """Ask the model of the detector transnetv2, see `learned_cuts.CutModel`."""
    scores: list[float] = ask(context.resources["cut_model"], {"frames": frames.tobytes()}, context)
    return scores


def _write(
    options: SceneDetection,
    plan: DecodePlan,
    findings: SceneFindings,
    writer: FramePackWriter,
    spill: SpillFile,
    *,
    blurring: FaceBlurring | None,
) -> _Pictures:
    """Write the frame pack and the thumbnails, with faces blurred if there is `blurring`."""
    durations = {index: (end_us - start_us) / 1e6 for index, (start_us, end_us) in enumerate(findings.spans_us)}
    frames = model_frames(findings.kept, durations, options)
    chosen = findings.by_time or scene_thumbnails(findings.kept, options.max_thumbnails)
    read = blurring.find(spill, [*frames, *chosen]) if blurring else spill.read
    for kept in frames:
        jpeg = read(kept)
        if plan.candidate != plan.model:
            jpeg = resized_jpeg(jpeg, plan.model)
        faces = blurring.faces(kept) if blurring else None
        writer.add_frame(time_s=kept.time_us / 1e6, scene=kept.scene, size=plan.model, jpeg=jpeg, faces=faces)
    names = []
    for kept in chosen:
        jpeg = resized_jpeg(read(kept), plan.thumbnail)
        names.append(writer.add_thumbnail(kept.time_us / 1e6, kept.scene, plan.thumbnail, jpeg))
    pack = writer.publish()
    thumbnails = tuple(
        Thumbnail(time_s=kept.time_us / 1e6, scene=kept.scene, path=f"{pack.path}/{name}")
        for kept, name in zip(chosen, names, strict=True)
    )
    best = thumbnails[chosen.index(poster(chosen, durations))].path if chosen else None
    return _Pictures(pack, writer.frames, plan.converted, thumbnails, best, blurring.version if blurring else "")


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
    end_frames = [span.start_frame for span in findings.scenes[1:]] + [findings.frames]
    scenes = tuple(
        Scene(
            index=index,
            start_s=start_us / 1e6,
            end_s=end_us / 1e6,
            start_frame=span.start_frame,
            end_frame=end_frame,
            thumbnail=of_scene.get(index),
            frames=len(seen.get(index, ())),
            frames_version=frames_version(seen.get(index, ()), converted=pictures.converted, faces=pictures.faces),
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
        frames_decoded=findings.frames_decoded,
        decoded="partial" if findings.frames_decoded < findings.frames else "all",
        decoder=findings.decoder or "software",
        cuts_per_minute=round((len(scenes) - 1) * 60 / duration_s, 3) if duration_s else 0.0,
        mean_scene_s=round(duration_s / len(scenes), 3),
        active_area=areas.video,
        stats=scene_stats(sum(sums, no_sums()), sound=findings.sound),
        pack=pictures.pack,
        frames_version=frames_version(pictures.frames, converted=pictures.converted, faces=pictures.faces),
        thumbnails=pictures.thumbnails,
        poster=pictures.poster,
        damage=damage,
    )


def _may_skip_frames(item: Item, options: SceneDetection) -> bool:
    """Return whether nothing that is known of a file forbids decoding its reference frames only."""
    rate = frame_rate(item)
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
        and item["metadata.container"] != "avi"  # has no presentation times
        and not item["metadata.mirrored"]
        and not item["metadata.clock_jumps"]
        and not item["metadata.undecodable_packets"]
        and not item["metadata.announced_duration_s"]
    )
