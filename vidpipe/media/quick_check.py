"""Checks many small videos in one process: starting a program takes many times as long as decoding a picture."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from vidpipe.media import ffmpeg, memory, programs

#: A video takes milliseconds. Whatever takes longer is left to a program of its own, with its own limits.
_LIMIT_S = 5.0
_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("quick_check_worker.py")))


class QuickCheck:
    """The process (`quick_check_worker`), which starts with the first file. Close it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def container(self, path: Path) -> str | None:
        """Return the container of a file that certainly is a video, and None for any other one.

        Args:
            path: An MP4 or Matroska file whose beginning gives no reason to refuse it.
        """
        request = json.dumps({"address": ffmpeg.input_address(path), "options": ffmpeg.input_options()})
        with self._lock, memory.current().granted() as limit_bytes:
            process = self._process = self._process or programs.spawn(
                _COMMAND, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, memory_bytes=limit_bytes
            )
            assert process.stdin and process.stdout  # noqa: S101, PT018  (pipes were requested)
            timer = threading.Timer(_LIMIT_S, process.kill)
            timer.start()
            with contextlib.suppress(BrokenPipeError):  # it has ended, and gives no answer
                process.stdin.write(f"{request}\n".encode())
                process.stdin.flush()
            answer = process.stdout.readline(100)  # the process reads untrusted files
            timer.cancel()
            if not answer:
                self.close()
            return answer.strip().decode() or None

    def close(self) -> None:
        """End the process; another file would start it again."""
        if self._process is not None:
            programs.stop(self._process)
            with contextlib.suppress(BrokenPipeError), self._process:
                self._process = None
