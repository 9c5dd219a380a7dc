"""Finds the active area of each scene, inside black bars: letterbox, pillarbox, or both.

The evidence comes from the small frames. A light profile holds the number of frames that are bright enough and, for
each row and then each column, the share of its pixels that are not black and its mean light, summed over those frames,
so that profiles can be added. A bar is black over its whole length, and the line next to it is lit for much of its
length: the dark edge of a picture, a vignette, titles on black, and a slide's black background are not bars. A bar has
a partner of the same width on the opposite side, or stays the same for several scenes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.media.facts import ActiveArea

Profile = NDArray[np.float64]
#: Lit share and light, 0 to 1, of each row or of each column; shape (2, count). Light is the brightest channel, so that
#: blue counts as lit.
Lines = NDArray[np.float64]
Size = tuple[int, int]
Span = tuple[int, int]

#: A pixel is black if no channel exceeds this value (0 to 255): black of limited range read as full range, plus noise.
_BLACK = 20
#: Minimum lit share of a frame that counts as evidence.
_MIN_LIT = 0.1
#: Maximum lit share of an empty line, due to noise or a passing light.
_EMPTY = 0.02
#: Maximum lit share of a bar with subtitles or a logo in it.
_MAX_BAR_LIT = 0.1
#: Minimum light of a picture's first lines relative to the whole picture, and their minimum lit share. A smaller share
#: is enough if the picture extends from end to end across, unlike titles.
_MIN_EDGE_LIGHT, _MIN_EDGE_LIT, _MIN_EDGE_LIT_ACROSS = 0.4, 0.5, 0.15
#: In lines of the small frame: the thinnest bar, and the tolerance between partners (fast scaling shifts columns).
_MIN_BAR, _TOLERANCE = 2, 3
#: Minimum share of the frame that a picture covers.
_MIN_PICTURE = 0.15
#: Number of scenes that have to agree on a bar without a partner.
_MIN_AGREEING_SCENES = 3
#: Distance within which an edge is searched for in larger frames, in lines of the small frame.
_SEARCH_LINES = 3
#: Number of different areas that are refined with larger frames, and of scenes used for each.
_MAX_REFINED_AREAS, _MAX_REFINING_SCENES = 16, 3


class _Verdict(NamedTuple):
    """What a scene reveals in one direction.

    Attributes:
        span: First line of the picture, and first line after it.
        certain: Whether the scene alone is sufficient evidence.
        lopsided: Whether the bars have different widths.
    """

    span: Span
    certain: bool
    lopsided: bool = False


def profile_length(height: int, width: int) -> int:
    """Return the length of the light profile of frames of this size."""
    return 1 + 2 * (height + width)


def light_profile(bgr: NDArray[np.uint8]) -> Profile:
    """Return the light profile of a frame.

    Args:
        bgr: Pixels, uint8, shape (height, width, 3).

    Returns:
        Shape (profile_length(height, width),); zeros if the frame is too dark.
    """
    blue, green, red = cv2.split(bgr)
    light = cv2.max(cv2.max(blue, green), red)
    _, lit = cv2.threshold(light, _BLACK, 255, cv2.THRESH_BINARY)
    means = [
        cv2.reduce(plane, dimension, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
        for plane in (lit, light)
        for dimension in (1, 0)
    ]
    if means[0].mean() < _MIN_LIT:
        return np.zeros(profile_length(*bgr.shape[:2]))
    return np.concatenate([[1.0], *means])


class AreaBox(NamedTuple):
    """The active area in lines of the small frames; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class ActiveAreas(NamedTuple):
    """Active areas of a video; None stands for the whole picture.

    Attributes:
        video: The smallest area that contains those of all scenes.
        scenes: The area of each scene.
        shares: Share of the small frame that each scene's area covers, 0 to 1.
        bars: Mean light of the bars, 0 to 1.
    """

    video: ActiveArea | None
    scenes: list[ActiveArea | None]
    shares: list[float]
    bars: float


