"""What an export format implements, and the formats there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vidpipe.errors import VidpipeError

if TYPE_CHECKING:  # they import numpy and OpenCV, which `vidpipe run` and most exports do not need
    from vidpipe.datasets.item import DatasetItem
    from vidpipe.datasets.media import ItemMedia
    from vidpipe.datasets.target import Target

#: Format -> (module:function of `vidpipe.datasets.exporters`, what it is for).
FORMATS: Mapping[str, tuple[str, str]] = {
    "hf": ("video_folder:export", "Hugging Face video folder with metadata.parquet"),
    "webdataset": ("webdataset:export", "tar shards of KEY.mp4 and KEY.json"),
    "qwen-sft": ("conversations:export", "conversations to fine-tune Qwen-VL and LLaVA-Video"),
    "kinetics": ("action_recognition:export_kinetics", "folders of classes with CSV"),
    "activitynet": ("action_recognition:export_activitynet", "ActivityNet JSON with labelled times"),
    "fiftyone": ("fiftyone:export", "FiftyOneTemporalDetectionDataset"),
    "label-studio": ("label_studio:export", "Label Studio tasks with predictions"),
    "otio": ("timeline:export_otio", "OpenTimelineIO timelines for editors"),
    "edl": ("timeline:export_edl", "CMX 3600 edit decision lists"),
    "webvtt": ("captions:export_webvtt", "chapters as WebVTT"),
    "srt": ("captions:export_srt", "transcripts as SubRip"),
}


@dataclass
class ExportJob:
    """One export.

    Attributes:
        items: What is exported, in order.
        media: Their files.
        target: Where it goes; the caller finishes it.
        options: Of the format.
        failed: Called for an item that is left out, with its error.
        done: Called after each item.
        note: Called with a sentence about the export as a whole.
        left_out: Number of items without a name, which the format cannot hold.
    """

    items: Iterable[DatasetItem]
    media: ItemMedia
    target: Target
    options: Mapping[str, Any] = field(default_factory=dict)
    failed: Callable[[DatasetItem, VidpipeError], None] = lambda item, error: None
    done: Callable[[DatasetItem], None] = lambda item: None
    note: Callable[[str], None] = lambda sentence: None
    left_out: int = 0

    def with_videos(self, name: Callable[[DatasetItem], str], *, mp4: bool = True) -> Iterator[tuple[DatasetItem, str]]:
        """Store the file of each item, and yield the items with the names that `name` gave their files.

        Without a name, an item is left out. A file is an MP4, or with `mp4` false the original of a whole video.
        An item whose file cannot be made is reported and left out. Each is done when the next one is asked for.
        """

        def named() -> Iterator[DatasetItem]:
            for item in self.items:
                if name(item):
                    yield item
                else:
                    self.left_out += 1

        def is_missing(item: DatasetItem) -> bool:
            return not self.target.has(name(item), self.media.made_of(item, mp4=mp4))

        for item, missing in self.media.batches(named(), is_missing, mp4=mp4):
            stored = name(item)
            try:
                if missing:
                    with self.media.file(item, mp4=mp4) as path:
                        self.target.put(stored, self.media.made_of(item, mp4=mp4), path)
            except VidpipeError as error:
                self.failed(item, error)
                continue
            yield item, stored
            self.done(item)


def facts(item: DatasetItem) -> dict[str, Any]:
    """Return what exports say of an item, as JSON types, without paths of this machine."""
    plain = item.model_dump(mode="json", exclude={"path"})
    for source in plain["sources"]:
        source["url"] = web_address(source["url"])
    return {"label": item.label, **plain}


def web_address(url: str) -> str:
    """Return a source's URL; "" for a file of this machine."""
    return url if "://" in url and not url.startswith("file:") else ""


def exporter(name: str) -> Callable[[ExportJob], None]:
    """Return the function that writes a format."""
    module, _, function = FORMATS[name][0].partition(":")
    found: Callable[[ExportJob], None] = getattr(import_module(f"vidpipe.datasets.exporters.{module}"), function)
    return found
