"""Gives runs over assets the tags of their stages: queue, GPU limits, priority.

Jobs have these tags. Runs that Dagster's page or a backfill launches over assets get none from the assets' ops, and
would go to a machine without a GPU.
"""

import dagster as dg

from vidpipe.pipeline.assets import model_requirements
from vidpipe.pipeline.dagster_internals import QueuedRunCoordinator, SubmitRunContext
from vidpipe.settings import load
from vidpipe.stages.registry import build_graph


class GpuRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's queue of runs, behind which launchers find the machine that a run needs."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue a run. Tags that it has already, such as those of the launchpad, prevail."""
        run = context.dagster_run
        if run.asset_selection:
            settings = load(secrets=False).settings
            names = {key.to_user_string() for key in run.asset_selection}
            wanted = model_requirements((stage for stage in build_graph(settings) if stage.name in names), settings)
            self._instance.add_run_tags(run.run_id, {**wanted.run_tags, **run.tags})
        return super().submit_run(context)
