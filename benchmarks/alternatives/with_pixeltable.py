"""The work with Pixeltable: `python with_pixeltable.py FOLDER OUT`, in an environment with pixeltable and scenedetect.

Pixeltable reads the metadata, finds scenes (with PySceneDetect), samples frames at 1 fps, and keeps all of it in its
PostgreSQL. Thumbnails and tags are made as in the plain script. Left out: checking files, sound, statistics,
descriptions, sentiment, categories, versions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pixeltable as pxt
from pixeltable.functions.video import frame_iterator
from pixeltable_functions import tag, thumbnails

MIN_SCENE_FRAMES = 15


def main(folder: Path, out: Path) -> None:
    table = pxt.create_table("videos", {"video": pxt.Video}, if_exists="replace_force")
    table.add_computed_column(metadata=table.video.get_metadata())
    found = table.video.scene_detect_adaptive(adaptive_threshold=3.5, min_scene_len=MIN_SCENE_FRAMES, window_width=3)
    table.add_computed_column(scenes=found)
    table.add_computed_column(thumbnails=thumbnails(table.video, table.scenes, str(out)))
    table.add_computed_column(tags=tag(table.metadata, table.scenes))
    frames = pxt.create_view("frames", table, iterator=frame_iterator(table.video, fps=1))
    frames.add_computed_column(small=frames.frame.resize((504, 280)))
    table.insert([{"video": str(video)} for video in sorted(folder.iterdir())])
    rows = table.select(table.thumbnails).collect()
    print(f"{len(rows)} videos, {sum(row['thumbnails'] for row in rows)} scenes, {frames.count()} frames")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
