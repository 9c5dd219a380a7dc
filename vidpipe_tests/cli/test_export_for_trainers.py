"""`vidpipe export` in the formats for trainers, with their options."""

from __future__ import annotations

import json
from pathlib import Path

from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.datasets.conftest import contents


def test_measured_descriptions_are_exported_as_such_or_left_out(filled: Command, tmp_path: Path) -> None:
    done = filled.json("export", tmp_path / "sft", "--format", "qwen-sft")
    assert (done["items"], done["failed"]) == (3, [])
    assert [note.partition(":")[0] for note in done["notes"]] == [
        "3 described by measurements, not by a model that sees"
    ]
    samples = json.loads((tmp_path / "sft" / "train.json").read_bytes())
    assert [(sample["described_by"], sample["measured"]) for sample in samples] == [("statistics", True)] * 3
    seen = filled.json("export", tmp_path / "sft", "--format", "qwen-sft", "--seen-only")
    assert (seen["items"], seen["notes"]) == (0, ["3 left out: without an answer or description by a model."])
    assert not (tmp_path / "sft" / "train.json").exists()


def test_options_of_formats_reach_them_and_a_folder_is_of_one_format(filled: Command, tmp_path: Path) -> None:
    filled.json("export", tmp_path / "shards", "--format", "webdataset", "--shard-size", "1")
    assert len(list((tmp_path / "shards" / "train").glob("*.tar"))) == 3
    before = contents(tmp_path)
    refused = filled("export", tmp_path / "shards", "--format", "kinetics")
    assert refused.exit_code == 2
    assert "another format: webdataset" in " ".join(refused.output.split())
    assert contents(tmp_path) == before
