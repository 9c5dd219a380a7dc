"""Which parts of videos become clips: scenes, parts of equal length, moments, times of a table, or a summary."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import SettingsError, readable
from vidpipe.library.videos import NoSuchVideo
from vidpipe.media.facts import ActiveArea
from vidpipe.safe_files import open_regular
from vidpipe.sources.lists import parse_time

Remainder = Literal["keep", "drop", "merge"]

#: Shorter scenes are not understood in a summary; of longer ones, the middle is shown.
_SHORTEST_S, _LONGEST_S = 1.0, 6.0
#: Darker or less contrasted scenes show little.
_DARK, _FLAT = 0.08, 0.04
#: What scenes are compared by, and how much a difference of 1 counts.
_FEATURES = {"brightness": 1.0, "saturation": 1.0, "contrast": 1.0, "motion": 5.0}
#: How much the distance in time to the other scenes counts, as a share of the video.
_TIME_WEIGHT = 1.0
_MOST_BYTES, _MOST_ROWS = 64 << 20, 1_000_000
#: A match without a length is shown for this long.
_MOMENT_S = 1.0


@dataclass(frozen=True, order=True)
class ClipRange:
    """A part of a video.

    Attributes:
        start_s: Start, in seconds.
        end_s: End.
        label: What it shows, if that is known.
        name: Name of the file that the user asked for.
        scene: Number of the scene.
    """

    start_s: float
    end_s: float
    label: str = ""
    name: str = ""
    scene: int | None = None


def by_scene(scenes: Sequence[Mapping[str, Any]]) -> list[ClipRange]:
    """Return the scenes."""
    return [ClipRange(one["start_s"], one["end_s"], scene=one["index"]) for one in scenes]


def by_length(duration_s: float, length_s: float, overlap_s: float, remainder: Remainder) -> list[ClipRange]:
    """Return parts of equal length.

    Args:
        duration_s: Duration of the video.
        length_s: Length of a part.
        overlap_s: What a part has in common with the next one.
        remainder: What happens to the rest at the end that is shorter: it becomes a part, none, or joins the last one.
    """
    step_s, rounding_s = length_s - overlap_s, 1e-6
    count = max(0, math.floor((duration_s - length_s) / step_s + rounding_s) + 1)
    found = [ClipRange(round(n * step_s, 6), round(n * step_s + length_s, 6)) for n in range(count)]
    end_s = found[-1].end_s if found else 0.0
    if duration_s - end_s > rounding_s and remainder != "drop":
        if remainder == "merge" and found:
            found[-1] = ClipRange(found[-1].start_s, duration_s)
        else:
            found.append(ClipRange(round(count * step_s, 6), duration_s))
    return found


def by_moments(hits: Iterable[Mapping[str, Any]], label: str) -> dict[str, list[ClipRange]]:
    """Return video -> the moments that a search found, in order of time; those that overlap become one."""
    found: dict[str, list[ClipRange]] = {}
    spans = sorted((hit["video"], hit["start_s"], hit["end_s"] or 0.0) for hit in hits if hit["start_s"] is not None)
    for video, start_s, stated_s in spans:
        end_s = stated_s if stated_s > start_s else start_s + _MOMENT_S
        those = found.setdefault(video, [])
        if those and start_s < those[-1].end_s:
            those[-1] = ClipRange(those[-1].start_s, max(end_s, those[-1].end_s), label)
        else:
            those.append(ClipRange(start_s, end_s, label))
    return found


def by_tag(scene_tags: Iterable[Mapping[str, Any]], tag: str | None, rule: str | None) -> list[ClipRange]:
    """Return the times of the scenes that have a tag, or that a rule gave one to."""
    return sorted(
        ClipRange(start_s, end_s, one["tag"])
        for one in scene_tags
        if (tag is None or one["tag"].casefold() == tag.casefold()) and rule in (None, one["rule"])
        for start_s, end_s in one["spans"]
    )


def by_table(path: Path, resolve: Callable[[str], str]) -> dict[str, list[ClipRange]]:
    """Return video -> its parts, as a CSV file lists them: video,start,end and perhaps label and name.

    Args:
        path: The file.
        resolve: Returns the sha256 of a video by what the table calls it.

    Raises:
        SettingsError: The file cannot be read, or a row is wrong.
    """
    shown = readable(str(path))
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SettingsError(f"{shown} is larger than {_MOST_BYTES >> 20} MiB.", "Divide it.")
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig")), strict=True, skipinitialspace=True)
    except OSError as error:
        raise SettingsError(f"{shown} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{shown} is not UTF-8 text: invalid byte at position {error.start}.") from None
    try:
        columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        if not {"video", "start", "end"} <= columns.keys():
            raise SettingsError(f"{shown} lacks a column.", "Its first line names the columns video, start and end.")
        found: dict[str, list[ClipRange]] = {}
        known: dict[str, str] = {}
        for row in rows:
            cell = {name: (row[column] or "").strip() for name, column in columns.items()}
            video = known.get(cell["video"]) or known.setdefault(cell["video"], resolve(cell["video"]))
            start_s, end_s = parse_time(cell["start"]), parse_time(cell["end"])
            if end_s <= start_s or rows.line_num > _MOST_ROWS:
                raise ValueError("the end is not after the start" if end_s <= start_s else "too many rows")
            found.setdefault(video, []).append(ClipRange(start_s, end_s, cell.get("label", ""), cell.get("name", "")))
    except (csv.Error, ValueError, NoSuchVideo) as error:
        what = error.message if isinstance(error, NoSuchVideo) else f"{error}."
        raise SettingsError(f"{shown}, line {rows.line_num}: {what}", "docs/datasets.md shows such a file.") from error
    return found


def summary(scenes: Sequence[Mapping[str, Any]], length_s: float) -> list[ClipRange]:
    """Return scenes that together show a video in `length_s`, in order of time.

    One after another, the scene is taken that differs most from those already taken, by brightness, saturation,
    contrast, motion and time; the first is the one that moves most. Dark, flat and very short scenes are left out
    unless there are no others. Of long scenes the middle is taken, at most six seconds.
    """
    duration_s = max((one["end_s"] for one in scenes), default=0.0)
    if duration_s <= length_s:
        return [ClipRange(0.0, duration_s)] if scenes else []

    def features(one: Mapping[str, Any]) -> list[float]:
        measured = [one["stats"][name] * weight for name, weight in _FEATURES.items()]
        return [*measured, _TIME_WEIGHT * (one["start_s"] + one["end_s"]) / 2 / duration_s]

    def shows_something(one: Mapping[str, Any]) -> bool:
        bright = one["stats"]["brightness"] > _DARK and one["stats"]["contrast"] > _FLAT
        return bool(bright and one["end_s"] - one["start_s"] >= _SHORTEST_S)

    left = {one["index"]: one for one in list(filter(shows_something, scenes)) or scenes}
    places = {index: features(one) for index, one in left.items()}
    taken: list[ClipRange] = []
    chosen: list[int] = []
    free_s = length_s
    while left and free_s >= min(_SHORTEST_S, length_s):
        index = max(left, key=lambda index: (
            min((math.dist(places[index], places[other]) for other in chosen), default=left[index]["stats"]["motion"]),
            -index,
        ))  # fmt: skip
        one = left.pop(index)
        shown_s = min(one["end_s"] - one["start_s"], _LONGEST_S, free_s)
        start_s = one["start_s"] + (one["end_s"] - one["start_s"] - shown_s) / 2
        taken.append(ClipRange(round(start_s, 6), round(start_s + shown_s, 6), scene=index))
        chosen.append(index)
        free_s -= shown_s
    return sorted(taken)


def area_of(scenes: Iterable[Mapping[str, Any]], start_s: float, end_s: float) -> ActiveArea | None:
    """Return the smallest area that shows all that is inside black bars between two times; None: the whole picture."""
    areas = [one.get("active_area") for one in scenes if one["start_s"] < end_s and one["end_s"] > start_s]
    if not areas or None in areas:
        return None
    found = [ActiveArea(**area) for area in areas if area]
    x, y = min(area.x for area in found), min(area.y for area in found)
    right, bottom = max(area.x + area.width for area in found), max(area.y + area.height for area in found)
    return ActiveArea(x=x, y=y, width=right - x, height=bottom - y)
