"""Each export of the real clips and those of the demo, whole and by scene, as the library reads it that it is made for.

The clips have what is odd: portrait and rotated pictures, three frames, no audio, two video streams, damaged packets,
AV1, HEVC and ten bits, Matroska, WebM and QuickTime. Counts, labels, times and the first frame of all are compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidpipe.datasets.item import DatasetItem
from vidpipe.library.queries.export import export, write_partitions
from vidpipe.media.probe import probe
from vidpipe.sources.inputs import gather
from vidpipe_tests.datasets.conftest import ExportedLibrary, export_items, exported_library
from vidpipe_tests.readers.conftest import psnr_db, read_with, reader_environment
from vidpipe_tests.readers.test_captions_and_tables import READ_CAPTIONS, READ_TABLES
from vidpipe_tests.readers.test_editors import PACKAGES as EDITOR_PACKAGES
from vidpipe_tests.readers.test_editors import READ as READ_EDITORS
from vidpipe_tests.readers.test_labelling_tools import READ_LABEL_STUDIO
from vidpipe_tests.readers.test_labelling_tools import fiftyone as fiftyone_environment  # noqa: F401 - fixture
from vidpipe_tests.readers.test_trainer_readers import _torch

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

REAL_CLIPS = ("bikes.mp4", "nasa.mp4", "dj1.mp4", "av1.mkv", "rotated90.mov", "corrupted.mp4", "night-watch.mp4")
_ROOT = Path(__file__).resolve().parents[2]
#: Encoded again. What another frame or stream shows is far below.
_SAME_FRAME_DB = 28.0
_STATED: tuple[dict[str, object], ...] = (
    {"url": "bikes.mp4", "labels": ["bicycles", "=film"]},
    {"url": "bikes.mp4", "start": 1.2, "end": 3.04, "label": "riding"},
    {"url": "bikes.mp4", "start": 5.48, "end": 7.48, "label": ["riding", "street, wet"]},
    {"url": "nasa.mp4", "start": 0, "end": "00:05", "label": "space"},
    {"url": "nasa.mp4", "labels": ["Space/Flight"]},
    {"url": "av1.mkv", "labels": ["riding"]},
    {"url": "rotated90.mov", "labels": ["tall"]},
    {"url": "dj2.mp4", "labels": ["../wall"]},
    {"url": "corrupted.mp4", "labels": ["damaged"]},
)
SAVE = "numpy.save(folder + '/' + key + '.npy', numpy.ascontiguousarray(picture))"


@pytest.fixture(scope="module")
def real(clips_directory: Path, mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedLibrary]:
    """The library of the clips, with a list that states labels and labelled times of some."""
    folder = tmp_path_factory.mktemp("real")
    make = [sys.executable, str(_ROOT / "scripts" / "make_samples.py"), str(folder / "demo")]
    subprocess.run(make, check=True, capture_output=True, timeout=300)
    stated = [{**row, "url": str(clips_directory / str(row["url"]))} for row in _STATED]
    listed = {row["url"] for row in stated}
    paths = sorted(map(str, [*clips_directory.glob("*.m*[4kv]"), *(folder / "demo").iterdir()]))
    rows = [*stated, *({"url": path} for path in paths if path not in listed)]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    requests = gather([str(folder / "list.jsonl")]).requests
    with exported_library(tmp_path_factory.mktemp("home"), mongod_uri, requests) as library:
        assert len(library.items) == len(paths) - 1, "the demo's broken clip is none"
        yield library


@pytest.fixture(scope="module")
def items(real: ExportedLibrary) -> list[DatasetItem]:
    """All videos, whole, and some by scene: a clip per scene."""
    parts = [item for item in real.parts(*REAL_CLIPS) if not item.whole]
    return sorted([*real.items.values(), *parts], key=lambda item: item.key)


def _exported(real: ExportedLibrary, file_format: str, folder: Path, items: list[DatasetItem], **options: Any) -> None:
    done = export_items(real, file_format, folder, items, **options)
    assert done.failed == {}
    assert done.done == [item.key for item in items]


def _frame(path: Path, stream: int, time_s: float) -> np.ndarray[Any, Any]:
    """The first frame of a stream at or after a time, as RGB."""
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", f"0:{stream}", "-vf",
         f"select=gte(t\\,{time_s - 0.002:f})", "-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "-"],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    import cv2

    found = cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(found)[..., ::-1]


def _show_their_first_frame(real: ExportedLibrary, items: Iterable[DatasetItem], frames: Path) -> None:
    for item in items:
        path = real.settings.resolve(item.path)
        wanted = _frame(path, dict(probe(path))["video_stream"], item.start_s)
        read = np.load(frames / f"{item.key}.npy")
        assert read.shape == wanted.shape, (item.name, item.key)
        assert psnr_db(read, wanted) > _SAME_FRAME_DB, (item.name, item.key)


def test_datasets_loads_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    _exported(real, "hf", tmp_path / "export", items)
    script = f"""
