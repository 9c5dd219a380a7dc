"""vidpipe clips: cut videos into clips."""

from collections.abc import Mapping, Sequence
from itertools import groupby, takewhile
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED, in_threads, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import counted, note, print_json
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Named, Where, chosen_videos, search_engine
from vidpipe.datasets.clips import ranges
from vidpipe.datasets.clips.maker import CLIP_FORMAT, Clip, ClipMaker, ClipRequest, Made, together
from vidpipe.datasets.clips.manifest import DEFAULT_NAME, Manifest
from vidpipe.datasets.items import label_versions
from vidpipe.datasets.target import open_target
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.checks import damaged_spans
from vidpipe.library.exports import record as record_export
from vidpipe.library.videos import name_of, stored_path
from vidpipe.media.encode import EncodeFormat
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import audit

_NO_MOMENT = ("The search matches no moment of these videos.",)

Planned = list[tuple[ranges.ClipRange, ClipRequest]]
_video = attrgetter("video")
_Encoding = {"rich_help_panel": "Encoding"}
_Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


def _option(*names: str, text: str, **settings: Any) -> Any:
    return typer.Option(*names, help=text, **settings)


def clips(
    context: typer.Context,
    named: Named = None,
    *,
    output: Annotated[str, _option("--output", text="Folder or s3:// URL for the clips and manifest.jsonl.")],
    every: All = False,
    where: Where = None,
    search: Search = None,
    by: Annotated[
        Literal["scene", "length", "search"] | None,
        _option("--by", text="By scene (default), fixed length, or where --search matches."),
    ] = None,
    length_s: Annotated[
        float | None, _option("--length", min=0.04, text="Seconds of a clip, for --by length. Default: 15.")
    ] = None,
    overlap_s: Annotated[float, _option("--overlap", min=0, text="Seconds that a clip shares with the next.")] = 0.0,
    remainder: Annotated[
        ranges.Remainder, _option("--remainder", text="The end of a video: a shorter clip, none, or part of the last.")
    ] = "keep",
    tag: Annotated[str | None, _option("--tag", text="Cut the scenes with this tag.")] = None,
    rule: Annotated[str | None, _option("--rule", text="Cut the scenes to which this rule gave a tag.")] = None,
    times: Annotated[
        Path | None, _option("--times", metavar="FILE", text="Cut as a CSV file says: video,start,end[,label,name].")
    ] = None,
    summary_s: Annotated[
        float | None, _option("--summary", min=1, text="Cut scenes that sum a video up in this many seconds.")
    ] = None,
    fast: Annotated[
        bool, _option("--fast/--exact", text="Copy packets from the key frame before; or encode exactly the frames.")
    ] = False,
    max_height: Annotated[int, _option("--max-height", min=16, text="Pixels of the shorter side.", **_Encoding)] = 720,
    max_fps: Annotated[
        float, _option("--max-fps", min=1, text="Of faster videos, frames are left out.", **_Encoding)
    ] = CLIP_FORMAT.max_frame_rate or 0.0,
    audio: Annotated[bool, _option("--audio/--no-audio", text="Keep the sound.", **_Encoding)] = True,
    crop: Annotated[bool, _option("--crop", text="Cut off black bars.", **_Encoding)] = False,
    crf: Annotated[int, _option("--crf", min=0, max=51, text="Quality of x264: lower is better.", **_Encoding)] = 23,
    preset: Annotated[_Preset, _option("--preset", text="Speed of x264.", **_Encoding)] = "veryfast",
    name: Annotated[
        str, _option("--name", text="Template of names: {name} {video} {index} {start} {end} {label}; / makes folders.")
    ] = DEFAULT_NAME,
    as_json: Json = False,
) -> int:
    """Cut videos into clips: by scene, by length, or where a search or rule matches.

    A clip has exactly the frames at start <= time < end, and is verified; manifest.jsonl lists all. Clips are kept in
    data/derived/clips and made once. Clips of other videos in the folder stay; those of these videos are replaced.
    Exit code 1: a clip could not be made; the others are.
    """
    given = bool(length_s or overlap_s or remainder != "keep")
    by, length_s = by or ("length" if given else None), length_s or 15.0
    ways = sum(map(bool, (by, tag or rule, times, summary_s)))
    _check_options(
        {
            "Cut in one way: --by, --tag and --rule, --times or --summary.": ways > 1 or (given and by != "length"),
            "--overlap must be less than --length.": overlap_s >= length_s,
            "--fast copies whole pictures: it cannot --crop.": fast and crop,
            "--by search needs --search QUERY.": by == "search" and not (search or "").strip(),
        }
    )
    form = EncodeFormat(max(1280, max_height * 16 // 9), max_height, max_fps, crf, preset, audio)
    with open_library(context) as opened, PartsDisplay("Cutting") as display:
        manifest = Manifest(target := open_target(opened.library, output, Event(), "clips"), name, fast=fast)
        parts = ranges.by_table(times, opened.library.videos.resolve) if times else {}
        ids = list(parts)
        if not times or named or every or where or search is not None:
            # with these, --search says where to cut, not which videos
            asked = None if by == "search" and (named or every or where) else search
            ids = chosen_videos(opened, named or (), every=every, where=where or (), search=asked)
        if by == "search":
            parts = _moments(opened, search or "")

        def parts_of(video: str, row: dict[str, Any], scenes: Sequence[dict[str, Any]], maker: ClipMaker) -> Any:
            if times or by == "search":
                return parts.get(video, [])
            if tag or rule:
                return ranges.by_tag(row.get("scene_tags") or (), tag, rule)
            if by == "length":
                return ranges.by_length(maker.duration_s(video, stored_path(row)), length_s, overlap_s, remainder)
            if not scenes:
                raise SettingsError("Its scenes are unknown.", "Run `vidpipe run --stage scenes` first.")
            return ranges.summary(scenes, summary_s) if summary_s else ranges.by_scene(scenes)

        def work(cancelled: Event) -> bool:
            maker = ClipMaker(opened.library, form, cancelled, fast=fast)
            planned: Planned = []
            names: dict[str, str] = {}
            for video in takewhile(lambda _: not cancelled.is_set(), ids):
                if (row := opened.library.videos.get(video)) is None:
                    continue
                scenes = opened.library.videos.scenes([video]).get(video, [])
                names[video] = name_of(row)
                try:
                    for part in parts_of(video, row, scenes, maker):
                        area = ranges.area_of(scenes, part.start_s, part.end_s) if crop else None
                        planned.append((part, ClipRequest(video, stored_path(row), part.start_s, part.end_s, area)))
                except FetchCancelled:
                    break
                except VidpipeError as error:
                    manifest.fail(video, names[video], error)
            manifest.keep_others(set(ids))
            made = _made(maker, [request for _, request in planned], opened, cancelled, display)
            damaged = {video: damaged_spans(opened.library, video) for video in names}
            for part, request in planned:
                manifest.add(names[request.video], part, request, made.get(request), damaged[request.video])
            manifest.write(label_versions(opened.plan))
            target.keep() if cancelled.is_set() else target.finish()
            return cancelled.is_set()

        record_export(opened.library.collections, output, "clips")
        stopped = stoppable(work, display.say)
    result = {"path": output, "clips": manifest.rows, "failed": manifest.failed, "interrupted": stopped}
    audit("clips", **{**result, "clips": len(manifest.rows), "failed": len(manifest.failed)})
    if as_json:
        print_json(result)
    for sentence in (
        *(_NO_MOMENT if by == "search" and not manifest.rows else ()),
        *manifest.sentences(),
        f"{counted(len(manifest.rows), 'clip')} in {output}.",
    ):
        note(sentence)
    return INTERRUPTED if stopped else 1 if manifest.failed else 0


def _moments(opened: OpenLibrary, query: str) -> dict[str, list[ranges.ClipRange]]:
    found = search_engine(opened).find(query, moments=True, limit=0, facets=False)
    return ranges.by_moments(found.hits if found.matched == "all" else (), query)


def _check_options(contradictions: Mapping[str, bool]) -> None:
    for sentence, found in contradictions.items():
        if found:
            raise SettingsError(sentence, "See --help.")


def _made(
    maker: ClipMaker, requests: Sequence[ClipRequest], opened: OpenLibrary, cancelled: Event, display: PartsDisplay
) -> Made:
    """Make clips, several groups at a time; those that were not reached are missing."""
    workers, shares = opened.settings.concurrency.workers, display.shares("clips", len(requests))
    videos = groupby(sorted(requests, key=_video), _video)
    groups = [tuple(group) for _, few in videos for group in together(list(few), workers)]
    found = in_threads(maker.make_all, groups, workers, cancelled, lambda group, _: shares(group, len(group)))
    made = {one: clip for group in found.values() for one, clip in group.items()}
    return {one: clip for one, clip in made.items() if isinstance(clip, Clip) or not cancelled.is_set()}
