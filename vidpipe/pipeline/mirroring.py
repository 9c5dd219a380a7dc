"""Keeps the SQL mirror up to date: as a job, and on [Mirror] Schedule."""

from collections.abc import Sequence

import dagster as dg

from vidpipe.datasets.mirror.sync import mirror
from vidpipe.pipeline.execution import StepSession, one_op_job, step_failure
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.schedules import job_schedules
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

_NAME = "mirror"
_DESCRIPTION = "Brings the SQL mirror that [Mirror] URL names up to date, as `vidpipe mirror` does."


def mirror_job(graph: StageGraph) -> dg.JobDefinition:
    """Return the job. It fails with a message that names the database without its password."""

    @dg.op(name="mirror_library", description=_DESCRIPTION)
    def mirror_library(context: dg.OpExecutionContext, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            report = mirror(session.library, cancelled=session.cancelled)
            context.add_output_metadata({"database": report.database, "change": report.change_number, **report.rows})
            if failed := [f"{one['id'][:12]}: {one['error']}" for one in report.failed]:
                raise step_failure(f"{len(failed)} videos or sources stay as they were in the mirror.", failed)

    return one_op_job(mirror_library, _NAME, _DESCRIPTION)


def mirror_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule of [Mirror] Schedule; none if it is empty."""
    return job_schedules(_NAME, settings.mirror.schedule, _DESCRIPTION)