def active_areas(
    profiles: Sequence[Profile], frames: Callable[[int], Iterable[bytes]], small: Size, displayed: Size
) -> ActiveAreas:
    """Find the active area of each scene.

    A scene that is too dark gets the smallest area that contains all others.

    Args:
        profiles: The light profile of each scene.
        frames: Returns some larger JPEGs of a scene, in which edges are located exactly; small frames have few pixels.
        small: Width and height of the small frames, in pixels.
        displayed: Displayed width and height of the video, in pixels.
    """
    width, height = small
    rows = [_lines(profile, slice(0, height)) for profile in profiles]
    columns = [_lines(profile, slice(height, height + width)) for profile in profiles]
    x_spans = _spans([_direction(*pair) for pair in zip(columns, rows, strict=True)], width)
    y_spans = _spans([_direction(*pair) for pair in zip(rows, columns, strict=True)], height)
    boxes = [AreaBox(left, top, right, bottom) for (left, right), (top, bottom) in zip(x_spans, y_spans, strict=True)]
    scenes_by_box: dict[AreaBox, list[int]] = {}
    for scene, box in enumerate(boxes):
        scenes_by_box.setdefault(box, []).append(scene)
    areas: dict[AreaBox, ActiveArea | None] = {}
    for rank, box in enumerate(sorted(scenes_by_box, key=lambda box: len(scenes_by_box[box]), reverse=True)):
        # if bars differ from scene to scene without end, the small frames have to do for the rest
        refining = scenes_by_box[box][:_MAX_REFINING_SCENES] if rank < _MAX_REFINED_AREAS else []
        jpegs = [jpeg for scene in refining for jpeg in frames(scene)]
        areas[box] = None if box == (0, 0, *small) else _area(box, small, displayed, jpegs)
    found = [areas[box] for box in boxes]
    shares = [(box.right - box.left) * (box.bottom - box.top) / (small[0] * small[1]) for box in boxes]
    outside = [
        light
        for box, high, wide in zip(boxes, rows, columns, strict=True)
        if high is not None and wide is not None
        for light in (*high[1, : box.top], *high[1, box.bottom :], *wide[1, : box.left], *wide[1, box.right :])
    ]
    return ActiveAreas(_union_area(found, displayed), found, shares, float(np.mean(outside)) if outside else 0.0)


def _lines(profile: Profile, part: slice) -> Lines | None:
    """Return the rows or columns of a scene; None if it is too dark."""
    return (profile[1:].reshape(2, -1) / profile[0])[:, part] if profile[0] else None


class _Direction(NamedTuple):
    """The rows or columns of a scene, with facts about the other direction.

    Attributes:
        lines: Lit share and light of each line, relative to the length that is not empty everywhere.
        filled: Share of the frame's length that is not empty everywhere, 0 to 1.
        whole: Whether that is the whole length, so that text in a bar can be distinguished from the picture.
        split: Whether it is not, and one of the directions has a gap: several objects lie on black.
    """

    lines: Lines
    filled: float
    whole: bool
    split: bool


def _direction(lines: Lines | None, across: Lines | None) -> _Direction | None:
    if lines is None or across is None:
        return None
    lit = np.flatnonzero(across[0] > _EMPTY)
    filled, whole = max(1, len(lit)) / across.shape[1], len(lit) > across.shape[1] - _MIN_BAR
    split = not whole and (_has_gap(lit) or _has_gap(np.flatnonzero(lines[0] > _EMPTY)))
    return _Direction(lines / filled, filled, whole, split)


def _has_gap(lit: NDArray[np.intp]) -> bool:
    return len(lit) > 1 and int(np.diff(lit).max()) > _MIN_BAR


def _area(box: AreaBox, small: Size, displayed: Size, jpegs: Iterable[bytes]) -> ActiveArea:
    width, height = small
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in jpegs]
    rows = [picture for picture in pictures if picture is not None]
    columns = [picture.T for picture in rows]
    left, right = (round(edge * displayed[0]) for edge in _edges((box.left / width, box.right / width), width, columns))
    top, bottom = (round(edge * displayed[1]) for edge in _edges((box.top / height, box.bottom / height), height, rows))
    return ActiveArea(x=left, y=top, width=max(1, right - left), height=max(1, bottom - top))


def _union_area(areas: Sequence[ActiveArea | None], displayed: Size) -> ActiveArea | None:
    known = [area for area in areas if area]
    if not known or len(known) < len(areas):
        return None
    left, top = min(area.x for area in known), min(area.y for area in known)
    width = max(area.x + area.width for area in known) - left
    height = max(area.y + area.height for area in known) - top
    return None if (width, height) == displayed else ActiveArea(x=left, y=top, width=width, height=height)


def _edges(span: tuple[float, float], count: int, pictures: Sequence[cv2.typing.MatLike]) -> tuple[float, float]:
    """Return the outermost edges in any of the larger pictures, as shares of the side."""
    first, last = span
    if first > 0:
        found = [_edge(lines, first, count) for lines in pictures]
        first = min((edge for edge in found if edge is not None), default=first)
    if last < 1:
        found = [_edge(lines[::-1], 1 - last, count) for lines in pictures]
        last = max((1 - edge for edge in found if edge is not None), default=last)
    return first, last


