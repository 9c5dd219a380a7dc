"""Where the picture is, inside black bars: letterbox, pillarbox, or both, scene by scene.

Evidence comes from the small frames. A light profile holds the number of frames that are bright enough to tell and, for
each line and each column, the share of its pixels that are not black, summed over those frames; profiles add up.
A bar is black all along, and the line beside it is lit for most of its length: so the dark edge of a picture, a
vignette, or titles on black are none. It has a partner of its width on the other side, or stays the same for scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.media.facts import ActiveArea

Profile = NDArray[np.float64]
Size = tuple[int, int]
Span = tuple[int, int]

#: Up to which value in all channels, of 255, a pixel is black: the 16 of limited range taken for full range, and noise.
_BLACK = 20
#: A frame with less of its pixels lit tells nothing.
_LEAST_LIT = 0.1
#: Lit share of a line that is empty all the same: noise, a passing light.
_EMPTY = 0.02
#: Lit share of a bar with subtitles or a logo in it.
_WRITTEN = 0.1
#: Lit share that the picture's first line has at least.
_EDGE = 0.5
#: In lines of the small frame: the thinnest bar, and how much two partners may differ.
_THINNEST, _SLACK = 2, 2
#: The least of the frame's lines that a picture takes.
_LEAST_PICTURE = 0.15
#: Scenes that have to agree on a bar without a partner.
_AGREEING = 3
#: Lines of the small frame within which an edge is looked for in larger ones.
_SEARCH = 3
#: Of a kind of bars: scenes that are looked at in larger frames; and of how many kinds.
_LOOKED_AT, _REFINED = 3, 16


class _Verdict(NamedTuple):
    """The picture's lines, from first up to last; certain: the scene alone shows it."""

    span: Span
    certain: bool
    lopsided: bool = False


def profile_length(height: int, width: int) -> int:
    return 1 + height + width


