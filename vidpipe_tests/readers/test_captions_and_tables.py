"""webvtt-py, pysrt and srt read captions; pyarrow and pandas of another environment read partitioned tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.library.queries.export import export, write_partitions
from vidpipe_tests.datasets.conftest import CUTS, TALK, ExportedLibrary, export_items
from vidpipe_tests.datasets.test_tool_exports import nasty
from vidpipe_tests.readers.conftest import read_with, reader_environment

pytestmark = pytest.mark.soak

READ_CAPTIONS = """
import html, json, sys
import pysrt, srt, webvtt
from pathlib import Path
seconds = lambda time: time.hours * 3600 + time.minutes * 60 + time.seconds + time.milliseconds / 1000
vtt = [[seconds(one.start_time), seconds(one.end_time), html.unescape(one.text)] for one in webvtt.read(sys.argv[1])]
text = Path(sys.argv[2]).read_text(encoding="utf-8")
by_srt = [[one.start.total_seconds(), one.end.total_seconds(), one.content] for one in srt.parse(text)]
by_pysrt = [[one.start.ordinal / 1000, one.end.ordinal / 1000, one.text] for one in pysrt.open(sys.argv[2])]
print(json.dumps({"vtt": vtt, "srt": by_srt, "pysrt": by_pysrt}))
"""
READ_TABLES = """
import json, sys
import pandas as pd
from pyarrow import dataset
found = dataset.dataset(sys.argv[1], partitioning="hive")
rows = found.to_table(columns=["video", "category", "duration_s", "tags", "rules_version"]).to_pylist()
frame = pd.read_parquet(sys.argv[1])
schemas = sorted({str(one.physical_schema) for one in found.get_fragments()})
videos, columns = sorted(frame["video"]), list(frame.columns)
print(json.dumps({"rows": rows, "videos": videos, "columns": columns, "schemas": len(schemas)}))
"""


def test_captions_have_their_times_and_texts(small_library: ExportedLibrary, tmp_path: Path) -> None:
    python = reader_environment("captions", ["webvtt-py==0.6.0", "pysrt==1.1.2", "srt==3.5.3"])
    talk, hostile = small_library.items[TALK], nasty(small_library.items[CUTS])
    for file_format in ("webvtt", "srt"):
        export_items(small_library, file_format, tmp_path / file_format, [talk, hostile])
    found = {}
    for item in (talk, hostile):
        files = (tmp_path / "webvtt" / f"{item.key}.vtt", tmp_path / "srt" / f"{item.key}.srt")
        read = found[item.key] = read_with(python, READ_CAPTIONS, *files)
        times = [(one.start_s, one.end_s) for one in item.scenes]
        assert [tuple(one[:2]) for one in read["vtt"]] == [pytest.approx(one, abs=0.001) for one in times]
        assert all(text for *_, text in read["vtt"])
        said = [(one.start_s, one.end_s) for one in item.transcript]
        for name in ("srt", "pysrt"):
            assert [tuple(one[:2]) for one in read[name]] == [pytest.approx(one, abs=0.001) for one in said]
    assert [text for *_, text in found[talk.key]["pysrt"]] == [one.text for one in talk.transcript]


def test_partitions_are_one_table(small_library: ExportedLibrary, tmp_path: Path) -> None:
    python = reader_environment("tables", ["pyarrow", "pandas"])
    table, folder = tmp_path / "videos.parquet", tmp_path / "videos"
    export(small_library.library, table, "parquet", {})
    write_partitions(table, folder)
    read = read_with(python, READ_TABLES, folder)
    items = {item.video: item for item in small_library.items.values()}
    assert read["videos"] == sorted(items)
    assert read["schemas"] == 1
    assert {"category", "rules_version", "model_version", "tag_rules"} < set(read["columns"])
    for row in read["rows"]:
        item = items[row["video"]]
        assert (row["category"], row["duration_s"]) == (item.category, pytest.approx(item.end_s))
        assert set(row["tags"]) == {tag.tag for tag in item.tags}
        assert row["rules_version"]
