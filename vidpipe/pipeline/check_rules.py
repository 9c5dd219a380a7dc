"""What a stored result is checked for. Each check looks at one video and says what it found in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.settings import Settings
from vidpipe.tagging.rules import build_rules

Document = Mapping[str, Any]
Figures = Mapping[str, int | float | str]
#: One frame at 24 a second, where the video does not say.
_FRAME_S = 1 / 24
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Found:
    """What a check found for one video; figures: plain values worth showing."""

    passed: bool
    sentence: str
    figures: Figures = field(default_factory=dict)


CheckFunction = Callable[[Document, Sequence[Document], Settings], Found]


@dataclass(frozen=True)
class Check:
    """
    stage:    whose result is checked; the check is there where the graph has that stage
    function: given the video's document, its scenes in order and the settings
    quick:    replaces a `function` that reads whole files, in runs over many videos
    """

    name: str
    stage: str
    description: str
    function: CheckFunction
    quick: CheckFunction | None = None


def scenes_cover_duration(document: Document, scenes: Sequence[Document], settings: Settings) -> Found:
    """No gap, no overlap, from 0 to the decoded duration, each within a frame."""
    stored = document["scenes"]
    duration_s, frames = stored["duration_s"], stored.get("frames_decoded") or 0
    frame_s = duration_s / frames if frames else _FRAME_S
    figures: Figures = {"scenes": len(scenes), "duration_s": duration_s, "frame_s": round(frame_s, 5)}
    if not scenes:
        return Found(False, "There is no scene.", figures)
    if len(scenes) != stored["count"]:
        return Found(False, f"{stored['count']} scenes were found, but {len(scenes)} are stored.", figures)
    end_s = 0.0
    for scene in scenes:
        off_s = scene["start_s"] - end_s
        if abs(off_s) > frame_s:
            what = "a gap" if off_s > 0 else "an overlap"
            return Found(False, f"Scene {scene['index']} begins with {what} of {abs(off_s):.3f} s.", figures)
        if scene["end_s"] <= scene["start_s"]:
            return Found(False, f"Scene {scene['index']} has no length.", figures)
        end_s = scene["end_s"]
    if abs(end_s - duration_s) > frame_s:
        return Found(False, f"The last scene ends at {end_s:.3f} s of {duration_s:.3f} s.", figures)
    return Found(True, f"{len(scenes)} scenes cover {duration_s:.3f} s.", figures)


def file_has_its_hash(document: Document, scenes: Sequence[Document], settings: Settings) -> Found:
    """Reads the whole stored file."""
    path = settings.resolve((document.get("raw_video") or document["ingest"])["path"])
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        return Found(False, f"The stored file cannot be read: {error.strerror or error}.", {"path": str(path)})
    figures: Figures = {"size_bytes": size, "sha256": digest.hexdigest()}
    if digest.hexdigest() != document["_id"]:
        return Found(False, "The stored file holds other bytes than its name says; take the video in again.", figures)
    return Found(True, f"All {size} bytes are as they were.", figures)


def file_is_unchanged(document: Document, scenes: Sequence[Document], settings: Settings) -> Found:
    """Compares size and modification time with those at hashing; reads the file only if they differ."""
    stored = document.get("raw_video") or document["ingest"]
    with contextlib.suppress(OSError):
        stat = settings.resolve(stored["path"]).stat()
        if (stat.st_size, stat.st_mtime_ns) == (stored["size_bytes"], stored["modified_ns"]):
            return Found(True, "Its size and modification time have not changed.", {"size_bytes": stat.st_size})
    return file_has_its_hash(document, scenes, settings)


def scenes_are_described(document: Document, scenes: Sequence[Document], settings: Settings) -> Found:
    missing = [scene["index"] for scene in scenes if not scene.get("description")]
    figures = {"scenes": len(scenes), "without": len(missing)}
    if missing:
        return Found(False, f"{len(missing)} of {len(scenes)} scenes have no description.", figures)
    return Found(True, f"Each of {len(scenes)} scenes has its description.", figures)


def tags_name_rules(document: Document, scenes: Sequence[Document], settings: Settings) -> Found:
    known = {rule.name for rule in build_rules(settings).rules}
    given = {tag["rule"] for tag in document["tags"] if tag["given_by"] == "rule"}
    gone = sorted(given - known)
    figures = {"tags": len(document["tags"]), "rules": len(known)}
    if gone:
        return Found(False, f"Tags were given by rules that are gone: {', '.join(gone)}. Run the stage tags.", figures)
    return Found(True, "Each tag names a rule that is in force.", figures)


CHECKS = (
    Check("stored_file_has_its_hash", "raw_video", "The stored file still has its hash. Reads all of it; in a run over "
          "many videos, only if its size or modification time has changed.", file_has_its_hash, file_is_unchanged),
    Check("scenes_cover_duration", "scenes", "The scenes cover the whole duration, without gap or overlap.",
          scenes_cover_duration),
    Check("scenes_are_described", "descriptions", "Each scene has a description.", scenes_are_described),
    Check("tags_name_rules", "tags", "Each tag was given by a rule that is still there.", tags_name_rules),
)  # fmt: skip
