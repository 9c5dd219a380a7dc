"""failure_rate: tells when too large a share of videos or sources failed within [Alerts] RateWindow."""

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.pipeline.alerting.telling import take_in_rates, tell
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.stages.graph import StageGraph

_EVERY_S = 60


def failure_rate_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Runs whatever [Sensors] Enabled says: it starts nothing."""

    @dg.sensor(
        name="failure_rate",
        description="Tells when too large a share of the videos in a stage, or of the sources, failed lately.",
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failure_rate(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        try:
            settings = library.settings()
            with library.opened(graph, settings) as opened, opened.connection.errors_explained():
                rates = take_in_rates(context.instance, opened, settings)
                said = tell(context.instance, opened, settings)
        except VidpipeError as error:  # run_failures tells of an outage
            return dg.SkipReason(str(error))
        found = [rate.sentence() for rate in rates] or ["No rate of failures has become too high."]
        return dg.SkipReason(" ".join([*found, *said]))

    return failure_rate
