"""Ticks of a code server share one instance, one connection and one reading of the settings."""

from __future__ import annotations

from typing import Any

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sensors.shared_connections import with_shared_connections
from vidpipe.settings import Settings
from vidpipe_tests.runner.small_graph import GRAPH


def test_ticks_share_what_is_costly_until_the_settings_change(
    settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> None:
    seen: list[tuple[Any, Any, Any]] = []

    @dg.sensor(name="probe", minimum_interval_seconds=5)
    def probe(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        with library.opened(GRAPH) as opened:
            seen.append((context.instance, opened.connection, opened.settings))
        return dg.SkipReason(f"It was {context.cursor}.")

    sensor = with_shared_connections(probe, str(settings.home))
    assert sensor.minimum_interval_seconds == 5

    def tick() -> tuple[Any, Any, Any]:
        with dg.build_sensor_context(instance_ref=dagster.get_ref(), sensor_name="probe", cursor="here") as context:
            assert sensor.evaluate_tick(context).skip_message == "It was here."
        return seen[-1]

    first, second = tick(), tick()
    assert all(one is other for one, other in zip(first, second, strict=True))
    local = settings.home / "config.local.ini"
    local.write_text("[Sensors]\nPrepareBatch = 7\n")
    local.chmod(0o600)
    third = tick()
    assert third[:2] == first[:2]
    assert third[2].sensors.prepare_batch == 7
