"""The sample clips of `make demo`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from vidpipe_tests.clone import module_of

ROOT = Path(__file__).parents[2]


def probed(clip: Path) -> dict[str, Any] | None:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_the_samples_are_small_short_varied_and_one_is_broken(tmp_path: Path) -> None:
    script = module_of(ROOT / "scripts" / "make_samples.py")
    (tmp_path / "night-watch.mp4").write_bytes(b"the user's own")

    clips = {clip.name: clip for clip in script.make_samples(tmp_path)}

    assert clips.pop("night-watch.mp4").read_bytes() == b"the user's own"
    assert probed(clips.pop("broken.mp4")) is None
    facts = {name: probed(clip) for name, clip in clips.items()}
    streams = {name: {stream["codec_name"] for stream in fact["streams"]} for name, fact in facts.items() if fact}
    assert streams == {
        "four-seasons.mp4": {"h264", "aac", "mov_text"},
        "deep-zoom.mkv": {"hevc", "aac", "subrip"},
        "fast-cuts.mp4": {"h264", "aac"},
        "phone-portrait.mov": {"h264", "aac"},
        "living-cells.webm": {"vp9", "opus"},
        "museum-tour.mp4": {"h264", "aac"},
    }
    portrait = facts["phone-portrait.mov"]
    assert portrait is not None
    assert portrait["streams"][0]["side_data_list"][0]["rotation"] == -90
    assert all(clip.stat().st_size < 1_000_000 for clip in clips.values())
    assert all(fact and 5 < float(fact["format"]["duration"]) < 15 for fact in facts.values())
    listed = (ROOT / "data" / "samples" / "README.md").read_text(encoding="utf-8")
    assert all(name in listed for name in script.CLIPS)
