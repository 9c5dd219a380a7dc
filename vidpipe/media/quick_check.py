"""Checks many small videos in one process: starting a program takes many times as long as decoding a picture."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from vidpipe.media import ffmpeg, memory

#: A video takes milliseconds. Whatever takes longer is left to a program of its own, with its own limits.
_LIMIT_S = 5.0
_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("quick_check_worker.py")))


class QuickCheck:
    """The process (`quick_check_worker`), which starts with the first file; a context that ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def container(self, path: Path) -> str | None:
        """Return the container of a file that certainly is a video, and None for any other one.

        Args:
            path: An MP4 or Matroska file whose beginning gives no reason to refuse it.
        """
        request = {"address": ffmpeg.input_address(path), "options": ffmpeg.input_options()}
        with self._lock, memory.current().granted() as limit_bytes:
            if self._process is None:
                self._process = ffmpeg.spawn(
                    _COMMAND, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, memory_bytes=limit_bytes
                )
            timer = threading.Timer(_LIMIT_S, self._process.kill)
            timer.start()
            try:
                answer = _answer(self._process, json.dumps(request))
            finally:
                timer.cancel()
            if not answer:
                self._stop()
            return answer.strip().decode() or None

    def _stop(self) -> None:
        if self._process is not None:
            ffmpeg.stop(self._process)
            with contextlib.suppress(BrokenPipeError), self._process:  # closes the pipes
                pass
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stop()


def _answer(process: subprocess.Popen[bytes], request: str) -> bytes:
    """Return the line of the answer; empty if the process has ended."""
    assert process.stdin is not None  # noqa: S101  (PIPE was requested)
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{request}\n".encode())
        process.stdin.flush()
    return process.stdout.readline()
