"""What a user writes without a pipeline: `python plain_script.py FOLDER OUT [PROCESSES]`, one tool after another.

For each video: ffprobe, PySceneDetect's API, ffmpeg for frames at 1 fps, ffmpeg for a thumbnail of each scene, a few
tags, and all of it as JSON. OpenCV reads no AV1, so PySceneDetect reads that with PyAV.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import scenedetect
from scenedetect.detectors import AdaptiveDetector

FFMPEG = ("ffmpeg", "-nostdin", "-v", "error")


def probe(video: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(video)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return found


def first_video(described: dict[str, Any]) -> dict[str, Any]:
    return next(stream for stream in described["streams"] if stream["codec_type"] == "video")


def find_scenes(video: Path, codec: str) -> list[tuple[float, float]]:
    """Start and end of each scene in seconds."""
    stream = scenedetect.open_video(str(video), backend="pyav" if codec == "av1" else "opencv")
    manager = scenedetect.SceneManager()
    manager.add_detector(AdaptiveDetector(adaptive_threshold=3.5, min_scene_len=0.6, window_width=3))
    manager.detect_scenes(stream)
    return [(start.seconds, end.seconds) for start, end in manager.get_scene_list(start_in_scene=True)]


def extract_frames(video: Path, out: Path) -> None:
    scale = "fps=1,scale=504:504:force_original_aspect_ratio=decrease"
    target = str(out / "frame-%05d.jpg")
    subprocess.run([*FFMPEG, "-i", str(video), "-vf", scale, "-q:v", "3", target], check=True, timeout=600)


def make_thumbnails(video: Path, scenes: list[tuple[float, float]], out: Path) -> None:
    for number, (start_s, end_s) in enumerate(scenes):
        seek, target = f"{(start_s + end_s) / 2:.3f}", str(out / f"thumbnail-{number:03d}.jpg")
        command = [*FFMPEG, "-ss", seek, "-i", str(video), "-frames:v", "1", "-vf", "scale=320:-2", target]
        subprocess.run(command, check=True, timeout=600)


def tags(stream: dict[str, Any], scenes: list[tuple[float, float]], duration_s: float) -> list[str]:
    portrait, hd = stream["height"] > stream["width"], stream["height"] >= 720
    fast = len(scenes) * 60 / duration_s > 20
    return [name for name, applies in (("portrait", portrait), ("hd", hd), ("fast", fast)) if applies]


def process(video: Path, out: Path) -> int:
    """The number of scenes."""
    folder = out / video.stem
    folder.mkdir(parents=True)
    described = probe(video)
    stream = first_video(described)
    scenes = find_scenes(video, stream["codec_name"])
    extract_frames(video, folder)
    make_thumbnails(video, scenes, folder)
    found = tags(stream, scenes, float(described["format"]["duration"]))
    (folder / "video.json").write_text(json.dumps({"metadata": described, "scenes": scenes, "tags": found}))
    return len(scenes)


def main(folder: Path, out: Path, processes: int) -> None:
    videos = sorted(folder.iterdir())
    if processes == 1:
        counts = [process(video, out) for video in videos]
    else:
        with multiprocessing.Pool(processes) as pool:
            counts = pool.map(partial(process, out=out), videos, chunksize=1)
    print(f"{len(videos)} videos, {sum(counts)} scenes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
