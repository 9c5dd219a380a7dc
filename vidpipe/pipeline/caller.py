"""What the caller of a run hands to the op that does the work, where both are in one process.

Dagster's run config holds plain data only, and everybody may read it. A progress display, a flag to stop, an open
library, URLs with a password: these go by here. A run that Dagster launches has no caller.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass, field

from vidpipe.ingest.records import IngestObserver, IngestOutcome
from vidpipe.library.library import Library
from vidpipe.runner.request import RunReport
from vidpipe.settings import Settings
from vidpipe.stages.contract import Observer


@dataclass
class Caller:
    """
    settings:  in force, with the options of the command
    library:   open; the op does not close it
    inputs:    of ingest, as given, secrets included
    cancelled: set by the caller to stop
    fault:     what ended the work, to be raised again outside Dagster
    """

    settings: Settings
    library: Library
    observer: Observer | None = None
    ingest_observer: IngestObserver | None = None
    inputs: tuple[str, ...] = ()
    cancelled: threading.Event = field(default_factory=threading.Event)
    report: RunReport | None = None
    outcomes: list[IngestOutcome] | None = None
    fault: BaseException | None = None


CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
