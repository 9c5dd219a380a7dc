"""The work with FiftyOne: `python with_fiftyone.py FOLDER OUT`, in an environment with fiftyone and scenedetect.

FiftyOne reads the metadata, samples frames at 1 fps, and keeps scenes and tags in its MongoDB. It finds no scenes and
makes no thumbnails: PySceneDetect and ffmpeg do, as in the plain script. Left out: checking files, sound, statistics,
descriptions, sentiment, categories, versions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fiftyone as fo
from plain_script import find_scenes, make_thumbnails, tags


def main(folder: Path, out: Path) -> None:
    dataset = fo.Dataset("throughput", persistent=True, overwrite=True)
    dataset.add_samples([fo.Sample(filepath=str(video)) for video in sorted(folder.iterdir())])
    dataset.compute_metadata()
    count = 0
    for sample in dataset.iter_samples(autosave=True):
        video, read = Path(sample.filepath), sample.metadata
        codec = "av1" if read.encoding_str == "av01" or video.suffix == ".mkv" else ""
        scenes = find_scenes(video, codec)
        count += len(scenes)
        sample["scenes"] = fo.TemporalDetections(
            detections=[
                fo.TemporalDetection.from_timestamps([start_s, end_s], label="scene", sample=sample)
                for start_s, end_s in scenes
            ]
        )
        target = out / video.stem
        target.mkdir(parents=True)
        make_thumbnails(video, scenes, target)
        sample.tags = tags({"width": read.frame_width, "height": read.frame_height}, scenes, read.duration)
    frames = dataset.to_frames(sample_frames=True, fps=1, output_dir=str(out / "frames"))
    print(f"{len(dataset)} videos, {count} scenes, {len(frames)} frames")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
