"""Labelled parts and licences, from a list to what the commands show and export."""

from __future__ import annotations

import json
from pathlib import Path

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command


def test_parts_from_a_list_to_show_and_export(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", seconds=0.5)
    listed = tmp_path / "v.jsonl"
    rows = [
        {"url": clip.name, "start": 0.25, "end": 0.5, "label": "running"},
        {"url": clip.name, "start": 0, "end": 0.25, "label": ["running", "jumping"]},
        {"url": clip.name, "labels": ["whole"], "licence": "CC-BY-4.0"},
    ]
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (added,) = vidpipe.json("add", listed)["inputs"]
    shown = vidpipe.json("show", added["video"])
    assert shown["video"]["labels"] == ["whole"]
    (one,) = shown["sources"]
    assert one["licence"] == "CC-BY-4.0"
    assert [(part["start_s"], part["labels"]) for part in one["segments"]] == [
        (0.25, ["running"]), (0.0, ["running", "jumping"]),
    ]  # fmt: skip
    assert "2 labelled parts: running 2, jumping 1" in " ".join(vidpipe("show", added["video"]).output.split())
    vidpipe("export", tmp_path / "all.jsonl")
    assert json.loads((tmp_path / "all.jsonl").read_text())["sources"][0]["segments"] == one["segments"]

    listed.write_text(json.dumps(rows[0]))
    vidpipe.json("add", listed)
    again = vidpipe.json("show", added["video"])
    assert len(again["sources"][0]["segments"]) == 1
    assert again["stages"] == shown["stages"], "no stage is due for it"
