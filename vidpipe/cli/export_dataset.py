"""The formats of `vidpipe export` with media or for other tools: see `vidpipe.datasets.exporters`."""

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.interrupt import stoppable
from vidpipe.cli.output import counted, note
from vidpipe.cli.progress import PartsDisplay
from vidpipe.datasets.card import card
from vidpipe.datasets.clips.maker import CLIP_FORMAT, ClipMaker
from vidpipe.datasets.exporters.exporter import ExportJob, exporter
from vidpipe.datasets.item import DatasetItem
from vidpipe.datasets.items import library_items
from vidpipe.datasets.media import ItemMedia
from vidpipe.datasets.statistics import DatasetStatistics
from vidpipe.datasets.target import open_target
from vidpipe.datasets.versions import items_left, stored_items, version_named
from vidpipe.errors import VidpipeError
from vidpipe.library.exports import record as record_export
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import audit
from vidpipe.stages.contract import Cancelled


def export_dataset(
    opened: OpenLibrary, destination: str, file_format: str, *, ids: Sequence[str], by_scene: bool,
    dataset: str | None = None, **given: Any,
) -> dict[str, Any]:  # fmt: skip
    """Export videos, or the version of a dataset, and report on stderr what was written. Returns what --json prints.

    given: options of the format.
    """
    version = version_named(opened.library, dataset) if dataset else None
    statistics = DatasetStatistics()
    failed: list[dict[str, str]] = []
    notes: list[str] = []
    written = 0
    with PartsDisplay("Exporting") as display:

        def say(sentence: str) -> None:
            notes.append(sentence)
            display.say(sentence)

        def done(item: DatasetItem) -> None:
            nonlocal written
            written += 1
            statistics.add(item)
            display.progress("videos" if item.whole else "clips", written, total)

        def work(cancelled: Event) -> bool:
            def fail(item: DatasetItem, error: VidpipeError) -> None:
                if cancelled.is_set():
                    raise Cancelled  # which the error may say as well
                failed.append({"video": item.video, "name": item.name, "error": error.message, "hint": error.hint})
                display.say(f"{item.name} is left out: {error}")

            target = open_target(opened.library, destination, cancelled, file_format)
            record_export(opened.library.collections, destination, file_format)
            media = ItemMedia(opened.library, ClipMaker(opened.library, CLIP_FORMAT, cancelled), cancelled)
            items = (
                stored_items(opened.library, version)
                if version
                else library_items(opened.library, opened.plan, ids, scenes=by_scene)
            )
            try:
                job = ExportJob(_until(cancelled, items), media, target, given, failed=fail, done=done, note=say)
                exporter(file_format)(job)
                if version or file_format == "hf":
                    target.write("README.md", card(statistics.as_document(), version))
                target.finish()
            except (Cancelled, FetchCancelled):
                target.keep()
                return True
            return False

        total = version.statistics["items"] if version else None if by_scene else len(ids)
        stopped = stoppable(work, display.say)
    result: dict[str, Any] = {"path": destination, "format": file_format, "items": written, "failed": failed}
    result |= {"notes": notes, "interrupted": stopped}
    if version:
        lost = version.statistics["items"] - items_left(opened.library, version)
        result |= {"dataset": version.reference, "forgotten": lost}
        if lost:
            note(f"{counted(lost, 'item')} of {version.reference} are left out: their videos were forgotten.")
    audit("export", **{**result, "failed": len(failed)})
    noun = "item" if version else "clip" if by_scene else "video"
    note(f"Exported {counted(written, noun)} to {destination} ({file_format}).")
    return result


def _until(cancelled: Event, items: Iterator[DatasetItem]) -> Iterator[DatasetItem]:
    """Yield the items. Raises Cancelled, so that no list replaces that of an earlier export which has them all."""
    for item in items:
        if cancelled.is_set():
            raise Cancelled
        yield item
