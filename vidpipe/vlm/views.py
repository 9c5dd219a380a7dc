"""What prompts see of a video besides its frames: plain data, some of it written by strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SceneView:
    """One scene. start_s, end_s: seconds from the first frame.

    subtitles: what is spoken or shown in it, a line a cue
    said:      what the model said of it; "" before it was asked
    """

    index: int
    start_s: float
    end_s: float
    subtitles: Sequence[str] = ()
    said: str = ""


@dataclass(frozen=True)
class VideoView:
    """One video. title: the one in the file, "" where it has none; subtitles: of the whole video, a line a cue."""

    duration_s: float
    title: str = ""
    resolution: str = ""
    orientation: str = ""
    width: int = 0
    height: int = 0
    has_sound: bool = False
    subtitles: Sequence[str] = ()
    scenes: Sequence[SceneView] = ()
