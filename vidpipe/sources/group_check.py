"""Checks small videos in groups: starting ffmpeg takes several times as long as decoding two pictures of each."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from vidpipe.errors import VidpipeError
from vidpipe.media import memory
from vidpipe.media.container_layout import matroska_layout, mp4_layout
from vidpipe.media.ffmpeg import ffmpeg_command, input_arguments, run
from vidpipe.media.sniff import sniff
from vidpipe.settings.operation import Limits

#: As many fit into the default memory limit of one program if they are 1080p.
_LARGEST_GROUP = 8
#: The download of a larger file takes so long that its check does not matter, and its pictures may be large.
_LARGEST_FILE_BYTES = 32 << 20
_PICTURES = 2
#: How long a group waits for further files, if files come in quick succession.
_GATHERING_S = 0.2


class GroupCheck:
    """Checks that files are videos, for several threads at once.

    While one group is checked, the files of further threads gather for the next one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: list[tuple[Path, Future[str | None]]] = []
        self._busy = self._crowded = False
        self._changed = threading.Condition()

    def container(self, file: Path, check: Callable[[], str]) -> str:
        """Return the container of a file in which a video stream of several pictures decodes.

        Args:
            file: The file.
            check: Calls `check_decodable`, which finds out what the file is if it is large, alone, neither MP4 nor
                Matroska, not certainly a video, or in a group with one that ffmpeg does not open. Its errors are
                raised.

        Raises:
            OSError: A file cannot be read.
        """
        if file.stat().st_size > _LARGEST_FILE_BYTES:
            return check()
        own: Future[str | None] = Future()
        group = [(file, own)]
        with self._changed:
            self._waiting += group
            self._changed.notify_all()
            self._changed.wait_for(lambda: own.done() or not self._busy)
            if not own.done():
                self._busy = True
                if self._crowded:
                    self._changed.wait_for(lambda: len(self._waiting) >= _LARGEST_GROUP, timeout=_GATHERING_S)
                self._waiting.remove((file, own))
                group += self._waiting[: _LARGEST_GROUP - 1]
                del self._waiting[: _LARGEST_GROUP - 1]
                self._crowded = len(group) > 1
        if own.done():
            return own.result() or check()
        found: dict[Path, str] = {}
        try:
            if len(group) == 1:
                return check()
            found = _containers([path for path, _ in group], self._limits)
        finally:
            with self._changed:
                self._busy = False
                for path, future in group:
                    future.set_result(found.get(path))
                self._changed.notify_all()
        return found.get(file) or check()


def _containers(files: Sequence[Path], limits: Limits) -> dict[Path, str]:
    """Return the containers of those files that are certainly videos."""
    known = {file: container for file in files if (container := _container(file))}
    if not known:
        return {}
    # errors are those of a program, not of one file
    with contextlib.suppress(VidpipeError), memory.reading(memory.FileLimits(limits, generous=True)):
        inputs = [argument for file in known for argument in ("-threads", "1", *input_arguments(file))]
        # V: without covers that are marked as such; others have a single picture
        chains = ";".join(f"[{number}:V:0]trim=end_frame={_PICTURES}[v{number}]" for number in range(len(known)))
        maps = [argument for number in range(len(known)) for argument in ("-map", f"[v{number}]")]
        output = ["-threads", "1", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1"]
        done = run(
            ffmpeg_command("-v", "error", *inputs, "-filter_complex", chains, *maps, *output),
            timeout_s=memory.current().time.headers_s,
            task="decoding the first pictures",
            processor_s=limits.header_seconds,
        )
        pictures = Counter(line.partition(b",")[0] for line in done.stdout.splitlines())
        return {
            file: container
            for number, (file, container) in enumerate(known.items())
            if pictures[b"%d" % number] >= _PICTURES
        }
    return {}


def _container(file: Path) -> str | None:
    """Return the container of an MP4 or Matroska file whose beginning gives no reason to refuse it."""
    for read, container in ((mp4_layout, "mov"), (matroska_layout, "matroska")):
        if layout := read(file):
            return None if layout.encrypted or layout.piece or sniff(file) else container
    return None