import json, sys
folder, torch = sys.argv[1:]
sys.path.append(torch)
import numpy, datasets
rows = []
for row in datasets.load_dataset("videofolder", data_dir=folder)["train"]:
    key, video = row["key"], row.pop("video")
    picture = video.get_frame_at(0).data.permute(1, 2, 0).numpy()
    {SAVE}
    rows.append([key, row["label"], row["start_s"], row["end_s"], row["segments"], video.metadata.duration_seconds])
print(json.dumps(rows))
"""
    python = reader_environment("datasets", ["datasets>=4", "torchcodec"])
    read = read_with(python, script, tmp_path / "export", _torch(), cache=tmp_path / "cache")
    assert [row[:5] for row in read] == [
        [item.key, item.label, item.start_s, item.end_s, [one.model_dump() for one in item.segments]] for item in items
    ]
    for (*_, duration_s), item in zip(read, items, strict=True):
        assert duration_s == pytest.approx(item.duration_s, abs=1.5 / (item.frame_rate or 1)), item.name
    _show_their_first_frame(real, items, tmp_path / "export")


def test_webdataset_reads_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    _exported(real, "webdataset", tmp_path / "export", items, shard_size=4_000_000)
    shards = sorted(path.name for path in (tmp_path / "export" / "train").iterdir())
    script = f"""
import io, json, sys
import av, numpy, webdataset
folder, last = sys.argv[1:]
read = []
for sample in webdataset.WebDataset(folder + "/train/{{000000.." + last + "}}.tar", shardshuffle=False).decode():
    key, facts = sample["__key__"], sample["json"]
    with av.open(io.BytesIO(sample["mp4"])) as video:
        picture = next(video.decode(video.streams.best("video"))).to_ndarray(format="rgb24")
    {SAVE}
    read.append([key, facts["label"], facts["start_s"], facts["end_s"]])
print(json.dumps(read))
"""
    python = reader_environment("webdataset", ["webdataset", "av"])
    read = read_with(python, script, tmp_path / "export", shards[-1].removesuffix(".tar"))
    assert read == [[item.key, item.label, item.start_s, item.end_s] for item in items]
    _show_their_first_frame(real, items, tmp_path / "export")


def test_torchvision_reads_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    _exported(real, "kinetics", tmp_path / "export", items)
    script = f"""
import csv, json, sys
from pathlib import Path
folder, torch = sys.argv[1:]
sys.path.append(torch)
import numpy
from torchvision.datasets import Kinetics
found = Kinetics(folder, frames_per_clip=1, split="train", extensions=("mp4",), step_between_clips=100000)
for number, (path, _) in enumerate(found.samples):
    key, picture = Path(path).stem, found[number][0][0].permute(1, 2, 0).numpy()
    {SAVE}
