"""Annotations that come back as verdicts, tables in partitions, and what export says of silent videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import dataset

from vidpipe_tests.cli.conftest import CUTS, Command


def test_annotations_of_label_studio_come_back_as_verdicts(filled: Command, tmp_path: Path) -> None:
    done = filled.json("export", tmp_path, "--format", "label-studio")
    assert (done["items"], done["failed"]) == (3, [])
    tasks: list[dict[str, Any]] = json.loads((tmp_path / "tasks.json").read_text())
    video = filled.json("show", CUTS)["video"]["sha256"]
    task = next(one for one in tasks if one["data"]["vidpipe"]["video"] == video)
    result = task["predictions"][0]["result"]
    chosen = next(one for one in result if one["from_name"] == "tags")["value"]["choices"]
    removed = chosen.pop(0)
    annotations = [{"result": result, "completed_by": {"id": 1, "email": "ada@example.org"}}]
    gone = {**task["data"], "vidpipe": {**task["data"]["vidpipe"], "video": "0" * 64}}
    path = tmp_path / "annotated.json"
    path.write_text(json.dumps([{"data": {}}, {**task, "annotations": annotations}, {"data": gone, "annotations": []}]))
    before = filled.json("show", CUTS)["tags"]
    said = filled.json("verdict", "--from-label-studio", path, code=1)
    assert [one["task"] for one in said["problems"]] == [1]
    of_video = [one for one in said["verdicts"] if one["kind"] == "tag" and one["start_s"] is None]
    assert {(one["tag"], one["verdict"]) for one in of_video} == {(removed, "no"), *((tag, "yes") for tag in chosen)}
    assert {one["by"] for one in said["verdicts"]} == {"ada@example.org"}
    assert removed not in [one["tag"] for one in filled.json("show", CUTS)["tags"]]
    for one in said["verdicts"]:
        at = [] if one["start_s"] is None else ["--at", str(one["start_s"])]
        kind = ["--category"] if one["kind"] == "category" else []
        assert filled("verdict", CUTS, one["tag"], "--withdraw", *at, *kind).exit_code == 0
    assert filled.json("verdict") == {"verdicts": []}
    assert filled.json("show", CUTS)["tags"] == before


def test_a_partitioned_table_has_a_folder_per_category_and_is_replaced_as_a_whole(
    filled: Command, tmp_path: Path
) -> None:
    filled.json("export", f"{tmp_path}/", "--format", "parquet", "--partition")
    table = pd.read_parquet(tmp_path / "videos")
    filled.json("export", tmp_path / "one.parquet")
    one = pd.read_parquet(tmp_path / "one.parquet")
    assert sorted(table["video"]) == list(one["video"])
    assert set(table.columns) == set(one.columns)
    assert {"rules_version", "model_version", "tag_rules", "described_by"} <= set(table.columns)
    assert all(len(version) == len(one["rules_version"][0]) > 8 for version in one["rules_version"])
    assert {name.parent.name.partition("=")[0] for name in (tmp_path / "videos").rglob("*.parquet")} == {"category"}
    schemas = {
        str(part.physical_schema) for part in dataset.dataset(tmp_path / "videos", partitioning="hive").get_fragments()
    }
    assert len(schemas) == 1
    filled.json("export", tmp_path, "--format", "parquet", "--partition", "--scenes")
    assert len(pd.read_parquet(tmp_path / "scenes")) >= 3
    filled.json("export", tmp_path, "--format", "parquet", "--partition", "--search", "talk")
    assert len(pd.read_parquet(tmp_path / "videos")) < 3, "partitions of an earlier export are gone"
    assert filled("export", tmp_path, "--format", "csv", "--partition").exit_code == 2


def test_videos_without_speech_are_counted_once(filled: Command, tmp_path: Path) -> None:
    result = filled("export", tmp_path, "--format", "srt")
    assert result.exit_code == 0
    assert result.output.count("nothing is said") == 1
    assert len(list(tmp_path.glob("*.srt"))) == 1
