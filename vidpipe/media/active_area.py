"""Where the picture is, inside black bars: letterbox, pillarbox, or both, scene by scene.

Evidence comes from the small frames. A light profile holds the number of frames that are bright enough to tell and, for
each row and then each column, the share of its pixels that are not black and its mean light, summed over those frames;
profiles add up. A bar is black all along, and the line beside it is lit at once and for much of its length: the dark
edge of a picture, a vignette, titles on black, and a slide's black ground are not bars. A bar has a partner of its
width on the opposite side, or stays the same for several scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.media.facts import ActiveArea

Profile = NDArray[np.float64]
#: Shape (2, count): lit share and light, 0 to 1, of each row or of each column. Light: the brightest channel, so that
#: blue counts as lit.
Lines = NDArray[np.float64]
Size = tuple[int, int]
Span = tuple[int, int]

#: Up to which value in all channels, of 255, a pixel is black: the 16 of limited range taken for full range, and noise.
_BLACK = 20
#: A frame with less of its pixels lit is no evidence.
_LEAST_LIT = 0.1
#: Lit share of a line that is empty all the same: noise, a passing light.
_EMPTY = 0.02
#: Lit share of a bar with subtitles or a logo in it.
_WRITTEN = 0.1
#: What the first lines of a picture have at least: light beside the whole picture's, and lit share. Less of that is
#: enough where there is something to be seen from end to end across, as there is not around titles.
_STEP, _EDGE, _EDGE_ACROSS = 0.4, 0.5, 0.15
#: In lines of the small frame: the thinnest bar, and how much two partners may differ (fast scaling shifts columns).
_THINNEST, _SLACK = 2, 3
#: The least share of the frame that a picture takes.
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
    return 1 + 2 * (height + width)


def light_profile(bgr: NDArray[np.uint8]) -> Profile:
    """The evidence of one frame: uint8, shape (height, width, 3)."""
    blue, green, red = cv2.split(bgr)
    light = cv2.max(cv2.max(blue, green), red)
    _, lit = cv2.threshold(light, _BLACK, 255, cv2.THRESH_BINARY)
    means = [
        cv2.reduce(plane, dimension, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
        for plane in (lit, light)
        for dimension in (1, 0)
    ]
    if means[0].mean() < _LEAST_LIT:
        return np.zeros(profile_length(*bgr.shape[:2]))
    return np.concatenate([[1.0], *means])


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
    bars:   light of the bars, 0 to 1
    """

    video: ActiveArea | None
    scenes: list[ActiveArea | None]
    shares: list[float]
    bars: float


def active_areas(
    profiles: Sequence[Profile], frames: Callable[[int], Iterable[bytes]], small: Size, displayed: Size
) -> ActiveAreas:
    """Where the picture is in each scene, from the scenes' profiles.

    A scene too dark to tell has the smallest area that holds all others.
    frames: some larger JPEGs of a scene, in which the edges are found exactly: the small frames sample few pixels
    small, displayed: width and height of the small frames and of the video
    """
    width, height = small
    rows = [_lines(profile, slice(0, height)) for profile in profiles]
    columns = [_lines(profile, slice(height, height + width)) for profile in profiles]
    boxes = [
        Box(left, top, right, bottom)
        for (left, right), (top, bottom) in zip(
            _spans([_direction(*pair) for pair in zip(columns, rows, strict=True)], width),
            _spans([_direction(*pair) for pair in zip(rows, columns, strict=True)], height),
            strict=True,
        )
    ]
    of_box: dict[Box, list[int]] = {}
    for scene, box in enumerate(boxes):
        of_box.setdefault(box, []).append(scene)
    areas: dict[Box, ActiveArea | None] = {}
    for place, box in enumerate(sorted(of_box, key=lambda box: len(of_box[box]), reverse=True)):
        # where bars differ from scene to scene without end, the rest is placed by the small frames alone
        jpegs = [jpeg for scene in of_box[box][:_LOOKED_AT] for jpeg in frames(scene)] if place < _REFINED else []
        areas[box] = None if box == (0, 0, *small) else _area(box, small, displayed, jpegs)
    found = [areas[box] for box in boxes]
    shares = [(box.right - box.left) * (box.bottom - box.top) / (small[0] * small[1]) for box in boxes]
    outside = [
        light
        for box, high, wide in zip(boxes, rows, columns, strict=True)
        if high is not None and wide is not None
        for light in (*high[1, : box.top], *high[1, box.bottom :], *wide[1, : box.left], *wide[1, box.right :])
    ]
    return ActiveAreas(_joined(found, displayed), found, shares, float(np.mean(outside)) if outside else 0.0)


