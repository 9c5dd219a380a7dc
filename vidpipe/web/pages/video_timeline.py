"""What happens when in a video: its transcript, and the lanes of its timeline."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from vidpipe.stages.sentiment import mean_score
from vidpipe.text.messages import clock_time

#: Most spans of a lane, most labels of objects that get a lane, and most lines whose sentiment is rated for a page.
_MOST_SPANS, _MOST_LABELS, _MOST_RATED = 3000, 4, 2000
#: Detections further apart than this many times the usual distance of examined frames are different spans.
_GAP = 1.5


class Line(NamedTuple):
    """Something said or shown, from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    text: str
    language: str = ""


class Lane(NamedTuple):
    """A row of the timeline.

    Attributes:
        kind: What it shows: cuts, speech, screen, objects, faces, sentiment or hits.
        name: Its heading.
        spans: (start_s, end_s, what is there); of sentiment with a score from -1 to 1. A cut ends where it starts.
    """

    kind: str
    name: str
    spans: Sequence[tuple[Any, ...]]


def lines(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Return segments of speech, cues of subtitles or texts on screen as lines."""
    return [Line(row["start_s"], row["end_s"], row["text"], row.get("language") or "") for row in rows]


def lanes(
    found: Mapping[str, Any], spoken: Sequence[Line], shown: Sequence[Line], matches: Callable[[str, str], bool]
) -> list[Lane]:
    """Return the lanes that have anything to show.

    Args:
        found: The `view` of the video.
        spoken: What is said.
        shown: What is written on screen.
        matches: Whether a text in a language contains what is searched for.
    """
    scenes = [Line(scene["start_s"], scene["end_s"], scene["description"] or "") for scene in found["scenes"]]
    objects = found["objects"] or {}
    labels = objects.get("labels") or ()
    common = sorted(labels, key=lambda label: (not label["certain"], -label["share"]))[:_MOST_LABELS]
    things = [Lane("objects", one["label"], _seen(found, objects, partial(_certainty, one["label"]))) for one in common]
    named = [Line(start_s, end_s, lane.name, "en") for lane in things for start_s, end_s, _ in lane.spans]
    hits = [line for line in (*spoken, *shown, *scenes, *named) if matches(line.text, line.language)]
    made = [
        Lane("hits", "Hits", _spans(sorted(hits, key=lambda line: line.start_s))),
        Lane("cuts", "Cuts", [(one.start_s, one.start_s, f"scene {n}") for n, one in enumerate(scenes, 1)][1:]),
        Lane("speech", "Speech", _spans(spoken)),
        Lane("screen", "Screen text", _spans(shown)),
        *things,
        Lane("faces", "Faces", _seen(found, found["faces"] or {}, _count_faces)),
        Lane("sentiment", "Sentiment", list(_rated(found, spoken))),
    ]  # fmt: skip
    return [Lane(lane.kind, lane.name, lane.spans[:_MOST_SPANS]) for lane in made if lane.spans]


def _certainty(label: str, frame: Mapping[str, Any]) -> str:
    return next((f"{label} {one['confidence']:.0%}" for one in frame["objects"] if one["label"] == label), "")


def _count_faces(frame: Mapping[str, Any]) -> str:
    count = len(frame["faces"])
    return f"{count} face{'s'[: count != 1]}"


def _spans(lines: Iterable[Line]) -> list[tuple[float, float, str]]:
    return [(line.start_s, line.end_s, line.text[:120]) for line in lines]


def _seen(
    found: Mapping[str, Any], analysis: Mapping[str, Any], shown: Callable[[Mapping[str, Any]], str]
) -> list[tuple[float, float, str]]:
    """Return when frames show something: consecutive ones are one span, labeled as the first of them."""
    end_s = (found["scene_summary"] or {}).get("duration_s") or 0.0
    step_s = end_s / max(1, analysis.get("frames_examined") or 1)
    spans: list[tuple[float, float, str]] = []
    for frame in analysis.get("frames") or ():
        if label := shown(frame):
            time_s = frame["time_s"]
            last = spans.pop() if spans and time_s - spans[-1][1] < _GAP * step_s else (time_s, 0.0, label)
            spans.append((last[0], min(time_s + step_s, max(end_s, time_s)), last[2]))
    return spans


def _rated(found: Mapping[str, Any], spoken: Sequence[Line]) -> Iterator[tuple[float, float, str, float]]:
    """Yield the sentiment of each line, if that of the video was read from what is said."""
    if (found["sentiment"] or {}).get("read_from") in ("speech", "subtitles") and len(spoken) <= _MOST_RATED:
        for line in spoken:
            score = mean_score([line.text])
            yield line.start_s, line.end_s, f"{score:+.2f} at {clock_time(line.start_s)}", score