samples = {{Path(path).stem: found.classes[index] for path, index in found.samples}}
print(json.dumps([samples, len(found), list(csv.DictReader(open(folder + "/train.csv")))]))
"""
    samples, clips, rows = read_with(
        reader_environment("torchvision", ["torchcodec"]), script, tmp_path / "export", _torch()
    )
    classes = json.loads((tmp_path / "export" / "classes.json").read_bytes())
    assert {key: classes["classes"][folder] for key, folder in samples.items()} == {i.key: i.label for i in items}
    assert clips == len(items)
    assert [row["youtube_id"] for row in rows] == [item.key for item in items]
    assert [float(row["time_start"]) for row in rows] == pytest.approx([one.start_s for one in items], abs=6e-4)
    assert [float(row["time_end"]) for row in rows] == pytest.approx([one.end_s for one in items], abs=6e-4)
    assert sum(classes["not_stated"].values()) == sum(not item.labels for item in items)
    _show_their_first_frame(real, items, tmp_path / "export")


def test_qwen_vl_utils_takes_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    pytest.importorskip("qwen_vl_utils")
    done = export_items(real, "qwen-sft", tmp_path, items)
    assert done.failed == {}
    script = """
import json, os, sys
folder, torch = sys.argv[1:]
sys.path.append(torch)
os.environ["FORCE_QWENVL_VIDEO_READER"] = "torchcodec"
import qwen_vl_utils
found = {}
for sample in json.load(open(folder + "/train.json")):
    content = [{"type": "video", "video": folder + "/" + sample["video"]}, {"type": "text", "text": "Describe."}]
    _, videos = qwen_vl_utils.process_vision_info([{"role": "user", "content": content}])
    found[sample["id"]] = [sample["described_by"], sample["conversations"][1]["value"], *videos[0].shape]
print(json.dumps(found))
"""
    read = read_with(reader_environment("torchvision", ["torchcodec"]), script, tmp_path, _torch())
    described = {item.key: item for item in items if item.description}
    assert read.keys() == described.keys() == set(done.done)
    for key, (described_by, text, frames, _, height, width) in read.items():
        item = described[key]
        assert (described_by, text) == ("statistics", item.description.strip())
        assert frames >= 2
        assert (height > width) == (item.height > item.width) or item.height == item.width


def test_activitynet_lists_the_stated_times(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    _exported(real, "activitynet", tmp_path, items)
    database = json.loads((tmp_path / "activitynet.json").read_bytes())["database"]
    assert list(database) == [item.key for item in items]
    for item in items:
        entry = database[item.key]
        stated = [(one.label, [one.start_s, one.end_s]) for one in item.segments if one.kind == "label"]
        wanted = stated or [(label, [0.0, item.duration_s]) for label in item.labels]
        if item.labels:
            assert [(one["label"], one["segment"]) for one in entry["annotations"]] == wanted
        assert {one["kind"] for one in entry["annotations"]} <= {"label" if item.labels else "category"}
        np.save(tmp_path / f"{item.key}.npy", _frame(tmp_path / "videos" / f"{item.key}.mp4", 0, 0.0))
    _show_their_first_frame(real, items, tmp_path)


def test_fiftyone_imports_all_labels_apart_from_predictions(
    real: ExportedLibrary,
    items: list[DatasetItem],
    fiftyone_environment: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    _exported(real, "fiftyone", tmp_path / "export", items)
    script = f"""
import json, sys
from pathlib import Path
import cv2, numpy
import fiftyone as fo
folder, found = sys.argv[1], []
for labels in ("labels.json", "predictions.json"):
    importer_of = fo.types.FiftyOneTemporalDetectionDataset().get_dataset_importer_cls()
    importer, read = importer_of(dataset_dir=folder, labels_path=labels), {{}}
    with importer:
        for path, _, label, _ in importer:
            video, key = cv2.VideoCapture(path), Path(path).stem
            picture, rate = video.read()[1][..., ::-1], video.get(cv2.CAP_PROP_FPS)
            {SAVE}
            times = [[one.label, (one.support[0] - 1) / rate, one.support[1] / rate] for one in label.detections]
            read[key] = [times, rate]
    found.append(read)
