"""Exports for trainers: their structure, and that they are the same when made again, in part or twice."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.datasets.exporters.action_recognition import _class_folder
from vidpipe.datasets.exporters.conversations import _turns
from vidpipe.datasets.exporters.webdataset import open_shard
from vidpipe.datasets.item import DatasetItem, ItemAnswer, ItemScene
from vidpipe.datasets.target import FolderTarget
from vidpipe.library.exports import STATE
from vidpipe_tests.datasets.conftest import (
    CUTS,
    HOSTILE,
    LABELS,
    TALK,
    ExportedLibrary,
    broken,
    contents,
    export_items,
)

FORMATS = ("hf", "webdataset", "qwen-sft", "kinetics", "activitynet")
SMALL_SHARDS = 40_000


@pytest.fixture(scope="module")
def items(small_library: ExportedLibrary) -> list[DatasetItem]:
    """Two whole videos in different splits, and the parts of one."""
    cuts, talk = small_library.items[CUTS], small_library.items[TALK]
    split = [talk.model_copy(update={"split": "validation"}), small_library.items[HOSTILE], cuts]
    return sorted([*split, *small_library.parts(CUTS)], key=lambda item: item.key)


def _export(library: ExportedLibrary, name: str, folder: Path, items: list[DatasetItem]) -> Any:
    return export_items(library, name, folder, items, shard_size=SMALL_SHARDS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_items_give_the_same_bytes_and_a_second_export_writes_no_video(
    name: str, small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _export(small_library, name, tmp_path / "one", items)
    assert done.failed == {}
    assert sorted(done.done) == [item.key for item in items]
    _export(small_library, name, tmp_path / "two", items)
    first = contents(tmp_path / "one")
    assert first == contents(tmp_path / "two")
    assert str(small_library.settings.home).encode() not in b"".join(first.values())

    sent: list[str] = []
    remember = FolderTarget._remember

    def record(target: FolderTarget, name: str, made_of: str) -> None:
        sent.append(name)
        remember(target, name, made_of)

    monkeypatch.setattr(FolderTarget, "_remember", record)
    assert _export(small_library, name, tmp_path / "one", items) == done
    assert contents(tmp_path / "one") == first
    assert not [file for file in sent if file.endswith((".mp4", ".tar"))]


@pytest.mark.parametrize("name", FORMATS)
def test_a_lost_video_is_reported_and_the_others_are_exported_as_without_it(
    name: str, small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    lost = broken(items[1])
    exported = export_items(small_library, name, tmp_path / "with", [lost, *items[1:]])
    assert exported.failed == {lost.key: f"The file of {lost.name} is missing."}
    export_items(small_library, name, tmp_path / "without", items[1:])
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_of_nothing_leaves_only_lists(name: str, small_library: ExportedLibrary, tmp_path: Path) -> None:
    assert _export(small_library, name, tmp_path, []).done == []
    assert not list(tmp_path.rglob("*.mp4"))
    assert not list(tmp_path.rglob("*.tar"))


def test_the_video_folder_has_typed_rows_beside_the_videos_of_each_split(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    _export(small_library, "hf", tmp_path, items)
    tables = {split: pq.read_table(tmp_path / split / "metadata.parquet") for split in ("train", "validation")}
    assert tables["train"].schema == tables["validation"].schema
    rows = {row["key"]: (split, row) for split, table in tables.items() for row in table.to_pylist()}
    assert list(rows) == [item.key for item in items if not item.split] + [small_library.items[TALK].key]
    split, talk = rows[small_library.items[TALK].key]
    assert (split, talk["file_name"], talk["title"]) == ("validation", f"{talk['key']}.mp4", None)
    assert talk["transcript"][0] == {
        "start_s": 0.2, "end_s": 0.9, "text": "What a wonderful, happy lighthouse", "language": "eng",
    }  # fmt: skip
    assert talk["versions"] == [{"resource": "custom_tags", "version": talk["versions"][0]["version"]}]
    _, cuts = rows[small_library.items[CUTS].key]
    assert cuts["segments"] == [{"start_s": 0, "end_s": 0.6, "label": "red, wave", "kind": "label", "rule": ""}]
    assert cuts["labels"][0] == cuts["label"] == LABELS[CUTS][0]
    assert rows[small_library.items[HOSTILE].key][1]["name"] == HOSTILE
    assert not {"path", "video"} & cuts.keys()  # `load_dataset` makes a column video of file_name
    assert cuts["video_sha256"] == small_library.items[CUTS].video
    assert {path.name for path in (tmp_path / "validation").iterdir()} == {talk["file_name"], "metadata.parquet"}


def test_a_shard_holds_each_key_once_with_fixed_times_and_owners(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    _export(small_library, "webdataset", tmp_path, items)
    shards = sorted((tmp_path / "train").iterdir())
    assert [path.name for path in shards] == [f"{number:06d}.tar" for number in range(len(shards))]
    assert len(shards) > 1
    names: list[str] = []
    for path in shards:
        with tarfile.open(path) as tar:
            for member in tar:
                names.append(member.name)
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            found = json.load(tar.extractfile(tar.getnames()[0]) or pytest.fail("no file"))
            assert {"label", "start_s", "end_s", "versions", "segments"} <= found.keys()
    keys = [item.key for item in items if not item.split]
    assert names == [f"{key}.{suffix}" for key in keys for suffix in ("json", "mp4")]
    assert not any("." in key for key in keys)


def test_a_shard_takes_videos_beyond_8_gib() -> None:
    shard, video = io.BytesIO(), tarfile.TarInfo("0f3a.mp4")
    video.size = 9 << 30
    open_shard(shard).addfile(video)  # the header alone
    with tarfile.open(fileobj=io.BytesIO(shard.getvalue()), mode="r|") as tar:
        assert (found := tar.next())
        assert (found.name, found.size) == (video.name, video.size)


def test_a_new_video_changes_its_shard_and_hardly_any_other(small_library: ExportedLibrary, tmp_path: Path) -> None:
    item = small_library.items[HOSTILE]
    many = [item.model_copy(update={"key": f"{number:04x}"}) for number in range(0, 160, 2)]
    size = 25 * item.size_bytes
    export_items(small_library, "webdataset", tmp_path / "before", many, shard_size=size)
    more = sorted([*many, item.model_copy(update={"key": f"{3:04x}"})], key=lambda one: one.key)
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    export_items(small_library, "webdataset", tmp_path / "after", more, shard_size=size)
    before, after = (
        {name: data for name, data in contents(tmp_path / folder).items() if name != STATE}
        for folder in ("before", "after")
    )
    assert len(before) > 3
    assert before.keys() == after.keys()
    assert 1 <= sum(before[name] != after[name] for name in before) <= 2  # although it is near the beginning
    sizes = [len(data) for data in before.values()][:-1]
    assert all(0.7 * size < found < 1.4 * size + 20_000 for found in sizes)


def test_conversations_have_one_placeholder_before_the_first_question(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    talk = small_library.items[TALK]
    hostile = "A <video> <image>\n<|im_end|><|vision_start|></s> <<video>> 3 < 4"
    told = talk.model_copy(
        update={
            "description": hostile, "measured": False, "described_by": "Qwen2-VL", "split": "validation",
            "answers": (
                ItemAnswer(id="boat", question="Is there a <video> boat?", value=True),
                ItemAnswer(id="how-many", question="How many?", value=3.0),
                ItemAnswer(id="colors", question="Which colors?", value=["red", "<image>"]),
                ItemAnswer(id="removed", question="", value="no longer asked"),
            ),
        }
    )  # fmt: skip
    whole = told.model_copy(update={"key": "a" * 16, "split": "", "answers": ()})
    part = whole.model_copy(update={"key": "b" * 16, "whole": False, "scenes": (), "answers": told.answers})
    scene = ItemScene(index=0, start_s=0, end_s=1, description="Sea.")
    described = part.model_copy(update={"key": "c" * 16, "scenes": (scene,), "description": "Sea."})
    exported = export_items(
        small_library, "qwen-sft", tmp_path, [small_library.items[CUTS], told, whole, part, described], seen_only=True
    )
    assert exported.done == [told.key, whole.key, described.key]
    [validation] = json.loads((tmp_path / "validation.json").read_bytes())
    assert validation["video"] == f"videos/{told.key}.mp4"
    assert (tmp_path / validation["video"]).is_file()
    assert [(turn["from"], turn["value"]) for turn in validation["conversations"]] == [
        ("human", "<video>\nDescribe this video."),
        ("gpt", "A < video> < image>\n< |im_end|>< |vision_start|>< /s> << video>> 3 < 4"),
        ("human", "Is there a < video> boat?"), ("gpt", "Yes"),
        ("human", "How many?"), ("gpt", "3"),
        ("human", "Which colors?"), ("gpt", "red, < image>"),
    ]  # fmt: skip
    train = json.loads((tmp_path / "train.json").read_bytes())
    assert [turn["value"] for turn in train[1]["conversations"]] == ["<video>\nDescribe this video.", "Sea."]
    lines = (tmp_path / "train.json").read_text().splitlines()
    assert [line.count("<video>") for line in lines] == [0, 1, 1, 0]
    info = json.loads((tmp_path / "dataset_info.json").read_bytes())
    assert info["vidpipe_train"]["file_name"] == "train.json"


@given(st.text(st.sampled_from("<>|/ video\nimage")))
def test_no_text_holds_a_placeholder_or_control_token(text: str) -> None:
    hostile = text.replace("v", "<video>")
    answer = ItemAnswer(id="a", question=hostile, value=hostile)
    item = DatasetItem(key="a", video="a", name="a", path="a", start_s=0, end_s=1, whole=True, answers=(answer,))
    assert not any(re.search(r"<video>|<image>|<\|", said) for _, said in _turns(item, seen_only=True))


def test_kinetics_has_a_folder_per_class_and_a_csv_that_runs_no_formula(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    _export(small_library, "kinetics", tmp_path, items)
    classes = json.loads((tmp_path / "classes.json").read_bytes())["classes"]
    folders = {label: folder for folder, label in classes.items()}
    assert folders == {
        LABELS[CUTS][0]: "cmd_C_calc_A0", LABELS[TALK][0]: "etc_passwd", "red, wave": "red_wave",
        "unlabelled": "unlabelled",
    }  # fmt: skip
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4")}
    for split, of_split in (("train", ""), ("val", "validation")):
        with (tmp_path / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split"]
        wanted = [item for item in items if item.split == of_split]
        assert [(row["youtube_id"], float(row["time_start"]), float(row["time_end"])) for row in rows] == [
            (item.key, item.start_s, item.end_s) for item in wanted
        ]
        assert not any(row["label"].startswith("=") for row in rows)
        stored = {f"{split}/{folders[item.label]}/{item.key}.mp4" for item in wanted}
        assert stored == {name for name in files if name.startswith(f"{split}/")}


@given(st.lists(st.text(st.sampled_from("aAé\u0301./\\ \0\u202e=" + "\U0001f3a5"), max_size=80), unique=True))
def test_folders_of_classes_are_distinct_safe_names(labels: list[str]) -> None:
    classes: dict[str, tuple[str, str]] = {}
    folders = [_class_folder(label, classes) for label in labels]
    assert len({folder.casefold() for folder in folders}) == len(labels)
    assert all(re.fullmatch(r"[\w-]+", folder) and len(folder.encode()) < 250 for folder in folders)
    assert folders == [_class_folder(label, classes) for label in labels]


def test_activitynet_has_stated_times_else_the_label_for_all_of_a_video(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    _export(small_library, "activitynet", tmp_path, items)
    document = json.loads((tmp_path / "activitynet.json").read_bytes())
    assert document["version"]
    assert set(document["versions"]) == {"custom_tags"}
    cuts, talk = (document["database"][small_library.items[name].key] for name in (CUTS, TALK))
    assert cuts["annotations"] == [{"label": "red, wave", "segment": [0.0, 0.6], "kind": "label"}]
    assert (cuts["subset"], talk["subset"], cuts["resolution"]) == ("training", "validation", "320x180")
    assert talk["annotations"] == [{"label": LABELS[TALK][0], "segment": [0.0, 1.0], "kind": "label"}]
    assert document["database"][small_library.items[HOSTILE].key]["annotations"] == [], "nobody and no rule says it"
    assert talk["url"] == ""
    names = {node["nodeName"] for node in document["taxonomy"]}
    assert names == {"Root"} | {one["label"] for entry in document["database"].values() for one in entry["annotations"]}
    assert all((tmp_path / "videos" / f"{key}.mp4").is_file() for key in document["database"])
