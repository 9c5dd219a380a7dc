"""Exports for labelling tools and editors: complete, incremental, deterministic, and harmless with hostile texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from vidpipe.datasets.exporters.label_studio import read_verdicts
from vidpipe.datasets.item import DatasetItem, ItemScene, ItemSegment, ItemTag, ItemText
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe_tests.datasets.conftest import CUTS, HOSTILE, TALK, ExportedLibrary, broken, contents, export_items

NASTY = '"><Label value="x"/>\x07\n\n00:00:01.000 --> 00:00:02.000\n<b>&\u2028* FROM CLIP NAME: x'
FILES = {
    "fiftyone": (".mp4", "labels.json"), "label-studio": (".mp4", "tasks.json"), "edl": (".mp4", ".edl"),
    "otio": (".mp4", ".otio"), "webvtt": (".vtt", ".vtt"),
}  # fmt: skip


def nasty(item: DatasetItem, **more: object) -> DatasetItem:
    """The item with a hostile text wherever there can be one."""
    return item.model_copy(update={
        "title": NASTY, "name": NASTY, "description": NASTY, "category": NASTY, "labels": (NASTY,),
        "tags": (
            ItemTag(tag=NASTY, rule="r", given_by="rule", confidence=0.7),
            ItemTag(tag="$title", rule="r", given_by="rule"),
        ),
        "scenes": (
            ItemScene(index=0, start_s=0.0, end_s=0.6, description=NASTY),
            ItemScene(index=1, start_s=0.6, end_s=1.2),
        ),
        "segments": (
            ItemSegment(start_s=0.0, end_s=0.6, label=NASTY, kind="label"),
            ItemSegment(start_s=0.6, end_s=1.2, label="$title", kind="tag", rule="r"),
        ),
        "transcript": (ItemText(start_s=0.1, end_s=0.5, text=NASTY),), **more,
    })  # fmt: skip


@pytest.mark.parametrize("file_format", [*FILES, "srt"])
def test_an_export_is_complete_the_same_each_time_and_does_not_stop_at_a_broken_video(
    small_library: ExportedLibrary, tmp_path: Path, file_format: str
) -> None:
    if file_format == "otio":
        pytest.importorskip("opentimelineio")
    items = [small_library.items[name] for name in (CUTS, TALK)]
    lost = [] if file_format in ("webvtt", "srt") else [broken(items[0])]
    split = [one.model_copy(update={"split": "test"}) for one in small_library.parts(CUTS)]
    done = export_items(small_library, file_format, tmp_path / "a", [items[0], *lost, items[1], *split])
    assert done.done == [one.key for one in (*items, *split)]
    assert list(done.failed) == [one.key for one in lost]
    first = contents(tmp_path / "a")
    assert any(name.startswith("test/") for name in first) or file_format == "srt", "splits are folders"
    export_items(small_library, file_format, tmp_path / "b", [*items, *split])
    assert contents(tmp_path / "b") == first
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*.*4")}
    export_items(small_library, file_format, tmp_path / "b", items)
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*.*4")}
    assert left.items() <= before.items(), "what is there is kept"
    assert not any(name.startswith("test/") for name in contents(tmp_path / "b")), "what has gone is deleted"


def test_fiftyone_labels_have_times_and_the_whole_video_where_a_label_has_none(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    items = [small_library.items[name] for name in (CUTS, TALK, HOSTILE)]
    export_items(small_library, "fiftyone", tmp_path, items)
    found = json.loads((tmp_path / "labels.json").read_text())
    assert set(found["labels"]) == {one.key for one in items} == {path.stem for path in (tmp_path / "data").iterdir()}
    predicted = json.loads((tmp_path / "predictions.json").read_text())["labels"]
    for kind, labels in (("label", found["labels"]), ("tag", predicted)):  # never in one field of FiftyOne
        assert [
            (one["label"], one["timestamps"]) for one in labels[items[0].key] if one["label"] != items[0].category
        ] == [(one.label, [one.start_s, one.end_s]) for one in items[0].segments if one.kind == kind]
    talk = found["labels"][items[1].key][0]
    assert (talk["label"], talk["timestamps"]) == ("../../etc/passwd", [0.0, items[1].duration_s])
    assert found["classes"] == sorted({one["label"] for rows in found["labels"].values() for one in rows})


def test_label_studio_gets_well_formed_configuration_and_predictions_that_it_offers(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    export_items(small_library, "label-studio", tmp_path, [nasty(small_library.items[CUTS]), small_library.items[TALK]])
    config = ET.fromstring((tmp_path / "label_config.xml").read_text())  # noqa: S314 - it was just written
    offered = {control.get("name"): [one.get("alias") or one.get("value") for one in control] for control in config}
    assert [one.get("value") for one in config.iter("Label") if (one.get("value") or "").startswith("$")] == []
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    for task in tasks:
        assert (tmp_path / task["data"]["video"].partition("?d=")[2]).is_file()
        for region in task["predictions"][0]["result"]:
            assert {*region["value"].get("choices", ()), *region["value"].get("timelinelabels", ())} <= {
                *offered[region["from_name"]]
            }
    regions = [one for one in tasks[0]["predictions"][0]["result"] if one["from_name"] == "scenes"]
    assert [one["value"]["ranges"] for one in regions] == [[{"start": 1, "end": 15}], [{"start": 16, "end": 30}]]
    assert tasks[0]["predictions"][0]["score"] == 0.7


def annotated(task: dict[str, Any], *results: dict[str, object], **more: object) -> dict[str, object]:
    return {**task, "annotations": [{"result": list(results), "completed_by": 7, **more}]}


def region(name: str, **value: object) -> dict[str, object]:
    return {"from_name": name, "to_name": "video", "type": "x", "value": value}


def test_what_an_annotator_keeps_or_adds_is_right_and_what_is_removed_is_wrong(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    tags = tuple(ItemTag(tag=tag, rule="r", given_by="rule") for tag in ("Rain", "Snow"))
    segments = (
        ItemSegment(start_s=0.0, end_s=0.6, label="Night", kind="tag", rule="r"),
        ItemSegment(start_s=0.6, end_s=1.2, label="Stated", kind="label"),
    )
    item = small_library.items[CUTS].model_copy(
        update={"tags": tags, "segments": segments, "labels": ("Stated",), "category": "Travel", "frame_rate": 25.0}
    )
    export_items(small_library, "label-studio", tmp_path, [item])
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    kept: list[dict[str, object]] = [
        region("tags", choices=["Snow", "Fog"]), region("category", choices=["Sport"]),
        region("scenes", ranges=[{"start": 15, "end": 31}], timelinelabels=["Night", "Stated"]),
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]  # fmt: skip
    email = {"completed_by": {"id": 3, "email": "ada@example.org"}}
    content = json.dumps([annotated(task, *kept, **email), annotated(task, was_cancelled=True)]).encode()
    found = list(read_verdicts(content, lambda video: [(0.0, 0.6), (0.6, 1.2)]))
    assert [number for number, _ in found] == [1] * len(found)
    said = [one for _, one in found if not isinstance(one, VidpipeError)]
    assert {(one["kind"], one["tag"], one["start_s"], one["verdict"]) for one in said} == {
        ("category", "Sport", None, "yes"), ("category", "Travel", None, "no"), ("tag", "Fog", None, "yes"),
        ("tag", "Rain", None, "no"), ("tag", "Snow", None, "yes"), ("tag", "Night", 0.0, "no"),
        ("tag", "Night", 0.6, "yes"),
    }  # fmt: skip
    assert {(one["video"], one["by"]) for one in said} == {(item.video, "ada@example.org")}


def test_a_wrong_task_is_named_by_its_position_and_the_others_count(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    item = small_library.items[CUTS].model_copy(update={"tags": (ItemTag(tag="Rain", rule="r", given_by="rule"),)})
    export_items(small_library, "label-studio", tmp_path, [item])
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    good = annotated(task, region("tags", choices=["Rain"]))
    wrong: list[object] = [
        7, {}, {**task, "annotations": "no"}, annotated({"data": {"video": "x"}}),
        annotated(task, region("tags", choices=3)),
        annotated(task, region("scenes", ranges=[{"start": -1, "end": float("inf")}], timelinelabels=["Rain"])),
        annotated({"data": {**task["data"], "fps": 0}}, region("tags", choices=["Rain"])),
    ]  # fmt: skip
    found = list(read_verdicts(json.dumps([good, *wrong, good]).encode(), lambda video: [(0.0, 1.2)]))
    assert [number for number, one in found if isinstance(one, VidpipeError)] == [2, 3, 4, 5, 6, 7, 8]
    assert {number for number, one in found if not isinstance(one, VidpipeError)} == {1, 9}
    for content in (b"{}", b"nothing", b"\xff", b"[" * 100_000):
        with pytest.raises(SettingsError, match="list of tasks"):
            list(read_verdicts(content, lambda video: []))


def test_hostile_texts_stay_on_their_line_of_an_edl(small_library: ExportedLibrary, tmp_path: Path) -> None:
    item = nasty(small_library.items[CUTS], frame_rate=29.97)
    export_items(small_library, "edl", tmp_path, [item])
    lines = (tmp_path / f"{item.key}.edl").read_bytes().decode().split("\n")
    assert lines[0].startswith("TITLE: ")
    assert lines[1] == "FCM: DROP FRAME"
    events = [line.split() for line in lines if line[:1].isdigit()]
    assert [one[0] for one in events] == ["001", "002"]
    assert all(len(one[1]) <= 8 and one[2] == "AA/V" for one in events)
    assert events[1][4:] == ["00:00:00;18", "00:00:01;06", "00:00:00;18", "00:00:01;06"]
    assert all(line.startswith(("TITLE", "FCM", "0", "* ")) for line in lines if line)
    assert lines.count(f"* FROM CLIP NAME: {item.key}.mp4") == 2
    assert sum(line.startswith("* LOC: ") for line in lines) == 2


def test_captions_show_hostile_texts_as_they_are_and_a_silent_video_has_none(
    small_library: ExportedLibrary, tmp_path: Path
) -> None:
    item = nasty(small_library.items[CUTS])
    export_items(small_library, "webvtt", tmp_path, [item])
    vtt = (tmp_path / f"{item.key}.vtt").read_text()
    assert vtt.count("\n00:00:0") == 2, "a text cannot make a cue"
    assert "Scene 2" in vtt
    assert "<" not in vtt
    chapters = (ItemText(start_s=0.0, end_s=1.0, text="Part one"),)
    export_items(small_library, "webvtt", tmp_path, [item.model_copy(update={"chapters": chapters})])
    assert (tmp_path / f"{item.key}.vtt").read_text() == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nPart one\n"
    done = export_items(small_library, "srt", tmp_path / "srt", [item, small_library.items[HOSTILE]])
    assert len(done.done) == 2
    assert [path.name for path in (tmp_path / "srt").glob("*.srt")] == [f"{item.key}.srt"]
    blocks = (tmp_path / "srt" / f"{item.key}.srt").read_text().split("\n\n")
    assert len(blocks) == 1
    assert blocks[0].startswith("1\n00:00:00,100 --> 00:00:00,500\n")
    assert blocks[0].count("-->") == 1
