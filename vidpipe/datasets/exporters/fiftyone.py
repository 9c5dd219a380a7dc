"""FiftyOneTemporalDetectionDataset: data/KEY.mp4 and labels.json with the labelled times; one dataset per split.

FiftyOne takes labels.json for ground truth. What rules and models found is in predictions.json, in the same form.
"""

from collections import defaultdict
from typing import Any

from vidpipe.datasets.exporters.exporter import ExportJob
from vidpipe.datasets.item import DatasetItem
from vidpipe.library.queries.json_encoding import to_json


def export(job: ExportJob) -> None:
    """Write the videos, and one labels.json and predictions.json per split."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for item, _ in job.with_videos(lambda item: f"{item.folder}data/{item.key}.mp4"):
        for name, detections in (("labels", _labels(item)), ("predictions", _predictions(item))):
            found[f"{item.folder}{name}.json"][item.key] = detections
    for file, labels in found.items():
        classes = sorted({one["label"] for detections in labels.values() for one in detections})
        job.target.write(file, to_json({"classes": classes, "labels": labels}, indent=1))


def _labels(item: DatasetItem) -> list[dict[str, Any]]:
    """Return the labelled times; a video whose labels have no times has them from start to end."""
    return [{"label": label, "timestamps": list(times)} for label, *times in item.stated_times(item.labels)]


def _predictions(item: DatasetItem) -> list[dict[str, Any]]:
    """Return the scene tags of rules, and the category of all of the item."""
    confidences = {tag.tag: {"confidence": tag.confidence} for tag in item.tags if tag.confidence is not None}
    tags = [(one.label, one.start_s, one.end_s, one.rule) for one in item.segments if one.kind == "tag"]
    category = [(item.predicted, 0.0, item.duration_s, "category")] if item.predicted else []
    return [
        {"label": label, "timestamps": [start_s, end_s], **confidences.get(label, {}),
         "attributes": {"rule": rule, **item.versions}}
        for label, start_s, end_s, rule in (*tags, *category)
    ]  # fmt: skip
