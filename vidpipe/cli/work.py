"""The two pieces of work a command can ask for, each a Dagster job run in this process: one history for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidpipe.cli.call import Opened
from vidpipe.runner.request import RunReport
from vidpipe.stages.contract import Observer

if TYPE_CHECKING:
    from vidpipe.ingest.local import LocalMode
    from vidpipe.ingest.records import IngestObserver, IngestOutcome


@dataclass(frozen=True)
class Adding:
    """How inputs are added. mode: None where it was not given, which means copy; the others as in `run_ingest`"""

    mode: LocalMode | None = None
    labels: tuple[str, ...] = ()
    title: str = ""
    retry: bool = False
    refresh: bool = False


def take_in(
    opened: Opened, inputs: Sequence[str], adding: Adding, observer: IngestObserver, cancelled: threading.Event
) -> list[IngestOutcome]:
    """One outcome for each source that `inputs` come to, and for each input that cannot be taken."""
    from vidpipe.pipeline.launch import run_ingest

    return run_ingest(
        opened.settings, inputs, mode=adding.mode or "copy", labels=adding.labels, title=adding.title,
        refresh=adding.refresh, retry=adding.retry, observer=observer, cancelled=cancelled, library=opened.library,
    )  # fmt: skip


def run_stages(
    opened: Opened,
    videos: Sequence[str] | None,
    stages: Sequence[str] | None,
    observer: Observer,
    cancelled: threading.Event,
    *,
    retry: bool = False,
    force: Sequence[str] = (),
) -> RunReport:
    """Brings `videos` (None: all that are due) up to date in `stages` (None: all)."""
    from vidpipe.pipeline.launch import run_process

    return run_process(
        opened.settings, videos, stages=stages, retry=retry, force=force, observer=observer, cancelled=cancelled,
        library=opened.library,
    )  # fmt: skip
