"""The checks of stored results, each of one video, and the check `videos_succeeded` of a whole stage.

`videos_succeeded` is red while the stage has failed videos, which its metadata lists. In a run over partitions a failed
video is also a failed partition. A run over a list of videos plans no partitions, so this check shows it.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.pipeline.event_metadata import IDENTIFYING_FIELDS, anonymous
from vidpipe.settings import Settings
from vidpipe.sources.media_store import hash_file
from vidpipe.stages.contract import StageError
from vidpipe.stages.registry import enabled_analyses
from vidpipe.storage.object_store import LOCAL
from vidpipe.tagging.rules import build_rules

Document = Mapping[str, Any]
Figures = Mapping[str, int | float | str]
#: One frame at 24 a second, where the video does not say.
_FRAME_S = 1 / 24
FAILURE_CHECK_NAME = "videos_succeeded"
FAILURE_CHECK_DESCRIPTION = "No video has failed in this stage; lists those that have."
#: Each evaluation stays in Dagster's history, so the list and its messages are bounded.
_MAX_LISTED = 1000
_MAX_MESSAGE_CHARS = 200


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found for one video.

    Attributes:
        passed: Whether all is well.
        sentence: What was found, without names of the video.
        figures: Plain values for the check's metadata.
    """

    passed: bool
    sentence: str
    figures: Figures = field(default_factory=dict)


CheckFunction = Callable[[Document, Sequence[Document], Settings], CheckOutcome]


@dataclass(frozen=True)
class VideoCheck:
    """A check of one stage's results.

    Attributes:
        name: Name of the asset check.
        stage: The stage whose result is checked; the check exists if the graph has that stage.
        description: One sentence for the check's page.
        function: Takes the video's document, its scenes in order and the settings.
        quick: Replaces a `function` that reads whole files, in runs over many videos.
    """

    name: str
    stage: str
    description: str
    function: CheckFunction
    quick: CheckFunction | None = None


def scenes_cover_duration(document: Document, scenes: Sequence[Document], settings: Settings) -> CheckOutcome:
    """Check that there is no gap and no overlap from 0 to the decoded duration, within one frame."""
    stored = document["scenes"]
    duration_s = stored["duration_s"]
    frames = max([stored.get("frames_decoded") or 0, *(scene.get("end_frame") or 0 for scene in scenes)])
    frame_s = duration_s / frames if frames else _FRAME_S
    figures: Figures = {"scenes": len(scenes), "duration_s": duration_s, "frame_s": round(frame_s, 5)}
    if not scenes:
        return CheckOutcome(False, "There are no scenes.", figures)
    if len(scenes) != stored["count"]:
        return CheckOutcome(False, f"{stored['count']} scenes were detected, but {len(scenes)} are stored.", figures)
    end_s = 0.0
    for scene in scenes:
        off_s = scene["start_s"] - end_s
        if abs(off_s) > frame_s:
            what = "a gap" if off_s > 0 else "an overlap"
            return CheckOutcome(False, f"Scene {scene['index']} begins with {what} of {abs(off_s):.3f} s.", figures)
        if scene["end_s"] <= scene["start_s"]:
            return CheckOutcome(False, f"Scene {scene['index']} has no length.", figures)
        end_s = scene["end_s"]
    if abs(end_s - duration_s) > frame_s:
        return CheckOutcome(False, f"The last scene ends at {end_s:.3f} s of {duration_s:.3f} s.", figures)
    return CheckOutcome(True, f"{len(scenes)} scenes cover {duration_s:.3f} s.", figures)


def file_has_its_hash(document: Document, scenes: Sequence[Document], settings: Settings) -> CheckOutcome:
    """Check that the whole stored file still has the hash that is its name."""
    path = settings.resolve((document.get("raw_video") or document["ingest"])["path"])
    if (document.get(PLACE) or {}).get("media", LOCAL) != LOCAL and not path.exists():
        return CheckOutcome(True, "It is not on this disk; `vidpipe store verify` checks its store.")
    try:
        sha256, size = hash_file(path, threading.Event())
    except OSError as error:
        return CheckOutcome(False, f"The stored file cannot be read: {error.strerror or type(error).__name__}.", {})
    figures: Figures = {"size_bytes": size, "sha256": sha256}
    if sha256 != document["_id"]:
        return CheckOutcome(False, "The stored file's content does not match its hash; add the video again.", figures)
    return CheckOutcome(True, f"All {size} bytes are unchanged.", figures)


