"""Brings single videos up to date at once, in this process, in the quick stages that a verdict decides."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.stages.contract import INGEST

log = logging.getLogger(__name__)

#: Verdicts on one video that are given together must not find it busy.
_ONE_AT_A_TIME = threading.Lock()


def label_now(library: Library, plan: Plan, videos: Sequence[str]) -> bool:
    """Return whether all results follow what was said of the videos; if not, they stay due.

    Args:
        library: The library.
        plan: All stages.
        videos: The videos.
    """
    read = plan.graph.readers(INGEST, ["verdicts"])
    names = {*read, *(later for name in read & {*plan.graph.names} for later in plan.graph.downstream(name))}
    stages = tuple(stage for stage in plan.stages if stage.quick and stage.name in names)
    faults = {name: why for name, why in plan.unavailable.items() if name in names}
    request = RunRequest(videos=tuple(videos), stages=tuple(stage.name for stage in stages), isolate_crashes=False)
    try:
        with _ONE_AT_A_TIME:
            report = Runner(library, replace(plan, stages=stages, unavailable=faults)).run(request)
    except VidpipeError as error:
        log.warning("verdicts are stored and will be applied later: %s", error)
        return False
    return report.ok and not report.busy and not report.total("blocked")
