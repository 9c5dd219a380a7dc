"""The sensor url_list, ticked by hand: a real list file, a real MongoDB, a real Dagster instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.sources import ListedSources
from vidpipe.pipeline.ingest import url_list_sensor
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe.sources.list_watch import WatchTiming
from vidpipe.sources.records import SourceRecord
from vidpipe.sources.source_request import request_for
from vidpipe_tests.runner.small_graph import GRAPH

LIST = "data/urls.txt"
NO_REST = WatchTiming(list_rest_s=0.0, open_line_rest_s=0.0, video_rest_s=0.0, pauses=0.0)
SECRET = "hunter2secret"  # noqa: S105


def write(path: Path, text: str) -> None:
    """Puts a new file in the place of `path`, as editors do."""
    part = path.with_name("part")
    part.write_text(text)
    part.replace(path)


def source(url: str) -> str:
    return request_for(url).id


class ListSensor:
    """Ticks of the sensor, one after the other, with the cursor that the daemon would keep."""

    def __init__(self, settings: Settings, library: Library, dagster: dg.DagsterInstance, timing: WatchTiming) -> None:
        self.list = settings.home / LIST
        self.library = library
        self.listed = ListedSources(library.collections, library.sources)
        self.dagster = dagster
        self.cursor: str | None = None
        self._resource = LibraryResource(home=str(settings.home))
        self._settings = settings
        self.set_timing(timing)

    def set_timing(self, timing: WatchTiming) -> None:
        self._sensor = url_list_sensor(GRAPH, self._settings, timing)

    def tick(self) -> Any:
        with dg.build_sensor_context(
            self.dagster, cursor=self.cursor, resources={"library": self._resource}
        ) as context:
            data = self._sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data

    def say(self, *lines: str) -> Any:
        write(self.list, "\n".join([*lines, ""]))
        return self.tick()

    def records(self) -> dict[str, SourceRecord]:
        rows = self.library.collections["sources"].find()
        return {row["url"]: SourceRecord.model_validate({"id": row["_id"], **row}) for row in rows}

    def named(self) -> set[str]:
        return {url for url, record in self.records().items() if record.lists}

    def problems(self) -> list[str]:
        return [sentence for _, sentence in self.listed.problems()]


def ids(request: Any) -> list[str]:
    return list(request.run_config["ops"]["ingest_sources"]["config"]["sources"])
