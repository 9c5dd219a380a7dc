"""What the sensor url_list launches: what is due, by priority, in batches, a few runs at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from vidpipe.settings import Settings
from vidpipe.sources.records import SourceRecord
from vidpipe_tests.pipeline.sensors.list_sensor import ListSensor, ids, source
from vidpipe_tests.runner.small_graph import GRAPH


@pytest.mark.usefixtures("no_rest")
class TestDue:
    def test_one_priority_a_run_the_highest_first_and_a_few_runs_at_once(
        self, list_sensor: ListSensor, settings: Settings
    ) -> None:
        size = settings.sensors.ingest_batch
        plain = [f"https://h.example/{number}.mp4" for number in range(4 * size + 1)]
        late = [f"https://h.example/late-{number}.mp4 priority=-1" for number in range(2)]
        soon = [f"https://h.example/soon-{number}.mp4 priority=9" for number in range(2)]
        data = list_sensor.say(*late, *plain, *soon)
        assert [request.tags["dagster/priority"] for request in data.run_requests] == ["9", "0", "0", "0"]
        assert [len(ids(request)) for request in data.run_requests] == [2, size, size, size]
        assert ids(data.run_requests[1])[:2] == [source(plain[0]), source(plain[1])], "in the list's order"
        tags = {**data.run_requests[0].tags}
        assert {"vidpipe/by": "sensor", "vidpipe/step": "ingest", "dagster/max_retries": "0"}.items() <= tags.items()
        assert tags["dagster/priority"] == "9"

    def test_what_unfinished_runs_hold_is_not_launched_twice_and_what_is_urgent_does_not_wait(
        self, list_sensor: ListSensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VIDPIPE_SENSORS_INGESTBATCH", "2")
        urls = [f"https://h.example/{number}.mp4" for number in range(10)]
        first = list_sensor.say(*urls)
        queued = [self._queue(list_sensor, request) for request in first.run_requests]
        assert len(queued) == 4
        assert not list_sensor.tick().run_requests
        urgent = list_sensor.say(*urls, "https://h.example/urgent.mp4 priority=1").run_requests
        assert [ids(request) for request in urgent] == [[source("https://h.example/urgent.mp4")]]
        self._queue(list_sensor, urgent[0])
        order = [int(run.tags["dagster/priority"]) for run in self._in_order(list_sensor)]
        assert order == [1, 0, 0, 0, 0]
        for ended in queued[:2]:
            list_sensor.dagster.report_run_failed(ended)
        (next_one,) = list_sensor.tick().run_requests
        assert ids(next_one) == ids(first.run_requests[0])

    @staticmethod
    def _queue(list_sensor: ListSensor, request: Any) -> dg.DagsterRun:
        from vidpipe.pipeline.ingest import ingest_job

        return list_sensor.dagster.create_run_for_job(
            ingest_job(GRAPH), run_config=request.run_config, tags=request.tags
        )

    @staticmethod
    def _in_order(list_sensor: ListSensor) -> list[dg.DagsterRun]:
        """The queue as the daemon takes runs out of it."""
        from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

        runs = list_sensor.dagster.get_runs(dg.RunsFilter(job_name="ingest"))
        return list(QueuedRunCoordinatorDaemon(interval_seconds=1)._priority_sort(runs))

    def test_only_what_may_be_tried_by_itself_is_launched(self, list_sensor: ListSensor) -> None:
        now = datetime.now(UTC)
        past, future = now - timedelta(minutes=1), now + timedelta(minutes=1)
        states: dict[str, dict[str, Any]] = {
            "new": {"state": "new"},
            "killed": {"state": "fetching"},
            "try-again": {"state": "failed", "next_try_at": past},
            "wait": {"state": "failed", "next_try_at": future},
            "for-good": {"state": "failed", "next_try_at": None},
            "refused": {"state": "refused"},
            "stored": {"state": "stored"},
            "folder": {"state": "listed", "next_try_at": past},
        }
        urls = {name: f"https://h.example/{name}.mp4" for name in states}
        list_sensor.say(*urls.values())
        known = list_sensor.records()
        for name, update in states.items():
            list_sensor.library.sources.save(known[urls[name]].model_copy(update=update))
        list_sensor.library.sources.save(SourceRecord(id="1" * 32, url="https://h.example/never-listed.mp4"))
        (request,) = list_sensor.tick().run_requests
        due = {source(urls[name]) for name in ("new", "killed", "try-again", "folder")}
        assert set(ids(request)) == due
        run = list_sensor.dagster.create_run_for_job(
            self._job(),
            run_config={"ops": {"ingest_sources": {"config": {"sources": [source(urls["killed"])]}}}},
        )
        (request,) = list_sensor.tick().run_requests
        assert set(ids(request)) == due - {source(urls["killed"])}, "`vidpipe add` may be fetching it"
        list_sensor.dagster.report_run_failed(run)

    @staticmethod
    def _job() -> dg.JobDefinition:
        from vidpipe.pipeline.ingest import ingest_job

        return ingest_job(GRAPH)

    def test_a_videos_priority_is_the_highest_of_its_sources(
        self, list_sensor: ListSensor, add: Callable[..., list[str]]
    ) -> None:
        (video,) = add("a")
        urls = [f"https://h.example/{name}.mp4" for name in "ab"]
        list_sensor.say(f"{urls[0]} priority=2", urls[1])
        for record in list_sensor.records().values():
            list_sensor.library.sources.save(record.model_copy(update={"state": "stored", "video": video}))

        def priority() -> Any:
            return list_sensor.library.collections["videos"].find_one({"_id": video}).get("priority")

        list_sensor.say(f"{urls[0]} priority=2", f"{urls[1]} priority=6")
        assert priority() == 6
        list_sensor.say(f"{urls[0]} priority=3", urls[1])
        assert priority() == 3
        list_sensor.say(*urls)
        assert priority() is None
