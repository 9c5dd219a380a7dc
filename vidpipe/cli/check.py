"""vidpipe check: decode videos completely to find damage."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Annotated, Any

import typer

from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.interrupt import INTERRUPTED, stoppable
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, duration, note, out, print_json, say, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Where, chosen_videos
from vidpipe.errors import VidpipeError
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked, projection, read_fields
from vidpipe.settings import Settings
from vidpipe.stages.contract import Cancelled, Item, StageContext
from vidpipe.stages.scenes import STAGE

_STYLES = {"intact": "green", "damaged": "red", "failed": "red"}


def check(
    context: typer.Context,
    named: Annotated[
        list[str] | None, typer.Argument(metavar="[VIDEO]...", help="Hash prefixes, URLs or file names.")
    ] = None,
    *,
    every: All = False,
    where: Where = None,
    as_json: Json = False,
) -> int:
    """Decode every frame of videos and report damage.

    Also decodes the sound that the stage `scenes` measures. Nothing in the library changes. Exit code 1: a video is
    damaged or could not be checked.
    """
    with open_library(context) as opened:
        ids = chosen_videos(opened, named or (), every=every, where=where or ())
        with PartsDisplay("Checking") as display:
            found, stopped = stoppable(lambda cancelled: _check_all(opened, ids, cancelled, display), display.say)
    counts = {state: sum(video["state"] == state for video in found) for state in _STYLES}
    if as_json:
        print_json({"videos": found, "counts": counts, "interrupted": stopped})
    else:
        _show(found)
        note(f"{', '.join(f'{number} {state}' for state, number in counts.items())}.")
    if stopped:
        note(f"Stopped: {counted(len(ids) - len(found), 'video')} not checked.", "yellow")
        return INTERRUPTED
    return 1 if len(found) > counts["intact"] else 0


def _check_all(
    opened: OpenLibrary, ids: Sequence[str], cancelled: threading.Event, display: PartsDisplay
) -> tuple[list[dict[str, Any]], bool]:
    """Return what was found of each video, in the order of `ids`, and whether the check was stopped."""
    found: dict[str, dict[str, Any]] = {}
    shares: dict[str, float] = {}

    def advance(sha256: str, share: float) -> None:
        shares[sha256] = share
        display.progress("videos", len(found) + sum(shares.copy().values()), len(ids))

    stage_context = StageContext(opened.settings, cancelled=cancelled, progress=advance)
    advance("", 0.0)
    with ThreadPoolExecutor(opened.settings.concurrency.workers, "check") as pool:
        for chunk in chunked(ids):
            rows = opened.library.collections["videos"].find(
                {"_id": {"$in": chunk}}, projection(opened.library.graph, (*STAGE.reads, "ingest.path"))
            )
            for future in as_completed([pool.submit(_check, opened, row, stage_context) for row in rows]):
                if (video := future.result()) is not None:
                    shares.pop(video["video"], None)
                    found[video["video"]] = video
                    advance("", 0.0)
    return [found[sha256] for sha256 in ids if sha256 in found], cancelled.is_set()


def _check(opened: OpenLibrary, row: Document, context: StageContext) -> dict[str, Any] | None:
    """Decode one video; None if the check was stopped."""
    if context.cancelled.is_set():
        return None
    from vidpipe.stages.video_decode import decode_video, find_damage  # imports numpy

    found = {"video": row["_id"], "name": (row["ingest"].get("names") or [row["_id"][:12]])[0]}
    try:
        item = _item(opened, row)
        decoded = decode_video(item, context)
    except Cancelled:
        return None
    except VidpipeError as error:
        return {**found, "state": "failed", "error": {"message": error.message, "hint": error.hint}}
    damage = find_damage(decoded, item)
    return {
        **found, "state": "damaged" if damage else "intact", "frames": decoded.frames,
        "expected_frames": item["metadata.frame_count"], "decoded_s": decoded.end_us / 1e6,
        "expected_s": item["metadata.announced_duration_s"] or item["metadata.duration_s"],
        "errors": damage.errors if damage else 0, "messages": damage.messages if damage else (),
        "truncated": damage is not None and damage.truncated, "sentence": damage.sentence if damage else None,
    }  # fmt: skip


def _item(opened: OpenLibrary, row: Document) -> Item:
    """Return the input of the scenes stage: its metadata as stored, or else read from the file."""
    try:
        return Item(row["_id"], read_fields(opened.library.graph, STAGE.reads, row, ()))
    except KeyError:
        return Item(row["_id"], _fields(opened.settings, row["ingest"]["path"]))


def _fields(settings: Settings, path: str) -> dict[str, Any]:
    from vidpipe.media.probe import probe

    facts = dict(probe(settings.resolve(path), name="The stored file", limits=settings.limits))
    return {"raw_video.path": path, **{f"metadata.{name}": value for name, value in facts.items()}}


def _show(found: Sequence[dict[str, Any]]) -> None:
    right = {"justify": "right", "no_wrap": True}
    made = table(
        ("video", {"no_wrap": True}), ("name", {"overflow": "fold"}), ("frames", right), ("expected", right),
        ("decoded", right), ("of", right), ("errors", right), "state",
    )  # fmt: skip
    for video in found:
        made.add_row(
            words(video["video"][:12], "cyan"), words(video["name"]), *(_number(video, name) for name in
            ("frames", "expected_frames")), duration(video.get("decoded_s")), duration(video.get("expected_s")),
            _number(video, "errors"),
            words("truncated" if video.get("truncated") else video["state"], _STYLES[video["state"]]),
        )  # fmt: skip
    console = out()
    if found:
        console.print(made)
    for video in found:
        if video["state"] == "intact":
            continue
        error = video.get("error")
        say(console, words(f"{video['name']}: {error['message'] if error else video['sentence']}", "red"))
        for message in video.get("messages", ())[1:]:
            say(console, words(message, "dim"), "  ")
        if error and error["hint"]:
            say(console, words(error["hint"], "dim"), "  ")


def _number(video: dict[str, Any], name: str) -> str:
    return "" if video.get(name) is None else f"{video[name]:,}"
