"""The user's functions of with_pixeltable.py: Pixeltable accepts none that the script itself defines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pixeltable as pxt
from plain_script import make_thumbnails, tags


def _spans(scenes: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(scene["start_time"], scene["start_time"] + scene["duration"]) for scene in scenes]


@pxt.udf
def thumbnails(video: pxt.Video, scenes: pxt.Json, out: pxt.String) -> pxt.Int:
    """Make a thumbnail of each scene; their number."""
    target = Path(out) / Path(video).stem
    target.mkdir(parents=True)
    make_thumbnails(Path(video), _spans(scenes), target)
    return len(scenes)


@pxt.udf
def tag(metadata: pxt.Json, scenes: pxt.Json) -> pxt.Json:
    stream = next(stream for stream in metadata["streams"] if stream["type"] == "video")
    return tags(stream, _spans(scenes), max((end_s for _, end_s in _spans(scenes)), default=1.0))
