"""vidpipe convert: playable and archival copies of videos, also with blurred faces."""

import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.interrupt import INTERRUPTED, in_threads, stoppable
from vidpipe.cli.options import Json, Search
from vidpipe.cli.output import note, print_json
from vidpipe.cli.progress import PartsDisplay
from vidpipe.cli.video_selection import All, Named, Where, chosen_videos
from vidpipe.datasets.conversion import Converter
from vidpipe.datasets.target import FolderTarget, Target
from vidpipe.errors import MediaError, SettingsError, visible
from vidpipe.library.exports import record as record_export
from vidpipe.library.schema import Document
from vidpipe.library.videos import name_of
from vidpipe.stages.contract import StageError
from vidpipe.storage.object_store import StoreError

_LIMITS = (
    "There is no guarantee that every face is covered: detectors miss faces, above all small, turned and hidden ones. "
    "Voices, bodies and text in the picture stay as they are. Watch a copy before you publish it."
)
_UNSAFE = re.compile(r"[^\w.-]+")
_MOST_NAME_BYTES = 180


def convert(
    context: typer.Context,
    named: Named = None,
    *,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder of the copies.")],
    to: Annotated[
        Literal["playable", "archival"],
        typer.Option("--to", help="playable: H.264 and AAC in MP4; archival: FFV1 and FLAC in Matroska."),
    ] = "playable",
    blur_faces: Annotated[
        bool, typer.Option("--blur-faces", help="Blur faces in every frame of playable copies.")
    ] = False,
    every: All = False,
    where: Where = None,
    search: Search = None,
    as_json: Json = False,
) -> int:
    """Convert videos into playable or archival files, also with blurred faces.

    Archival copies are lossless: each is compared with its source, frame by frame and with all of its sound. Copies
    that exist are kept. Exit code 1: a video could not be converted.
    """
    if blur_faces and to == "archival":
        raise SettingsError("Archival copies are lossless, so faces cannot be blurred.", "Use --to playable.")
    with open_library(context) as opened, PartsDisplay("Converting") as display:
        ids = chosen_videos(opened, named or (), every=every, where=where or (), search=search)

        def work(cancelled: Event) -> tuple[list[Document], bool]:
            library, progress = opened.library, display.shares("videos", len(ids))
            made = Converter(library, cancelled, progress, archival=to == "archival", blur_faces=blur_faces)
            target = FolderTarget(output.expanduser(), "convert")
            record_export(library.collections, str(output), "convert")
            with closing(made) as converter:

                def converted(sha256: str) -> Document | None:
                    row = library.videos.get(sha256)
                    return _converted(converter, row, target) if row else None

                found = list(in_threads(converted, ids, 1, cancelled, progress).values())
            if any(one["state"] == "converted" for one in found):
                target.keep()
            return found, cancelled.is_set()

        found, stopped = stoppable(work, display.say)
    counts = Counter(video["state"] for video in found)
    if as_json:
        limits = {"limits": _LIMITS} if blur_faces else {}
        print_json({"videos": found, "counts": counts, "interrupted": stopped, **limits})
    for video in found:
        if faces := video.get("faces"):
            note(f"{video['name']}: faces in {faces['with_faces']} of {faces['searched']} searched frames.")
        elif video.get("left_out"):
            note(f"{video['name']}: Matroska cannot hold {', '.join(video['left_out'])}.", "yellow")
        elif "error" in video:
            note(f"{video['name']}: {video['error']} {video['hint']}", "red")
    note(", ".join(f"{counts[state]} {state}" for state in ("converted", "kept", "failed")) + ".")
    if blur_faces:
        note(_LIMITS, "yellow")
    return INTERRUPTED if stopped else 1 if counts["failed"] else 0


def _converted(converter: Converter, row: Document, target: Target) -> Document:
    made_of, name = converter.made_of(row["_id"]), name_of(row)
    plain = "" if converter.blurs_faces else _UNSAFE.sub("_", visible(Path(name).stem)).lstrip("-._")  # of persons, too
    stem = plain.encode()[:_MOST_NAME_BYTES].decode(errors="ignore") or row["_id"]
    owner = target.owner(file := f"{stem}{converter.suffix}")
    if owner is not None and not owner.startswith(row["_id"]):  # the copy of another video, or any other file
        file = f"{stem}-{row['_id'][:12]}{converter.suffix}"
    about: dict[str, Any] = {"video": row["_id"], "name": name, "file": file}
    if target.has(file, made_of):
        return {**about, "state": "kept"}
    try:
        with converter.copy(row) as (path, facts):
            target.put(file, made_of, path)
    except (MediaError, StageError, StoreError) as error:
        return {**about, "state": "failed", "error": error.message, "hint": error.hint}
    return {**about, "state": "converted", **facts}
