"""Timelines for editors, which open them with the media file beside them: OpenTimelineIO and CMX 3600 EDL."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from vidpipe.datasets.exporters.exporter import ExportJob, facts
from vidpipe.datasets.exporters.timecode import exact_rate, is_drop_frame, timecode, timecode_rate
from vidpipe.datasets.item import DatasetItem, ItemScene
from vidpipe.errors import UnavailableError
from vidpipe.text.messages import single_line

_NAME_LENGTH, _COMMENT_LENGTH = 100, 1000
_COLORS = {"label": "GREEN", "tag": "YELLOW", "chapter": "CYAN"}
#: Of an EDL: lines of 80 characters, and a reel of 8.
_LINE_LENGTH, _REEL_LENGTH = 60, 8


def export_otio(job: ExportJob) -> None:
    """Write KEY.otio per item: a clip per scene, and a marker per segment, scene tag and chapter.

    Raises:
        UnavailableError: The package opentimelineio is missing.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise UnavailableError.without_package("--format otio needs", error, extra="editors") from None
    _write(job, "otio", lambda item, media: str(_timeline(otio, item, media).to_json_string(1)))


def export_edl(job: ExportJob) -> None:
    """Write KEY.edl per item: an event per scene, with its description, and locators of what is labelled."""
    _write(job, "edl", lambda item, media: "\n".join((*_edl(item, media), "")))


def _write(job: ExportJob, suffix: str, made: Callable[[DatasetItem, str], str]) -> None:
    """Write what is made of each item and the path of its media file from there."""
    for item, media in job.with_videos(lambda one: f"{one.folder}media/{one.key}{job.media.suffix(one)}", mp4=False):
        text = made(item, media.removeprefix(item.folder))
        job.target.write(f"{item.folder}{item.key}.{suffix}", text.encode())


def _scenes(item: DatasetItem, rate: float) -> list[ItemScene]:
    """Return the scenes of at least one frame, else the whole item."""
    scenes = [one for one in item.scenes if round(one.end_s * rate) > round(one.start_s * rate)]
    return scenes or [ItemScene(index=0, start_s=0.0, end_s=item.duration_s, description=item.description)]


def _marks(item: DatasetItem) -> list[tuple[float, float, str, str, str]]:
    """Return start, end, kind, name and rule of what is labelled."""
    chapters = ((one.start_s, one.end_s, "chapter", one.text, "") for one in item.chapters)
    return sorted((*((one.start_s, one.end_s, one.kind, one.label, one.rule) for one in item.segments), *chapters))


def _timeline(otio: Any, item: DatasetItem, media: str) -> Any:
    rate, schema = exact_rate(item.frame_rate), otio.schema

    def span(start_s: float, end_s: float) -> Any:
        times = [otio.opentime.RationalTime(round(time_s * rate), rate) for time_s in (start_s, end_s)]
        return otio.opentime.range_from_start_end_time(*times)

    timeline = schema.Timeline(single_line(item.title or item.name, _NAME_LENGTH), metadata={"vidpipe": facts(item)})
    for kind in (schema.TrackKind.Video, schema.TrackKind.Audio)[: 1 + item.has_audio]:
        track, end_s = schema.Track(kind, kind=kind), 0.0
        for scene in _scenes(item, rate):
            if (gap := span(end_s, scene.start_s)).duration.value > 0:
                track.append(schema.Gap(source_range=gap))
            about = {"vidpipe": {"description": single_line(scene.description, _COMMENT_LENGTH)}}
            reference = schema.ExternalReference(media, span(0.0, item.duration_s))
            track.append(
                schema.Clip(f"Scene {scene.index + 1}", reference, span(scene.start_s, scene.end_s), about)
            )  # fmt: skip
            end_s = scene.end_s
        timeline.tracks.append(track)
    for start_s, end_s, kind, name, rule in _marks(item):
        place, about = span(start_s, end_s), {"vidpipe": {"kind": kind}}
        shown, comment = single_line(name, _NAME_LENGTH), f"{kind} {rule}".strip()
        timeline.tracks.markers.append(schema.Marker(shown, place, _COLORS[kind], about, comment))
    return timeline


def _edl(item: DatasetItem, media: str) -> Iterator[str]:
    rate, reel = timecode_rate(item.frame_rate), item.key[:_REEL_LENGTH].upper()
    yield f"TITLE: {single_line(item.title or item.name, _LINE_LENGTH)}"
    yield f"FCM: {'DROP FRAME' if is_drop_frame(rate) else 'NON-DROP FRAME'}"
    for number, scene in enumerate(_scenes(item, rate), 1):
        span = f"{timecode(scene.start_s, rate)} {timecode(scene.end_s, rate)}"
        yield f"{number:03d}  {reel:8} {'AA/V' if item.has_audio else 'V':5} C        {span} {span}"
        yield f"* FROM CLIP NAME: {PurePosixPath(media).name}"
        yield f"* FROM FILE: {media}"
        if scene.description:
            yield f"* COMMENT: {single_line(scene.description, _LINE_LENGTH)}"
        for start_s, _, kind, name, _ in _marks(item):
            if scene.start_s <= start_s < scene.end_s:
                yield f"* LOC: {timecode(start_s, rate)} {_COLORS[kind]:7} {single_line(name, _LINE_LENGTH)}"
