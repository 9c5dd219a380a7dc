"""run_failures: who is to hear of failed runs hears of them, by webhook and e-mail; the log always does."""

import dagster as dg

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.pipeline.alerting.outage import end_outage, tell_outage
from vidpipe.pipeline.alerting.telling import take_in_failures, tell
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.stages.graph import StageGraph

_EVERY_S = 15


def run_failures_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Runs whatever [Sensors] Enabled says: it starts nothing."""

    @dg.sensor(
        name="run_failures",
        description="Tells of failed runs as [Alerts] says, and once more of those that could not be delivered.",
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def run_failures(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        try:
            settings = library.settings()
        except VidpipeError as error:
            return dg.SkipReason(str(error))
        try:
            with library.opened(graph, settings) as opened, opened.connection.errors_explained():
                number = take_in_failures(context.instance, opened, settings)
                said = tell(context.instance, opened, settings)
        except UnavailableError as error:
            return dg.SkipReason(" ".join(tell_outage(settings, error)))
        end_outage(settings)
        return dg.SkipReason(" ".join([f"Runs that failed since the last look: {number}.", *said]))

    return run_failures
