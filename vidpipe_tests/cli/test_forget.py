"""vidpipe forget, as a user calls it."""

from __future__ import annotations

from pathlib import Path

from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command


def test_forget_asks_and_add_brings_the_video_back(vidpipe: Command, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clips.moving(clip, seconds=0.5)
    (added,) = vidpipe.json("add", clip)["inputs"]
    assert vidpipe("forget", "clip").exit_code == 2, "nobody can be asked"
    assert vidpipe("forget", "nothing").exit_code == 4
    assert "Use it alone" in vidpipe("forget", "clip", "--undo", added["video"], "--dry-run").stderr
    assert vidpipe.json("search", "clip")["total"] == 1
    found = vidpipe.json("forget", "clip", "nothing", "--yes", code=4)
    assert [(one["video"], one["state"]) for one in found["videos"]] == [(added["video"], "forgotten")]
    assert "'nothing'" in found["unknown"][0]
    assert clip.exists()
    index = vidpipe.json("index", "status")
    assert (index["videos"], index["behind"]) == (0, 0)
    assert not any(b"clip" in file.read_bytes() for file in Path(index["directory"]).rglob("*.*"))
    assert vidpipe.json("list")["videos"] == []
    with instance(Settings(home=vidpipe.home)) as dagster:
        assert dagster.get_dynamic_partitions("videos") == []
    (kept_out,) = vidpipe.json("add", clip, code=1)["inputs"]
    assert kept_out["state"] == "refused"
    assert "forgotten" in kept_out["error"]
    (again,) = vidpipe.json("add", clip, "--include-forgotten")["inputs"]
    assert (again["state"], again["video"]) == ("stored", added["video"])
