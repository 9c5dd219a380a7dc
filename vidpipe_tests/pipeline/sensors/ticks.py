"""Ticks by hand, and the runs they ask for: not yet started, or run here to their end."""

from __future__ import annotations

from typing import Any

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import load
from vidpipe.stages.graph import StageGraph


class Ticks:
    """A sensor or schedule of `graph` in the home of `library`, under today's settings of the home."""

    def __init__(self, library: Library, dagster: dg.DagsterInstance, graph: StageGraph, name: str) -> None:
        self.library = library
        self.dagster = dagster
        self._graph = graph
        self._name = name

    def tick(self) -> Any:
        home = self.library.settings.home
        repository = build_definitions(self._graph, load(home).settings).get_repository_def()
        resources = {"library": LibraryResource(home=str(home))}
        if repository.has_sensor_def(self._name):
            with dg.build_sensor_context(self.dagster, resources=resources, repository_def=repository) as sensor:
                return repository.get_sensor_def(self._name).evaluate_tick(sensor)
        with dg.build_schedule_context(self.dagster, resources=resources) as schedule:
            return repository.get_schedule_def(self._name).evaluate_tick(schedule)

    def requests(self) -> list[Any]:
        return list(self.tick().run_requests)

    def skipped(self) -> str:
        """What the tick says instead of asking for a run."""
        ticked = self.tick()
        assert not ticked.run_requests, ticked.run_requests
        return str(ticked.skip_message)

    def queue(self, request: Any) -> dg.DagsterRun:
        """The run that the daemon makes of a request, not yet started."""
        return self.dagster.create_run_for_job(self._job(request), run_config=request.run_config, tags=request.tags)

    def run(self, request: Any) -> dg.ExecuteInProcessResult:
        return self._job(request).execute_in_process(
            run_config=request.run_config, instance=self.dagster, tags=request.tags, raise_on_error=False
        )

    def _job(self, request: Any) -> dg.JobDefinition:
        definitions = build_definitions(self._graph, load(self.library.settings.home).settings)
        return definitions.resolve_job_def(request.job_name)


def config(request: Any) -> dict[str, Any]:
    (op,) = request.run_config["ops"].values()
    return dict(op["config"])


def keys(request: Any) -> list[str]:
    return list(config(request)["keys"])