def light_profile(bgr: NDArray[np.uint8]) -> Profile:
    """The evidence of one frame: uint8, shape (height, width, 3)."""
    height, width = bgr.shape[:2]
    profile = np.zeros(profile_length(height, width))
    blue, green, red = cv2.split(bgr)
    _, lit = cv2.threshold(cv2.max(cv2.max(blue, green), red), _BLACK, 255, cv2.THRESH_BINARY)
    rows = cv2.reduce(lit, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
    if rows.mean() >= _LEAST_LIT:
        profile[0] = 1
        profile[1 : 1 + height] = rows
        profile[1 + height :] = cv2.reduce(lit, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
    return profile


class Box(NamedTuple):
    """Where the picture is in the small frames; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class ActiveAreas(NamedTuple):
    """None: the whole picture.

    video:  the smallest area that holds all scenes'
    shares: of the small frame that each scene's area takes, 0 to 1
    """

    video: ActiveArea | None
    scenes: list[ActiveArea | None]
    shares: list[float]


def active_areas(
    profiles: Sequence[Profile], frames: Callable[[int], Iterable[bytes]], small: Size, displayed: Size
) -> ActiveAreas:
    """Where the picture is in each scene, from the scenes' profiles.

    A scene too dark to tell has the smallest area that holds all others.
    frames: some larger JPEGs of a scene, in which the edges are found exactly: the small frames sample few pixels
    small, displayed: width and height of the small frames and of the video
    """
    boxes = _boxes(profiles, small)
    of_box: dict[Box, list[int]] = {}
    for scene, box in enumerate(boxes):
        of_box.setdefault(box, []).append(scene)
    areas: dict[Box, ActiveArea | None] = {}
    for place, (box, scenes) in enumerate(sorted(of_box.items(), key=lambda entry: -len(entry[1]))):
        # where bars differ from scene to scene without end, the rest is placed by the small frames alone
        jpegs = [jpeg for scene in scenes[:_LOOKED_AT] for jpeg in frames(scene)] if place < _REFINED else []
        areas[box] = None if box == (0, 0, *small) else _area(box, small, displayed, jpegs)
    found = [areas[box] for box in boxes]
    shares = [(box.right - box.left) * (box.bottom - box.top) / (small[0] * small[1]) for box in boxes]
    return ActiveAreas(_joined(found, displayed), found, shares)


def _boxes(profiles: Sequence[Profile], small: Size) -> list[Box]:
    width, height = small
    rows: list[Profile | None] = []
    columns: list[Profile | None] = []
    for profile in profiles:
        mean = profile[1:] / max(1.0, float(profile[0]))
        rows.append(_relative(mean[:height], mean[height:]) if profile[0] else None)
        columns.append(_relative(mean[height:], mean[:height]) if profile[0] else None)
    return [
        Box(left, top, right, bottom)
        for (left, right), (top, bottom) in zip(_spans(columns, width), _spans(rows, height), strict=True)
    ]


def _area(box: Box, small: Size, displayed: Size, jpegs: Iterable[bytes]) -> ActiveArea:
    width, height = small
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in jpegs]
    rows = [picture for picture in pictures if picture is not None]
    columns = [picture.T for picture in rows]
    left, right = (round(edge * displayed[0]) for edge in _edges((box.left / width, box.right / width), width, columns))
    top, bottom = (round(edge * displayed[1]) for edge in _edges((box.top / height, box.bottom / height), height, rows))
    return ActiveArea(x=left, y=top, width=max(1, right - left), height=max(1, bottom - top))


def _joined(areas: Sequence[ActiveArea | None], displayed: Size) -> ActiveArea | None:
    known = [area for area in areas if area]
    if not known or len(known) < len(areas):
        return None
    left, top = min(area.x for area in known), min(area.y for area in known)
    width = max(area.x + area.width for area in known) - left
    height = max(area.y + area.height for area in known) - top
    return None if (width, height) == displayed else ActiveArea(x=left, y=top, width=width, height=height)


def _edges(span: tuple[float, float], count: int, pictures: Sequence[cv2.typing.MatLike]) -> tuple[float, float]:
    """The picture's first and last edge as shares of the side, outermost in any of the larger pictures."""
    first, last = span
    if first > 0:
        found = [_edge(lines, first, count) for lines in pictures]
        first = min((edge for edge in found if edge is not None), default=first)
    if last < 1:
        found = [_edge(lines[::-1], 1 - last, count) for lines in pictures]
        last = max((1 - edge for edge in found if edge is not None), default=last)
    return first, last


def _edge(lines: cv2.typing.MatLike, near: float, count: int) -> float | None:
    """Where the first lit line is; one that lies across the edge counts by its light beside the next ones'."""
    start, end = (max(0, round((near + turn * _SEARCH / count) * len(lines))) for turn in (-1, 1))
    across = max(1, np.count_nonzero((lines > _BLACK).mean(axis=0) > _EMPTY))
    lit = np.flatnonzero(np.count_nonzero(lines[start:end] > _BLACK, axis=1) >= _EDGE * across)
    if not len(lit) or start + lit[0] + 3 > len(lines):
        return None
    first = start + int(lit[0])
    light = lines[first : first + 3].mean(axis=1)
    return float(first + 1 - min(1.0, light[0] / max(1.0, light[1:].mean()))) / len(lines)


def _relative(lines: Profile, across: Profile) -> Profile:
    """Lit shares of lines, of the length that is not empty everywhere."""
    return np.asarray(lines * len(across) / max(1, int(np.count_nonzero(across > _EMPTY))), np.float64)


def _spans(scenes: Sequence[Profile | None], count: int) -> list[Span]:
    """The picture's lines in one direction, in each scene. None: a scene too dark to tell."""
    verdicts = [None if lines is None else _verdict(lines) for lines in scenes]
    lopsided = [verdict.span for verdict in verdicts if verdict and verdict.lopsided]
    agreed = len(lopsided) >= _AGREEING and bool(np.ptp(lopsided, axis=0).max() <= 1)
    certain = [verdict.span for verdict in verdicts if verdict and (verdict.certain or (verdict.lopsided and agreed))]
    likely = _union(certain, count)
    found: list[Span | None] = []
    for lines, verdict in zip(scenes, verdicts, strict=True):
        if lines is None or verdict is None:
            found.append(None)
        elif verdict.certain or (verdict.lopsided and agreed):
            near = np.abs(np.subtract(verdict.span, likely)) <= 1
            found.append((likely[0] if near[0] else verdict.span[0], likely[1] if near[1] else verdict.span[1]))
        else:
            found.append(likely if _is_bar(lines[: likely[0]]) and _is_bar(lines[likely[1] :]) else (0, count))
    video = _union([span for span in found if span], count)
    return [span or video for span in found]


def _union(spans: Sequence[Span], count: int) -> Span:
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else (0, count)


def _verdict(lines: Profile) -> _Verdict:
    count = len(lines)
    lit = np.flatnonzero(lines > _EMPTY)
    if not len(lit):
        return _Verdict((0, count), certain=False)
    before, after = int(lit[0]), count - 1 - int(lit[-1])
    if max(before, after) < _THINNEST:
        return _Verdict((0, count), certain=True)
    wide = max(before, after)
    lopsided = abs(before - after) > _SLACK
    if lopsided and _is_bar(lines[:wide]) and _is_bar(lines[count - wide :]) and _has_edges(lines, wide, wide):
        before, after, lopsided = wide, wide, False
    edges = _has_edges(lines, before, after)
    return _Verdict((before, count - after), edges and not lopsided, edges and lopsided)


def _has_edges(lines: Profile, before: int, after: int) -> bool:
    """Whether the picture between two bars has straight edges, where there is a bar."""
    inside = lines[before : len(lines) - after]
    if len(inside) < max(2, _LEAST_PICTURE * len(lines)):
        return False
    return all(edge.max() >= _EDGE for bar, edge in ((before, inside[:2]), (after, inside[-2:])) if bar)


def _is_bar(lines: Profile) -> bool:
    return not len(lines) or float(lines.mean()) <= _WRITTEN
