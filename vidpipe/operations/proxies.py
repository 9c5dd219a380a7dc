"""The cache of playable copies (proxies): made one at a time, the least recently played deleted first.

derived/proxies/<sha256>.mp4             its access time is set when it is played
                .partial-<sha256>.mp4    being made
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.videos import NoSuchVideo, read_result
from vidpipe.settings import Settings

if TYPE_CHECKING:
    from vidpipe.media.encode import EncodeOrder

log = logging.getLogger(__name__)

MOST_WAITING = 20
#: Names of files that are incomplete begin with this.
PARTIAL = ".partial-"
#: A proxy that was played since is probably playing.
_PLAYING_S, _STOP_S = 300.0, 10.0
#: Encoding takes longer than decoding, and others have priority.
_SLOWER, _MIN_TIME_LIMIT_S = 5.0, 1800.0


@dataclass(frozen=True)
class ProxyState:
    """A proxy.

    Attributes:
        state: none: nobody asked for it; making: it is being made, or waits for its turn.
        progress: Share that is done, 0 to 1.
        error: Why it failed; None if it did not.
    """

    state: Literal["none", "making", "ready", "failed"]
    progress: float = 0.0
    error: str | None = None


def clips_folder(settings: Settings, sha256: str) -> Path:
    """Return where the clips of a video are kept, see `vidpipe.datasets.clips.maker`."""
    return settings.derived_directory / "clips" / sha256


def proxy_path(settings: Settings, sha256: str) -> Path:
    """Return where the proxy of a video is or would be."""
    return settings.derived_directory / "proxies" / f"{sha256}.mp4"


class Proxies:
    """The proxies of a library. All threads share it.

    Args:
        library: Returns the open library.
    """

    def __init__(self, library: Callable[[], Library]) -> None:
        self._library = library
        self._mutex = threading.Lock()
        #: Those that wait, that are being made (the first of them) and that failed.
        self._states: dict[str, ProxyState] = {}
        self._worker: threading.Thread | None = None
        self._closed = threading.Event()

    def state(self, settings: Settings, sha256: str) -> ProxyState:
        """Return the state of a video's proxy."""
        if proxy_path(settings, sha256).is_file():
            return ProxyState("ready", 1.0)
        return self._states.get(sha256) or ProxyState("none")

    def request(self, settings: Settings, sha256: str) -> ProxyState:
        """Have a video's proxy made, unless it is ready or being made, and return its state.

        Raises:
            UnavailableError: Too many are waiting.
        """
        with self._mutex:
            found = self.state(settings, sha256)
            if found.state in ("ready", "making"):
                return found
            if len(list(self._waiting())) >= MOST_WAITING:
                raise UnavailableError(f"{MOST_WAITING} videos wait for their playable copies.", "Try again later.")
            self._states.pop(sha256, None)
            found = self._states[sha256] = ProxyState("making")
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True, name="proxies")
                self._worker.start()
            return found

    def played(self, settings: Settings, sha256: str) -> Path | None:
        """Return the proxy of a video, and note that it is being played; None if it is not ready."""
        path = proxy_path(settings, sha256)
        try:
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except FileNotFoundError:
            return None
        return path

    def close(self) -> None:
        """End the work; what is incomplete is deleted."""
        self._closed.set()
        if worker := self._worker:
            worker.join(_STOP_S)

    def _waiting(self) -> Iterator[str]:
        return (sha256 for sha256, found in self._states.items() if found.state == "making")

    def _work(self) -> None:
        while True:
            with self._mutex:
                sha256 = next(self._waiting(), None)
                if sha256 is None or self._closed.is_set():
                    self._worker = None
                    return
            error = self._make(sha256)
            self._states[sha256] = ProxyState("failed" if error else "none", error=error)

    def _make(self, sha256: str) -> str | None:
        """Make a proxy, and return why that failed."""
        try:
            self._encode(self._library(), sha256)
        except VidpipeError as error:
            return str(error)
        except OSError as error:
            return f"The playable copy could not be written: {error.strerror}."
        except Exception as error:
            log.exception("making the proxy of %s", sha256)
            return f"Unexpected {type(error).__name__}; the log file says where."
        return None

    def _encode(self, library: Library, sha256: str) -> None:
        from vidpipe.media.encode import encode

        settings, path = library.settings, proxy_path(library.settings, sha256)
        limit_bytes = settings.library_page.proxy_cache_mb * 1_000_000
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{path.name}")
        row = _stored(library, sha256)
        stored = (row.get("raw_video") or row["ingest"])["path"]
        try:
            with library.files.video(sha256, stored, self._closed) as original:
                encode(self._order(library, row, original, limit_bytes), partial)
            _make_room(path.parent, limit_bytes - partial.stat().st_size)
            _stored(self._library(), sha256)  # it may have been forgotten meanwhile
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _order(self, library: Library, row: dict[str, Any], path: Path, max_bytes: int) -> EncodeOrder:
        from vidpipe.media import memory  # numpy and OpenCV: only for servers that make proxies
        from vidpipe.media.encode import EncodeOrder
        from vidpipe.media.probe import probe
        from vidpipe.stages.contract import Item
        from vidpipe.stages.video_decode import plan_for

        settings, sha256 = library.settings, row["_id"]
        if not path.is_file():
            raise NoSuchVideo("The file of the video does not exist.", "Run the raw_video stage for it.")
        facts = dict(read_result(library.graph, "metadata", row) or probe(path, limits=settings.limits))
        plan = plan_for(Item(sha256, {f"metadata.{name}": value for name, value in facts.items()}), settings)
        size, duration_s = (facts["width"], facts["height"]), facts["duration_s"]
        limit_s = _SLOWER * settings.scene_detection.timeout_factor * (duration_s or 3600.0)

        def progress(share: float) -> None:
            self._states[sha256] = ProxyState("making", share)

        return EncodeOrder(
            path, plan, size, duration_s, memory.FileLimits(settings.limits, pixels=size[0] * size[1]),
            max(_MIN_TIME_LIMIT_S, limit_s), max_bytes, self._closed, progress,
        )  # fmt: skip


def _stored(library: Library, sha256: str) -> dict[str, Any]:
    with library.connection.errors_explained():
        row = library.videos.get(sha256)
    if row is None:
        raise NoSuchVideo("The video was forgotten.")
    return row


def _make_room(folder: Path, limit_bytes: int) -> None:
    """Delete proxies, the least recently played first, until the others fit; those that are being played stay."""
    stats = sorted(((path.stat(), path) for path in folder.glob("[0-9a-f]*.mp4")), key=lambda one: one[0].st_atime)
    left_bytes = sum(stat.st_size for stat, _ in stats)
    for stat, path in stats:
        if left_bytes > limit_bytes and stat.st_atime < time.time() - _PLAYING_S:
            path.unlink(missing_ok=True)
            left_bytes -= stat.st_size
