"""vidpipe check: decode videos completely to find damage."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import duration, note, out, print_json, say, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Where, chosen_videos
from vidpipe.errors import MediaError
from vidpipe.media.facts import Damage
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.stages.contract import Cancelled, Item, StageContext, StageError
from vidpipe.storage.object_store import StoreError

Found = dict[str, Any]

_STYLES = {"intact": "green", "damaged": "red", "failed": "red"}


def check(
    context: typer.Context,
    named: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO", help="Hash prefixes, URLs or file names.")
    ] = None,
    *,
    every: All = False,
    where: Where = None,
    search: Search = None,
    as_json: Json = False,
) -> int:
    """Decode every frame of videos and report damage.

    `vidpipe run` skips most frames of many videos ([SceneDetection] Decode = auto) and sees no damage in those. Also
    decodes the sound that the stage scenes measures. Nothing in the library changes. Exit code 1: a video is damaged
    or could not be checked.
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
    found: dict[str, Found | None] = {}
    shares: dict[str, float] = {}

    def progress(sha256: str, share: float) -> None:
        shares[sha256] = share
        display.progress("videos", len(found) + sum(shares.copy().values()), len(ids))

    context = StageContext(opened.settings, cancelled=cancelled, progress=progress, files=opened.library.files)
    with ThreadPoolExecutor(opened.settings.concurrency.workers, "check") as pool:
        checks = {pool.submit(_check, opened, sha256, context): sha256 for sha256 in ids}
        try:
            for done in as_completed(checks):
                found[checks[done]] = done.result()
                shares.pop(checks[done], None)
                display.progress("videos", len(found), len(ids))
        except BaseException:  # the library is unreachable, or a bug: the other videos are not checked first
            cancelled.set()
            raise
    return [video for video in map(found.get, ids) if video is not None], cancelled.is_set()


def _check(opened: OpenLibrary, sha256: str, context: StageContext) -> Found | None:
    """Decode one video; None if the check was stopped, or if the video was forgotten meanwhile."""
    if context.cancelled.is_set() or (row := opened.library.videos.get(sha256)) is None:
        return None
    from vidpipe.media.probe import probe  # imports numpy
    from vidpipe.stages.video_decode import decode_video, find_damage

    found: Found = {"video": sha256, "name": (row["ingest"]["names"] or [sha256[:12]])[0]}
    stored = (row.get("raw_video") or row["ingest"])["path"]
    try:
        with context.files.video(sha256, stored, context.cancelled) as path:
            facts = dict(probe(path, name=str(path), limits=opened.settings.limits))
            item = Item(sha256, {"raw_video.path": stored, **{f"metadata.{name}": facts[name] for name in facts}})
            decoded = decode_video(item, context)
    except (Cancelled, FetchCancelled):
        return None
    except (MediaError, StageError, StoreError) as error:
        return {**found, "state": "failed", "sentence": error.message, "hint": error.hint}
    damage = find_damage(decoded, item)
    found |= {"state": "damaged" if damage else "intact", "frames": decoded.frames}
    damage = damage or Damage(decoded_s=decoded.end_us / 1e6, expected_s=item["metadata.duration_s"])
    return {**found, "expected_frames": item["metadata.frame_count"], **damage.model_dump()}


def _show(found: Sequence[Found]) -> None:
    made = table("video", "name", *((name, {"justify": "right"}) for name in ("frames", "decoded", "errors")), "state")
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
            for line in filter(None, (*video.get("messages", ())[1:], video.get("hint"))):
                say(out(), words(line, "dim"), "  ")
