"""Adds sources by a Dagster job in this process, so that there is one history."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from vidpipe.cli.context import OpenLibrary
from vidpipe.sources.local_files import LocalMode
from vidpipe.sources.records import IngestObserver, IngestOutcome


@dataclass(frozen=True)
class Adding:
    """How inputs are added. mode: None where it was not given, which means copy; the others as in `run_ingest`."""

    mode: LocalMode | None = None
    labels: tuple[str, ...] = ()
    title: str = ""
    retry: bool = False
    refresh: bool = False


def take_in(
    opened: OpenLibrary, inputs: Sequence[str], adding: Adding, observer: IngestObserver, cancelled: threading.Event
) -> list[IngestOutcome]:
    """One outcome for each source that `inputs` come to, and for each input that cannot be taken."""
    from vidpipe.pipeline.ingest import run_ingest

    return run_ingest(
        opened.settings, inputs, mode=adding.mode or "copy", labels=adding.labels, title=adding.title,
        refresh=adding.refresh, retry=adding.retry, observer=observer, cancelled=cancelled, library=opened.library,
    )  # fmt: skip