def _lines(profile: Profile, part: slice) -> Lines | None:
    """A scene's rows or columns; None where it was too dark to tell."""
    return (profile[1:].reshape(2, -1) / profile[0])[:, part] if profile[0] else None


class _Direction(NamedTuple):
    """A scene's rows or columns, with what is known of the other direction.

    lines:  shares are of the length that is not empty everywhere
    filled: the share of the frame's length that is not empty everywhere, 0 to 1
    whole:  all of it, so that writing in a bar can be told from the picture
    split:  not whole, and one of the directions has a gap: several things lie on black
    """

    lines: Lines
    filled: float
    whole: bool
    split: bool


def _direction(lines: Lines | None, across: Lines | None) -> _Direction | None:
    if lines is None or across is None:
        return None
    lit = np.flatnonzero(across[0] > _EMPTY)
    filled, whole = max(1, len(lit)) / across.shape[1], len(lit) > across.shape[1] - _THINNEST
    split = not whole and (_has_gap(lit) or _has_gap(np.flatnonzero(lines[0] > _EMPTY)))
    return _Direction(lines / filled, filled, whole, split)


def _has_gap(lit: NDArray[np.intp]) -> bool:
    return len(lit) > 1 and int(np.diff(lit).max()) > _THINNEST


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
    """Where the lines are lit from; one that lies across the edge counts by its light beside the next ones'.

    Writing close to the edge does not count, as there are black lines between it and the picture.
    """
    height: int = lines.shape[0]
    start, end = (max(0, round((near + aside / count) * height)) for aside in (-_SEARCH, _SEARCH))
    lit_across = np.asarray(lines > _BLACK).mean(axis=0)
    across = max(1, int(np.count_nonzero(lit_across > _EMPTY)))
    black = np.flatnonzero(np.count_nonzero(lines[start:end] > _BLACK, axis=1) < _EDGE_ACROSS * across)
    first = start + int(black[-1]) + 1 if len(black) else start
    if first >= min(end, height - 2):
        return None
    light = lines[first : first + 3].mean(axis=1)
    return float(first + 1 - min(1.0, light[0] / max(1.0, light[1:].mean()))) / height


def _spans(scenes: Sequence[_Direction | None], count: int) -> list[Span]:
    """The picture's lines in one direction, in each scene. None: a scene too dark to tell."""
    verdicts = [None if scene is None else _verdict(scene) for scene in scenes]
    lopsided = [verdict.span for verdict in verdicts if verdict and verdict.lopsided]
    agreed = len(lopsided) >= _AGREEING and bool(np.ptp(lopsided, axis=0).max() <= 1)
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
    if max(before, after) < _THINNEST:
        return _Verdict((0, count), certain=True)
    if scene.whole and before > after + _SLACK:
        after = _written_bar(share[::-1], before) or after
    elif scene.whole and after > before + _SLACK:
        before = _written_bar(share, after) or before
    lopsided = abs(before - after) > _SLACK
    edges = _has_edges(scene, before, after)
    return _Verdict((before, count - after), edges and not lopsided, edges and lopsided)


def _written_bar(share: NDArray[np.float64], partner: int) -> int | None:
    """The width of a bar at the beginning that has writing in it and a partner this wide; None where it has not."""
    first = max(0, partner - _SLACK)
    black = np.flatnonzero(share[first : partner + _SLACK + 1] <= _WRITTEN)
    width = first + int(black[-1]) + 1 if len(black) else 0
    return width if width and _is_bar(share[:width]) else None


def _has_edges(scene: _Direction, before: int, after: int) -> bool:
    """Whether the picture between two bars begins at once, where there is a bar."""
    count = scene.lines.shape[1]
    inside = scene.lines[:, before : count - after]
    if scene.split or inside.shape[1] < max(2, _LEAST_PICTURE * count / scene.filled):
        return False
    least = np.array([_EDGE_ACROSS if scene.whole else _EDGE, _STEP * inside[1].mean()])
    edges = [lit for bar, lit in ((before, inside[:, :2]), (after, inside[:, -2:])) if bar]
    return all(bool((lit.max(axis=1) >= least).all()) for lit in edges)


def _is_bar(shares: NDArray[np.float64]) -> bool:
    return not len(shares) or bool(shares.mean() <= _WRITTEN)