print(json.dumps(found))
"""
    labels, predictions = read_with(fiftyone_environment, script, tmp_path / "export", cache=tmp_path)
    assert labels.keys() == predictions.keys() == {item.key for item in items}
    for item in items:
        stated = [(one.label, one.start_s, one.end_s) for one in item.segments if one.kind == "label"]
        tags = [(one.label, one.start_s, one.end_s) for one in item.segments if one.kind == "tag"]
        for (read, rate), wanted in (
            (labels[item.key], stated or [(label, 0.0, item.duration_s) for label in item.labels]),
            (predictions[item.key], [*tags, *([(item.predicted, 0.0, item.duration_s)] if item.predicted else [])]),
        ):
            assert [label for label, *_ in read] == [label for label, *_ in wanted]
            for (_, *times), (_, *expected) in zip(read, wanted, strict=True):
                assert times == pytest.approx(expected, abs=1.5 / rate), (item.name, item.key)
    _show_their_first_frame(real, items, tmp_path / "export")


def test_label_studio_accepts_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    _exported(real, "label-studio", tmp_path, items)
    read = read_with(reader_environment("label-studio-sdk", ["label-studio-sdk==2.1.2"]), READ_LABEL_STUDIO, tmp_path)
    assert (read["errors"], read["data"]) == ([], [True] * len(items))
    assert {one.label for item in items for one in item.segments} <= set(read["controls"]["scenes"])
    for item in items:
        np.save(tmp_path / f"{item.key}.npy", _frame(tmp_path / "media" / f"{item.key}.mp4", 0, 0.0))
    _show_their_first_frame(real, items, tmp_path)


def test_editors_open_all(real: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    pytest.importorskip("opentimelineio")
    files = []
    for file_format in ("otio", "edl"):
        _exported(real, file_format, tmp_path / file_format, items)
        files += [(str(tmp_path / file_format / f"{one.key}.{file_format}"), one.frame_rate) for one in items]
    found = read_with(reader_environment("opentimelineio", EDITOR_PACKAGES), READ_EDITORS, json.dumps(files))
    for (path, rate), item in zip(files, [*items, *items], strict=True):
        scenes = [(one.start_s, one.end_s) for one in item.scenes] or [(0.0, item.duration_s)]
        frame_s = 1 / (rate or 1)
        read = [clip for clip in found[path]["clips"] if clip["times"][1] > clip["times"][0]]
        assert len(read) == len([one for one in scenes if one[1] - one[0] > frame_s / 2]), (item.name, path)
        for clip, times in zip(read, scenes, strict=False):
            assert clip["times"] == pytest.approx(times, abs=frame_s), (item.name, path)
            assert (Path(path).parent / clip["media"]).is_file()


def test_captions_and_tables_of_all(real: ExportedLibrary, tmp_path: Path) -> None:
    captions = reader_environment("captions", ["webvtt-py==0.6.0", "pysrt==1.1.2", "srt==3.5.3"])
    whole = sorted(real.items.values(), key=lambda item: item.key)
    for file_format in ("webvtt", "srt"):
        _exported(real, file_format, tmp_path / file_format, whole)
    assert any(item.transcript for item in whole)
    for item in whole:
        subtitles = tmp_path / "srt" / f"{item.key}.srt"
        assert subtitles.exists() == bool(item.transcript)
        if item.transcript:
            read = read_with(captions, READ_CAPTIONS, tmp_path / "webvtt" / f"{item.key}.vtt", subtitles)
            assert [one[2] for one in read["srt"]] == [one.text for one in item.transcript]
            starts = [one.start_s for one in item.chapters or item.scenes]
            assert [one[0] for one in read["vtt"]] == pytest.approx(starts, abs=0.001)
    export(real.library, tmp_path / "table", "parquet", {})
    write_partitions(tmp_path / "table", tmp_path / "videos")
    read = read_with(reader_environment("tables", ["pyarrow", "pandas"]), READ_TABLES, tmp_path / "videos")
    by_video = {item.video: item for item in whole}
    for row in read["rows"]:
        item = by_video[row["video"]]
        assert row["duration_s"] == pytest.approx(item.duration_s)
        assert set(row["tags"]) == {tag.tag for tag in item.tags}
    assert set(read["videos"]) >= set(by_video)
