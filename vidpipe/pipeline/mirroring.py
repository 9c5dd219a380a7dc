"""The job that keeps the SQL mirror up to date."""

import dagster as dg

from vidpipe.datasets.mirror.sync import mirror
from vidpipe.pipeline.execution import StepSession, one_op_job, step_failure
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.stages.graph import StageGraph


def mirror_job(graph: StageGraph) -> dg.JobDefinition:
    """Return the job. It fails with a message that names the database without its password."""
    description = "Brings the SQL mirror that [Mirror] URL names up to date, as `vidpipe mirror` does."

    @dg.op(name="mirror_library", description=description)
    def mirror_library(context: dg.OpExecutionContext, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            report = mirror(session.library, cancelled=session.cancelled)
            context.add_output_metadata({"database": report.database, "change": report.change_number, **report.rows})
            if failed := [f"{one['id'][:12]}: {one['error']}" for one in report.failed]:
                raise step_failure(f"{len(failed)} videos or sources stay as they were in the mirror.", failed)

    return one_op_job(mirror_library, "mirror", description)
