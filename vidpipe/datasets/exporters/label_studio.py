"""Label Studio: tasks with predictions and a labelling configuration; and the verdicts in what was annotated there.

tasks.json refers to the videos as local files below the export's folder, which Label Studio serves with
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to that folder. Frames
count from 1.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from vidpipe.datasets.exporters.exporter import ExportJob
from vidpipe.datasets.exporters.timecode import exact_rate
from vidpipe.datasets.item import DatasetItem
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.queries.json_encoding import to_json
from vidpipe.text.messages import single_line

_LOCAL_FILE = "/data/local-files/?d="
_LABEL_LENGTH, _TEXT_LENGTH = 200, 2000
#: Name of a control in the configuration -> its tag, the tag of a label in it, and attributes.
_CONTROLS: Mapping[str, tuple[str, str, dict[str, str]]] = {
    "tags": ("Choices", "Choice", {"choice": "multiple"}),
    "category": ("Choices", "Choice", {"choice": "single-radio"}),
    "scenes": ("TimelineLabels", "Label", {}),
}
_MAX_FRAMES = 1e9
Scenes = Sequence[tuple[float, float]]


def export(job: ExportJob) -> None:
    """Write the videos, tasks.json and label_config.xml."""
    tasks, offered = list[dict[str, Any]](), {name: set[str]() for name in _CONTROLS}
    for item, stored in job.with_videos(lambda item: f"{item.folder}media/{item.key}.mp4"):
        tasks.append(_task(item, f"{_LOCAL_FILE}{stored}"))
        for region in tasks[-1]["predictions"][0]["result"]:
            offered[region["from_name"]].update(region["value"][region["type"]])
    offered["scenes"] |= offered["tags"]
    job.target.write("tasks.json", to_json(tasks, indent=1))
    job.target.write("label_config.xml", _config(offered))


def _task(item: DatasetItem, url: str) -> dict[str, Any]:
    rate = exact_rate(item.frame_rate)
    category = [item.predicted] if item.whole and item.predicted else []
    spans = [(one.label, round(one.start_s * rate), round(one.end_s * rate)) for one in item.segments]
    result = [
        *_region("tags", (tag.tag for tag in item.tags)), *_region("category", category),
        *(region for label, start, end in spans
          for region in _region("scenes", [label], ranges=[{"start": start + 1, "end": max(start + 1, end)}])),
    ]  # fmt: skip
    numbered = [{"id": f"{region['from_name']}-{number}", **region} for number, region in enumerate(result)]
    versions = " ".join(("vidpipe", *(f"{name}={version[:12]}" for name, version in sorted(item.versions.items()))))
    sure = [tag.confidence for tag in item.tags if tag.confidence is not None]
    prediction = {"model_version": versions, "result": numbered} | ({"score": min(sure)} if sure else {})
    about = {"key", "video", "start_s", "end_s", "whole", "split", "labels", "versions"}
    exported = {**item.model_dump(mode="json", include=about), "predicted": result}
    texts = {"title": item.title or item.name, "description": item.description}
    shown = {name: single_line(text, _TEXT_LENGTH) for name, text in texts.items()}
    return {"data": {"video": url, "fps": rate, **shown, "vidpipe": exported}, "predictions": [prediction]}


def _region(name: str, labels: Iterable[str], **more: Any) -> Iterator[dict[str, Any]]:
    """Yield a region with labels as XML can hold them; none without labels."""
    if plain := [one for one in dict.fromkeys(single_line(label, _LABEL_LENGTH) for label in labels) if one]:
        kind = _CONTROLS[name][0].lower()
        yield {"from_name": name, "to_name": "video", "type": kind, "value": {kind: plain, **more}}


def _config(offered: Mapping[str, Iterable[str]]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Header", value="$title")
    ET.SubElement(view, "Video", name="video", value="$video", framerate="$fps", timelineHeight="120")
    for name, labels in offered.items():
        tag, child, attributes = _CONTROLS[name]
        if labels:
            control = ET.SubElement(view, tag, attributes, name=name, toName="video")
        for label in sorted(labels):
            # What begins with $ names a field of the task; the alias is what annotations contain.
            shown = {"value": f"\uff04{label[1:]}", "alias": label} if label.startswith("$") else {"value": label}
            ET.SubElement(control, child, shown)
    ET.SubElement(view, "Text", name="description", value="$description")
    ET.indent(view)
    return f"{ET.tostring(view, encoding='unicode')}\n".encode()


def read_verdicts(
    content: bytes, scenes: Callable[[str], Scenes]
) -> Iterator[tuple[int, dict[str, Any] | VidpipeError]]:
    """Yield the position of a task from 1, and a verdict as in `VerdictChange` with `by`, or what is wrong with it.

    What an annotator kept or added is right; what was predicted and removed is wrong.

    Args:
        content: JSON as Label Studio exports it.
        scenes: Gives the times of a video's scenes.

    Raises:
        SettingsError: It is something else.
    """
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError):
        tasks = None
    if not isinstance(tasks, list):
        raise SettingsError("This is not a list of tasks.", "In Label Studio, export as JSON, not as JSON-MIN or CSV.")
    for number, task in enumerate(tasks, 1):
        try:
            for verdict in list(_verdicts(task, scenes)):
                yield number, verdict
        except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError):
            yield number, SettingsError("This is not an annotated task of an export by vidpipe.")


def _verdicts(task: Mapping[str, Any], scenes: Callable[[str], Scenes]) -> Iterator[dict[str, Any]]:
    data, video = task["data"], str(task["data"]["vidpipe"]["video"])
    times = scenes(video)
    predicted = set(_answers(data["vidpipe"]["predicted"], data, times))
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        kept, who = set(_answers(annotation["result"], data, times)), annotation.get("completed_by")
        by = (who.get("email") or who.get("id")) if isinstance(who, dict) else who
        for about in sorted(kept | predicted, key=str):
            verdict = dict(zip(("kind", "tag", "start_s"), about, strict=True))
            yield {"video": video, "verdict": "yes" if about in kept else "no", "by": str(by or ""), **verdict}


def _answers(
    regions: Iterable[Mapping[str, Any]], data: Mapping[str, Any], scenes: Scenes
) -> Iterator[tuple[str, str, float | None]]:
    """Yield what regions say of the video and its scenes, but for labels that are no tags."""
    item, rate = data["vidpipe"], float(data["fps"])
    of_item = [None] if item["whole"] else _scenes_in(float(item["start_s"]), float(item["end_s"]), scenes)
    for region in regions:
        name, value = region.get("from_name"), region.get("value", {})
        if name == "category":
            yield from (("category", label, None) for label in value["choices"])
        elif name == "tags":
            yield from (("tag", label, at) for label in value["choices"] for at in of_item)
        for span in value["ranges"] if name == "scenes" else ():
            start, end = float(span["start"]), float(span["end"])
            if not 0 <= start <= end <= _MAX_FRAMES or rate <= 0:
                raise ValueError("not frames")
            from_s, offset_s = (start - 1) / rate, float(item["start_s"])
            inside = _scenes_in(offset_s + from_s, offset_s + end / rate, scenes)
            labels = [label for label in value["timelinelabels"] if label not in item["labels"]]
            yield from (("tag", label, at) for label in labels for at in inside)


def _scenes_in(start_s: float, end_s: float, scenes: Scenes) -> list[float]:
    """Return the starts of the scenes that are at least half inside a span, else its middle."""
    inside = [first for first, last in scenes if min(last, end_s) - max(first, start_s) >= (last - first) / 2]
    return inside or [max(0.0, (start_s + end_s) / 2)]