def _edge(lines: cv2.typing.MatLike, near: float, count: int) -> float | None:
    """Return the share of the side at which lines begin to be lit, or None.

    A line across the edge counts in proportion to its light compared with the next lines. Text close to the edge does
    not count, because black lines separate it from the picture.
    """
    height: int = lines.shape[0]
    start, end = (max(0, round((near + aside / count) * height)) for aside in (-_SEARCH_LINES, _SEARCH_LINES))
    lit_across = np.asarray(lines > _BLACK).mean(axis=0)
    across = max(1, int(np.count_nonzero(lit_across > _EMPTY)))
    black = np.flatnonzero(np.count_nonzero(lines[start:end] > _BLACK, axis=1) < _MIN_EDGE_LIT_ACROSS * across)
    first = start + int(black[-1]) + 1 if len(black) else start
    if first >= min(end, height - 2):
        return None
    light = lines[first : first + 3].mean(axis=1)
    return float(first + 1 - min(1.0, light[0] / max(1.0, light[1:].mean()))) / height


def _spans(scenes: Sequence[_Direction | None], count: int) -> list[Span]:
    """Return the picture's first line and the first line after it, in one direction, for each scene."""
    verdicts = [None if scene is None else _verdict(scene) for scene in scenes]
    lopsided = [verdict.span for verdict in verdicts if verdict and verdict.lopsided]
    agreed = len(lopsided) >= _MIN_AGREEING_SCENES and bool(np.ptp(lopsided, axis=0).max() <= 1)
    certain = [verdict.span for verdict in verdicts if verdict and (verdict.certain or (verdict.lopsided and agreed))]
    likely = _union(certain, count)
    found: list[Span | None] = []
    for scene, verdict in zip(scenes, verdicts, strict=True):
        if scene is None or verdict is None:
            found.append(None)
        elif verdict.certain or (verdict.lopsided and agreed):
            near = np.abs(np.subtract(verdict.span, likely)) <= 1
            found.append((likely[0] if near[0] else verdict.span[0], likely[1] if near[1] else verdict.span[1]))
        else:
            share = scene.lines[0]
            found.append(likely if _is_bar(share[: likely[0]]) and _is_bar(share[likely[1] :]) else (0, count))
    video = _union([span for span in found if span], count)
    return [span or video for span in found]


def _union(spans: Sequence[Span], count: int) -> Span:
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else (0, count)


def _verdict(scene: _Direction) -> _Verdict:
    share = scene.lines[0]
    count = len(share)
    lit = np.flatnonzero(share > _EMPTY)
    if not len(lit):
        return _Verdict((0, count), certain=False)
    before, after = int(lit[0]), count - 1 - int(lit[-1])
    if max(before, after) < _MIN_BAR:
        return _Verdict((0, count), certain=True)
    if scene.whole and before > after + _TOLERANCE:
        after = _bar_with_text(share[::-1], before) or after
    elif scene.whole and after > before + _TOLERANCE:
        before = _bar_with_text(share, after) or before
    lopsided = abs(before - after) > _TOLERANCE
    edges = _has_edges(scene, before, after)
    return _Verdict((before, count - after), edges and not lopsided, edges and lopsided)


def _bar_with_text(share: NDArray[np.float64], partner: int) -> int | None:
    """Return the width of a bar at the beginning with text in it and a partner of this width; None if there is none."""
    first = max(0, partner - _TOLERANCE)
    black = np.flatnonzero(share[first : partner + _TOLERANCE + 1] <= _MAX_BAR_LIT)
    width = first + int(black[-1]) + 1 if len(black) else 0
    return width if width and _is_bar(share[:width]) else None


def _has_edges(scene: _Direction, before: int, after: int) -> bool:
    """Return whether the picture is lit directly next to each bar."""
    count = scene.lines.shape[1]
    inside = scene.lines[:, before : count - after]
    if scene.split or inside.shape[1] < max(2, _MIN_PICTURE * count / scene.filled):
        return False
    minimum = np.array([_MIN_EDGE_LIT_ACROSS if scene.whole else _MIN_EDGE_LIT, _MIN_EDGE_LIGHT * inside[1].mean()])
    edges = [lit for bar, lit in ((before, inside[:, :2]), (after, inside[:, -2:])) if bar]
    return all(bool((lit.max(axis=1) >= minimum).all()) for lit in edges)


def _is_bar(shares: NDArray[np.float64]) -> bool:
    return not len(shares) or bool(shares.mean() <= _MAX_BAR_LIT)
