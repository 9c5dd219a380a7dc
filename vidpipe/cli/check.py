"""vidpipe check: decode videos completely to find damage."""

from collections.abc import Sequence
from threading import Event
from typing import Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED, in_threads, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import duration, note, out, print_json, say, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.show import times_of
from vidpipe.cli.video_selection import All, Named, Where, chosen_videos
from vidpipe.errors import MediaError
from vidpipe.library.checks import record_check
from vidpipe.library.videos import name_of, stored_path
from vidpipe.media.facts import Damage
from vidpipe.stages.contract import StageContext, StageError
from vidpipe.storage.object_store import StoreError

Found = dict[str, Any]

_FIGURES = ("frames", "decoded", "errors")
_STYLES = {"intact": "green", "damaged": "red", "failed": "red"}


def check(
    context: typer.Context,
    named: Named = None,
    *,
    every: All = False,
    where: Where = None,
    search: Search = None,
    as_json: Json = False,
) -> int:
    """Decode every frame of videos and report damage.

    `vidpipe run` skips most frames of many videos ([SceneDetection] Decode = auto) and sees no damage in those. Also
    decodes the sound that the stage scenes measures. When a video was checked and which times of it are damaged is
    stored, shown by `vidpipe show` and exported; results of stages stay as they are. Exit code 1: a video is damaged or
    could not be checked.
    """
    with open_library(context) as opened:
        ids = chosen_videos(opened, named or (), every=every, where=where or (), search=search)
        with PartsDisplay("Checking") as display:
            found, stopped = stoppable(lambda cancelled: _check_all(opened, ids, cancelled, display), display.say)
    counts = {state: sum(video["state"] == state for video in found) for state in _STYLES}
    if as_json:
        print_json({"videos": found, "counts": counts, "interrupted": stopped})
    else:
        _show(found)
    note(", ".join(f"{number} {state}" for state, number in counts.items()) + ".")
    if stopped:
        note(f"Stopped; not checked: {len(ids) - len(found)}.", "yellow")
        return INTERRUPTED
    return 1 if counts["intact"] < len(found) else 0


def _check_all(
    opened: OpenLibrary, ids: Sequence[str], cancelled: Event, display: PartsDisplay
) -> tuple[list[Found], bool]:
    """Return what was found of each checked video, in the order of `ids`, and whether the check was stopped."""
    progress = display.shares("videos", len(ids))
    context = StageContext(opened.settings, cancelled=cancelled, progress=progress, files=opened.library.files)
    workers = opened.settings.concurrency.workers
    found = in_threads(lambda sha256: _check(opened, sha256, context), ids, workers, cancelled, progress)
    return list(found.values()), cancelled.is_set()


def _check(opened: OpenLibrary, sha256: str, context: StageContext) -> Found | None:
    """Decode one video; None if it was forgotten meanwhile."""
    if (row := opened.library.videos.get(sha256)) is None:
        return None
    from vidpipe.stages.video_decode import damaged_spans, decode_video, find_damage, probed_item  # imports numpy

    found: Found = {"video": sha256, "name": name_of(row)}
    stored = stored_path(row)
    try:
        with context.files.video(sha256, stored, context.cancelled) as path:
            item = probed_item(sha256, path, opened.settings, stored)
            decoded = decode_video(item, context)
            damage = find_damage(decoded, item)
            spans = damaged_spans(path, item, context.settings, damage, decoded) if damage else []
    except (MediaError, StageError, StoreError) as error:
        return {**found, "state": "failed", "sentence": error.message, "hint": error.hint}
    record_check(opened.library, sha256, damage.sentence if damage else "", spans)
    found |= {"state": "damaged" if damage else "intact", "frames": decoded.frames}
    found["spans"] = [{"start_s": start_s, "end_s": end_s} for start_s, end_s in spans]
    damage = damage or Damage(decoded_s=decoded.end_us / 1e6, expected_s=item["metadata.duration_s"])
    return {**found, "expected_frames": item["metadata.frame_count"], **damage.model_dump()}


def _show(found: Sequence[Found]) -> None:
    made = table("video", "name", *_FIGURES, "state", right=_FIGURES)
    for video in found:
        expected = f"{count:,}" if (count := video.get("expected_frames")) else "?"
        frames = f"{video['frames']:,} of {expected}" if "frames" in video else ""
        times = f"{duration(video['decoded_s'])} of {duration(video['expected_s'])}" if frames else ""
        state = words("truncated" if video.get("truncated") else video["state"], _STYLES[video["state"]])
        made.add_row(video["video"][:12], words(video["name"]), frames, times, str(video.get("errors", "")), state)
    out().print(made)
    for video in found:
        if video["state"] != "intact":
            say(out(), words(f"{video['name']}: {video['sentence']}", "red"))
            damaged = f"Damaged: {times_of(spans)}." if (spans := video.get("spans")) else None
            for line in filter(None, (*video.get("messages", ())[1:], damaged, video.get("hint"))):
                say(out(), words(line, "dim"), "  ")