def file_is_unchanged(document: Document, scenes: Sequence[Document], settings: Settings) -> CheckOutcome:
    """Check size and modification time against those at hashing; reads the file only if they differ."""
    stored = document.get("raw_video") or document["ingest"]
    with contextlib.suppress(OSError):
        stat = settings.resolve(stored["path"]).stat()
        if (stat.st_size, stat.st_mtime_ns) == (stored["size_bytes"], stored["modified_ns"]):
            return CheckOutcome(True, "Size and modification time are unchanged.", {"size_bytes": stat.st_size})
    return file_has_its_hash(document, scenes, settings)


def scenes_are_described(document: Document, scenes: Sequence[Document], settings: Settings) -> CheckOutcome:
    """Check that every scene has a description."""
    missing = [scene["index"] for scene in scenes if not scene.get("description")]
    figures = {"scenes": len(scenes), "without": len(missing)}
    if missing:
        return CheckOutcome(False, f"{len(missing)} of {len(scenes)} scenes have no description.", figures)
    return CheckOutcome(True, f"All {len(scenes)} scenes have a description.", figures)


def tags_name_rules(document: Document, scenes: Sequence[Document], settings: Settings) -> CheckOutcome:
    """Check that every tag from a rule names a rule that still exists."""
    known = {rule.name for rule in build_rules(settings, enabled_analyses(settings).vocabulary).rules}
    given = {tag["rule"] for tag in document["tags"] if tag["given_by"] == "rule"}
    gone = sorted(given - known)
    figures = {"tags": len(document["tags"]), "rules": len(known)}
    if gone:
        return CheckOutcome(
            False, f"Tags name rules that no longer exist: {', '.join(gone)}. Run the tags stage.", figures
        )
    return CheckOutcome(True, "All tags name existing rules.", figures)


CHECKS = (
    VideoCheck(
        "stored_file_has_its_hash",
        "raw_video",
        "The stored file still has its hash. Reads the whole file; in a run over many videos, only if its size or "
        "modification time has changed.",
        file_has_its_hash,
        file_is_unchanged,
    ),
    VideoCheck(
        "scenes_cover_duration",
        "scenes",
        "The scenes cover the whole duration, without gap or overlap.",
        scenes_cover_duration,
    ),
    VideoCheck("scenes_are_described", "descriptions", "Each scene has a description.", scenes_are_described),
    VideoCheck("tags_name_rules", "tags", "Each tag was given by a rule that still exists.", tags_name_rules),
)


def evaluate_failures(library: Library, stage: str) -> dg.AssetCheckEvaluation:
    """Evaluate the check of one stage over the whole library.

    Args:
        library: The library; the query uses the stage's index.
        stage: Name of the stage, also of its asset.

    Returns:
        The evaluation. Its metadata holds `failed` (number of videos) and `videos` (hash -> error message).
    """
    videos = library.collections["videos"]
    failed = {f"stages.{stage}.status": {"$in": ["failed", "quarantined"]}}
    count = library.retry(lambda: videos.count_documents(failed))
    fields = {**IDENTIFYING_FIELDS, f"stages.{stage}.error": 1}
    rows = library.retry(lambda: list(islice(videos.find(failed, fields), _MAX_LISTED))) if count else []
    metadata: dict[str, Any] = {"failed": count}
    if rows:
        messages = {}
        for row in rows:
            error = row["stages"][stage].get("error") or {}
            safe = anonymous(StageError(error.get("message", ""), error.get("hint", "")), row, library.settings)
            messages[row["_id"]] = str(safe)[:_MAX_MESSAGE_CHARS]
        metadata["videos"] = dg.MetadataValue.json(messages)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(stage),
        check_name=FAILURE_CHECK_NAME,
        passed=not count,
        description=f"{count:,} videos have failed." if count else "No video has failed.",
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=False,
    )
