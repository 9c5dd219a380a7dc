"""The exports for trainers as the libraries read them that trainers use: counts, times, labels and a decoded frame."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidpipe.datasets.item import DatasetItem
from vidpipe_tests.datasets.conftest import CUTS, HOSTILE, LABELS, TALK, ExportedLibrary, export_items
from vidpipe_tests.readers.conftest import frame_of, psnr_db, read_with, reader_environment

pytestmark = pytest.mark.soak

_AT_S = 0.3
#: A file that is stored as it was: decoders only round differently. The next frame of a moving clip is at 20 dB.
_SAME_FRAME_DB = 35.0
#: A file that was encoded again (MKV), which loses detail: 34 dB were measured.
_ENCODED_AGAIN_DB = 30.0


@pytest.fixture(scope="module")
def items(small_library: ExportedLibrary) -> list[DatasetItem]:
    """Two whole videos in different splits, and the parts of one."""
    talk = small_library.items[TALK].model_copy(update={"split": "validation"})
    found = [talk, small_library.items[HOSTILE], *small_library.parts(CUTS)]
    return sorted(found, key=lambda item: item.key)


def _original_frame(library: ExportedLibrary, item: DatasetItem, time_s: float = _AT_S) -> np.ndarray[Any, Any]:
    return frame_of(library.settings.resolve(item.path), item.start_s + time_s, item.width, item.height)


def _torch() -> Path:
    """The packages of the tests' environment, of which readers use torch: it takes gigabytes."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torch and torchvision are not installed")
    return Path(spec.origin).parents[1]


