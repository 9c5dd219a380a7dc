"""The one thread of a run that writes: it takes what is ready, writes it in bulk and tells the observer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from vidpipe.library.commits import PreparedCommit
from vidpipe.library.library import Library
from vidpipe.stages.contract import StageEvent

_LARGEST_BATCH = 256


@dataclass(frozen=True)
class Write:
    """A prepared commit and the event that tells of it; only an event, told after what was given before is stored; or
    neither: the end of a video (its lease is given back)."""

    sha256: str
    prepared: PreparedCommit | None = None
    event: StageEvent | None = None

    @property
    def is_end(self) -> bool:
        return self.prepared is None and self.event is None


class CommitThread:
    """Writes in the order in which it is given. The first fault stops it; `fault` holds it from then on.

    tell:     told what became of each commit
    finished: told the video whose last write is done
    """

    def __init__(
        self,
        library: Library,
        owner: str,
        tell: Callable[[StageEvent], None],
        finished: Callable[[str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._library = library
        self._owner = owner
        self._tell = tell
        self._finished = finished
        self._failed = failed
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        self._queue.put(write)

    def close(self) -> None:
        """Waits until everything given is written (or a fault has stopped the thread)."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        fault: BaseException | None = None
        last = False
        while not last:
            batch: list[Write] = []
            entry = self._queue.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) >= _LARGEST_BATCH or self._queue.empty():
                    break
                entry = self._queue.get()
            last = entry is None
            if not batch:
                continue
            if fault is None:
                try:
                    self._write(batch)
                except BaseException as error:  # told to the run, which stops and raises it
                    fault = error
                    self._failed(error)
            for write in batch:
                if write.is_end:
                    self._finished(write.sha256)

    def _write(self, batch: list[Write]) -> None:
        release = [write.sha256 for write in batch if write.is_end]
        stored = iter(
            self._library.commit(
                [write.prepared for write in batch if write.prepared is not None], self._owner, release
            )
        )
        for write in batch:
            took_effect = next(stored) if write.prepared is not None else None
            if write.event is not None:
                same = took_effect is write.prepared
                self._tell(write.event if same else _otherwise(write.event, took_effect))


def _otherwise(event: StageEvent, took_effect: PreparedCommit | None) -> StageEvent:
    """What happened instead of `event`: nothing was stored, or a failure."""
    event = replace(event, changed=False, result=None, data_version="")
    if took_effect is None:
        return replace(event, state="discarded", error=None)
    return replace(event, state="failed", error=took_effect.commit.error)
