"""Datasets for action recognition: folders of classes with CSV as Kinetics has them, and ActivityNet's JSON."""

import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from typing import Any

from vidpipe.datasets.exporters.exporter import ExportJob, web_address
from vidpipe.datasets.item import DatasetItem
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.text.csv_cells import csv_text

#: How Kinetics and ActivityNet call the splits.
_KINETICS = {"": "train", "train": "train", "validation": "val", "test": "test"}
_ACTIVITYNET = {"": "training", "train": "training", "validation": "validation", "test": "testing"}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
#: Of a class's folder. A letter takes up to four bytes, and names of files at most 255.
_LONGEST_NAME = 50


def export_kinetics(job: ExportJob) -> None:
    """Write SPLIT/CLASS/KEY.mp4, SPLIT.csv, and classes.json with the label of each folder.

    classes.json also counts the videos whose class nobody stated: it is the category that rules chose, or unlabelled.
    In the CSV, youtube_id is the key of the item; the times are those in its video.
    """
    folders: dict[str, tuple[str, str]] = {}
    classes: dict[str, str] = {}
    unstated = Counter[str]()
    rows: dict[str, list[tuple[object, ...]]] = {}
    versions: dict[str, str] = {}

    def place(item: DatasetItem) -> str:
        return f"{_KINETICS[item.split]}/{_class_folder(item.label, folders)}/{item.key}.mp4"

    for item, name in job.with_videos(place):
        split, folder, _ = name.split("/")
        row = (csv_text(item.label), item.key, round(item.start_s, 3), round(item.end_s, 3), split)
        rows.setdefault(split, [_COLUMNS]).append(row)
        classes[folder] = item.label
        unstated[folder] += not item.labels
        versions |= item.versions
    for split, found in rows.items():
        csv.writer(table := io.StringIO(), lineterminator="\n").writerows(found)
        job.target.write(f"{split}.csv", table.getvalue().encode())
    counts = {folder: count for folder, count in sorted(unstated.items()) if count}
    listed = {"classes": dict(sorted(classes.items())), "not_stated": counts, "versions": versions}
    job.target.write("classes.json", to_json(listed, indent=2) + b"\n")


def export_activitynet(job: ExportJob) -> None:
    """Write videos/KEY.mp4 and activitynet.json with the labelled times.

    A video without labelled times has its labels for all of its duration, or the category that rules chose, as `kind`
    says. Without either it has no annotation.
    """
    database: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for item, _ in job.with_videos(lambda item: f"videos/{item.key}.mp4"):
        labels = item.labels or tuple(filter(None, (item.predicted,)))
        database[item.key] = {
            "duration": item.duration_s,
            "subset": _ACTIVITYNET[item.split],
            "resolution": f"{item.width}x{item.height}",
            "url": next(filter(None, (web_address(source.url) for source in item.sources)), ""),
            "annotations": [
                {"label": label, "segment": times, "kind": "label" if item.labels else "category"}
                for label, *times in item.stated_times(labels)
            ],
        }
        versions |= item.versions
    names = sorted({one["label"] for entry in database.values() for one in entry["annotations"]})
    nodes = [("Root", None, None), *((label, "Root", 0) for label in names)]
    fields = ("nodeName", "parentName", "parentId", "nodeId")
    taxonomy = [dict(zip(fields, (*node, number), strict=True)) for number, node in enumerate(nodes)]
    document = {"version": "VERSION 1.3", "taxonomy": taxonomy, "database": database, "versions": versions}
    job.target.write("activitynet.json", to_json(document, indent=1) + b"\n")


def _class_folder(label: str, folders: dict[str, tuple[str, str]]) -> str:
    """Return the folder of a label: its letters and digits, joined by _, and a hash where another label has the same.

    Args:
        label: The label.
        folders: Folder without case -> (folder, label); a new one is added.
    """
    plain = re.sub(r"\W+", "_", unicodedata.normalize("NFC", label))[:_LONGEST_NAME].strip("_") or "label"
    hashed = f"{plain}-{hashlib.sha256(label.encode('utf-8', 'replace')).hexdigest()[:10]}"
    free = [one for one in (plain, hashed) if folders.setdefault(one.casefold(), (one, label))[1] == label]
    return free[0]