def test_datasets_loads_the_video_folder(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    export_items(small_library, "hf", tmp_path / "export", items)
    python = reader_environment("datasets", ["datasets>=4", "torchcodec"])
    script = f"""
import json, sys
folder, torch = sys.argv[1:]
sys.path.append(torch)
import numpy, datasets
loaded = datasets.load_dataset("videofolder", data_dir=folder)
rows = {{split: [{{name: row[name] for name in row if name != "video"}} for row in rows.remove_columns("video")]
        for split, rows in loaded.items()}}
first = loaded["train"][0]["video"]
numpy.save(folder + "/frame.npy", first.get_frame_played_at({_AT_S}).data.permute(1, 2, 0).numpy())
print(json.dumps({{"rows": rows, "features": {{name: str(kind) for name, kind in loaded["train"].features.items()}}}}))
"""
    read = read_with(python, script, tmp_path / "export", _torch(), cache=tmp_path / "cache")
    assert list(read["rows"]) == ["train", "validation"]
    train = [item for item in items if not item.split]
    assert [row["key"] for row in read["rows"]["train"]] == [item.key for item in train]
    assert [(row["label"], row["start_s"], row["end_s"]) for row in read["rows"]["train"]] == [
        (item.label, item.start_s, item.end_s) for item in train
    ]
    [talk] = read["rows"]["validation"]
    assert talk["transcript"][0]["text"] == "What a wonderful, happy lighthouse"
    assert (talk["title"], talk["subcategory"], talk["answers"]) == (None, None, [])
    assert [tag["tag"] for tag in talk["tags"]] == [tag.tag for tag in small_library.items[TALK].tags]
    assert HOSTILE in [row["name"] for row in read["rows"]["train"]]
    assert read["features"]["video"].startswith("Video(")
    frame = np.load(tmp_path / "export" / "frame.npy")
    assert psnr_db(frame, _original_frame(small_library, train[0])) > _SAME_FRAME_DB


def test_webdataset_reads_the_shards(small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path) -> None:
    export_items(small_library, "webdataset", tmp_path / "export", items, shard_size=40_000)
    shards = sorted(path.name for path in (tmp_path / "export" / "train").iterdir())
    assert len(shards) > 1
    python = reader_environment("webdataset", ["webdataset", "av"])
    script = """
import io, json, sys
import av, numpy, webdataset
folder, last = sys.argv[1:]
read = []
for sample in webdataset.WebDataset(folder + "/train/{000000.." + last + "}.tar", shardshuffle=False).decode():
    facts = sample["json"]
    with av.open(io.BytesIO(sample["mp4"])) as video:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
    if not read:
        numpy.save(folder + "/frame.npy", [picture for time, picture in frames if time <= 0.3][-1])
    read.append([sample["__key__"], facts["label"], facts["start_s"], facts["end_s"], len(frames)])
print(json.dumps(read))
"""
    read = read_with(python, script, tmp_path / "export", shards[-1].removesuffix(".tar"))
    train = [item for item in items if not item.split]
    assert read == [
        [item.key, item.label, item.start_s, item.end_s, round(item.duration_s * (item.frame_rate or 0))]
        for item in train
    ]
    frame = np.load(tmp_path / "export" / "frame.npy")
    assert psnr_db(frame, _original_frame(small_library, train[0])) > _SAME_FRAME_DB


def test_torchvision_reads_the_kinetics_folders(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    export_items(small_library, "kinetics", tmp_path / "export", items)
    python = reader_environment("torchvision", ["torchcodec"])
    script = """
import csv, json, sys
folder, torch = sys.argv[1:]
sys.path.append(torch)
import numpy
from torchvision.datasets import Kinetics
read = {}
for split in ("train", "val"):
    found = Kinetics(folder, frames_per_clip=5, split=split, extensions=("mp4",), step_between_clips=5)
    samples = [(path, found.classes[index]) for path, index in found.samples]
    rows = list(csv.DictReader(open(f"{folder}/{split}.csv")))
    read[split] = {"samples": samples, "clips": len(found), "rows": rows}
    if split == "val":
        numpy.save(folder + "/frame.npy", found[0][0][0].permute(1, 2, 0).numpy())  # of a clip: pictures, sound, label
print(json.dumps(read))
"""
    read = read_with(python, script, tmp_path / "export", _torch())
    train = [item for item in items if not item.split]
    labels = json.loads((tmp_path / "export/classes.json").read_bytes())["classes"]
    found = {Path(path).stem: labels[folder] for path, folder in read["train"]["samples"]}
    assert found == {item.key: item.label for item in train}
    rows = {row["youtube_id"]: (float(row["time_start"]), float(row["time_end"])) for row in read["train"]["rows"]}
    assert rows == {item.key: (item.start_s, item.end_s) for item in train}
    assert read["val"]["clips"] == 5
    assert [labels[folder] for _, folder in read["val"]["samples"]] == list(LABELS[TALK])
    frame = np.load(tmp_path / "export" / "frame.npy")
    talk = small_library.items[TALK]
    assert psnr_db(frame, _original_frame(small_library, talk, 0.0)) > _ENCODED_AGAIN_DB


def test_qwen_vl_utils_takes_the_videos_of_the_conversations(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    told = [item.model_copy(update={"measured": False}) for item in items]
    export_items(small_library, "qwen-sft", tmp_path, told)
    pytest.importorskip("qwen_vl_utils")
    script = """
import json, os, sys
path, torch = sys.argv[1:]
sys.path.append(torch)
os.environ["FORCE_QWENVL_VIDEO_READER"] = "torchcodec"
import qwen_vl_utils
content = [{"type": "video", "video": path}, {"type": "text", "text": "Describe this video."}]
images, videos = qwen_vl_utils.process_vision_info([{"role": "user", "content": content}])
print(json.dumps({"images": images, "videos": [list(video.shape) for video in videos]}))
"""
    python = reader_environment("torchvision", ["torchcodec"])
    samples = json.loads((tmp_path / "train.json").read_bytes())
    assert [sample["id"] for sample in samples] == [item.key for item in told if not item.split]
    for sample in samples:
        # as Qwen's qwenvl/data/data_processor.py makes messages of a sample
        assert sample["conversations"][0]["value"].split("<video>") == ["", "\nDescribe this video."]
        read = read_with(python, script, tmp_path / sample["video"], _torch())
        assert read["images"] is None
        assert [shape[:2] for shape in read["videos"]] in ([[2, 3]], [[4, 3]])
        assert "<video>" not in sample["conversations"][1]["value"]


def test_activitynet_is_read_as_its_evaluation_does(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    export_items(small_library, "activitynet", tmp_path, items)
    document = json.loads((tmp_path / "activitynet.json").read_bytes())
    assert all(field in document for field in ("database", "taxonomy", "version"))
    truth = {
        key: [(one["label"], *map(float, one["segment"])) for one in entry["annotations"]]
        for key, entry in document["database"].items()
        if entry["subset"] == "validation"
    }
    talk = small_library.items[TALK]
    assert truth == {talk.key: [(talk.label, 0.0, talk.duration_s)]}
    video = tmp_path / "videos" / f"{talk.key}.mp4"
    frame = frame_of(video, _AT_S, talk.width, talk.height)
    assert psnr_db(frame, _original_frame(small_library, talk)) > _ENCODED_AGAIN_DB
