"""How versions are stored: complete or not there, also when several are made at once or one is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidpipe.datasets.card import card
from vidpipe.datasets.item import DatasetItem, ItemSource, ItemTag
from vidpipe.datasets.splits import parse_shares
from vidpipe.datasets.statistics import DatasetStatistics
from vidpipe.datasets.versions import (
    DatasetVersion,
    SplitOrder,
    compare_versions,
    create_version,
    items_left,
    version_named,
)
from vidpipe.errors import VidpipeError
from vidpipe.library.exports import STATE, record
from vidpipe.library.library import Library
from vidpipe.library.process_names import process_name, this_process
from vidpipe.operations.retention.traces import Traces, remove_from_exports
from vidpipe.settings import Settings
from vidpipe.stages.registry import build_graph


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, build_graph(module_settings)) as opened:
        yield opened


def _item(number: int, **facts: Any) -> DatasetItem:
    video = f"{number:064x}"
    return DatasetItem(
        **{"key": f"k{number:05}", "video": video, "name": f"{number}.mp4", "path": f"{video}.mp4", "start_s": 0.0,
           "end_s": 2.5, "whole": True, "group": video, **facts}
    )  # fmt: skip


def _create(
    library: Library, name: str, items: Sequence[DatasetItem], split: str = "1/1", by: str = "label", **options: Any
) -> DatasetVersion | None:
    order = SplitOrder(parse_shares(split), tuple(by.split(",")))
    options = {"cancelled": Event(), **options}
    return create_version(library, name, items, order, by="ann", arguments={}, **options)[0]


def _name() -> str:
    return f"set-{uuid.uuid4().hex[:8]}"


def test_versions_made_at_once_are_numbered_and_complete(library: Library) -> None:
    name, items = _name(), [_item(number) for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda count: _create(library, name, items[:count]), (10, 20, 30, 40)))
    assert sorted(one.version for one in made if one) == [1, 2, 3, 4]
    in_order = [version_named(library, f"{name}@{number}") for number in (1, 2, 3, 4)]
    for one in in_order:
        assert items_left(library, one) == one.statistics["items"]
    assert not any(compare_versions(library, *pair)["moved"] for pair in pairwise(in_order))


def test_nothing_remains_of_a_cancelled_version(library: Library) -> None:
    name, cancelled, stored = _name(), Event(), library.collections["dataset_items"].count_documents({})
    items = [_item(number) for number in range(1200)]

    def stop(number: int) -> None:
        if number == len(items):
            cancelled.set()

    assert _create(library, name, items, cancelled=cancelled, progress=stop) is None
    assert library.collections["dataset_items"].count_documents({}) == stored
    with pytest.raises(VidpipeError, match="There is no dataset"):
        version_named(library, name)


def test_items_of_a_killed_process_are_removed_by_the_next_one(library: Library) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead, alive = f"{process_name(ended.pid)}|abc", f"{this_process()}|abc"
    ended.communicate(b"\n")
    stored = library.collections["dataset_items"]
    stored.insert_many([{"dataset": one, "position": 0, "video": "x"} for one in (dead, alive)])
    _create(library, _name(), [_item(1)])
    assert stored.count_documents({"dataset": dead}) == 0
    assert stored.delete_many({"dataset": alive}).deleted_count == 1


def test_videos_of_one_channel_or_url_stay_together_and_leaks_are_counted(library: Library) -> None:
    items = [_item(number) for number in range(100, 110)]
    library.collections["sources"].insert_many([
        {"_id": f"s{item.video}", "video": item.video, "earlier_videos": [], "state": "stored", "url": "",
         "data": {"site": "tube", "uploader": f"channel {number // 3}"}}
        for number, item in enumerate(items)
    ])  # fmt: skip
    library.collections["sources"].insert_one(
        {"_id": "replaced", "video": items[0].video, "earlier_videos": [items[9].video], "state": "stored", "url": ""}
    )
    apart = _create(library, _name(), items, by="label")
    assert apart is not None
    assert apart.leaks["channel"] > 0
    together = _create(library, _name(), items, by="label,source")
    assert together is not None
    assert together.leaks == {"URL": 0, "channel": 0, "playlist or folder": 0, "page": 0}


def test_differences_are_told_by_what_changed(library: Library) -> None:
    name, tag = _name(), ItemTag(tag="Dark", rule="dark", given_by="rule")
    _create(library, name, [_item(1, labels=("a",)), _item(2), _item(3), _item(4)])
    _create(library, name, [_item(1, labels=("b",)), _item(2, tags=(tag,)), _item(3, description="other"), _item(5)])
    found = compare_versions(library, version_named(library, f"{name}@1"), version_named(library, name))
    assert [one["key"] for one in found["added"] + found["removed"]] == ["k00005", "k00004"]
    assert [(one["before"], one["after"]) for one in found["labels"]] == [(["a"], ["b"])]
    assert [(one["key"], one["after"]) for one in found["tags"]] == [("k00002", ["Dark"])]
    assert [one["key"] for one in found["other"]] == ["k00003"]


def test_forgotten_videos_are_removed_from_all_files_of_a_dataset_that_can_be_rewritten(
    library: Library, tmp_path: Path
) -> None:
    gone, kept = "ab" * 32, "cd" * 32
    files = {
        f"class/{gone[:16]}.mp4": b"video",
        f"class/{kept[:16]}.mp4": b"video",
        "empty.txt": b"",
        "rows.jsonl": f'{{"file": "{gone[:16]}.mp4"}}\n{{"file": "{kept[:16]}.mp4"}}\n'.encode(),
        "rows.csv": f'file,text\n{gone[:16]}.mp4,"a\nb"\n{kept[:16]}.mp4,"c\nd"\n'.encode(),
        "labels.json": json.dumps({"labels": {gone[:16]: [1], kept[:16]: [2]}, "classes": ["é"]}).encode(),
        "tasks.json": json.dumps(
            [{"data": {"video": f"{one[:16]}.mp4"}, "id": one[:3]} for one in (gone, kept)]
        ).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    tables = {"category=Art/part-0.parquet": "video", "train/metadata.parquet": "video_sha256"}
    for name, column in tables.items():
        (tmp_path / name).parent.mkdir()
        pq.write_table(pa.table({column: [gone, kept]}), tmp_path / name)
    (tmp_path / STATE).write_text(json.dumps(dict.fromkeys([*files, *tables, "../outside.mp4", "missing"], "")))
    record(library.collections, str(tmp_path), "kinetics")

    def remove(*ids: str, dry_run: bool = False) -> dict[str, list[str]]:
        return remove_from_exports(library, Traces(ids, ()), dry_run)

    assert remove("ef" * 32) == remove() == {"exports": [], "exports to check": []}
    assert remove(gone, dry_run=True)["exports"] == [str(tmp_path)]
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert remove(gone)["exports"] == [str(tmp_path)]
    assert not (tmp_path / f"class/{gone[:16]}.mp4").exists()
    assert (tmp_path / "rows.jsonl").read_text() == f'{{"file": "{kept[:16]}.mp4"}}\n'
    assert (tmp_path / "rows.csv").read_text() == f'file,text\n{kept[:16]}.mp4,"c\nd"\n'
    assert json.loads((tmp_path / "labels.json").read_text()) == {"labels": {kept[:16]: [2]}, "classes": ["é"]}
    assert [one["id"] for one in json.loads((tmp_path / "tasks.json").read_text())] == ["cdc"]
    assert [pq.read_table(tmp_path / name, partitioning=None).to_pydict() for name in tables] == [
        {column: [kept]} for column in tables.values()
    ]
    assert f"class/{gone[:16]}.mp4" not in json.loads((tmp_path / STATE).read_text())
    assert remove(gone) == {"exports": [], "exports to check": []}
    (tmp_path / "rows.tar").write_bytes(b"\0" * 512 + kept[:16].encode())
    (tmp_path / STATE).write_text(json.dumps({"rows.tar": "", "rows.jsonl": ""}))
    assert remove(kept) == {"exports": [], "exports to check": [str(tmp_path)]}
    assert (tmp_path / "rows.jsonl").read_text() == ""


def test_a_card_with_hostile_texts_has_one_row_per_name() -> None:
    hostile = "a|b\n# <script>\x1b[2J " + "x" * 5000
    counted = DatasetStatistics()
    counted.add(
        _item(1, split="train", labels=(hostile,), sources=(ItemSource(url="", site=hostile, licence=hostile),))
    )
    text = card(counted.as_document()).decode()
    assert "<script>" not in text
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if "script&" in line]
    assert len(rows) == 3  # label, site, licence
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
