"""The sensor health: cleans up after killed processes.

Dagster's own run monitoring ends a launched run whose process died. This sensor also finds runs of commands in a
terminal, and frees the leases of dead processes, so that their videos are due again.
"""

from __future__ import annotations

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_launcher import end_dead_runs
from vidpipe.stages.graph import StageGraph

_EVERY_S = 30


def health_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Returns the sensor; it also runs where [Sensors] Enabled is no."""

    @dg.sensor(
        name="health",
        description="Ends runs whose process was killed, and frees the videos that they held.",
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def health(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        with library.opened(graph) as opened:
            freed = free_dead_leases(opened)
        if not ended and not freed:
            return dg.SkipReason("No process has died.")
        return dg.SkipReason(f"Processes have died: ended {len(ended)} runs and freed {freed} videos.")

    return health


def free_dead_leases(library: Library) -> int:
    """Frees the videos that dead processes of this machine hold. Returns their number."""
    videos = library.collections["videos"]
    held = {"lease": {"$exists": True}}
    before = videos.count_documents(held)
    with library.leases() as leases:
        leases.free_dead()
    return max(0, before - videos.count_documents(held))
