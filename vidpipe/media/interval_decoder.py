"""Decodes every frame of short intervals of a video, in a process of its own (`interval_worker`)."""

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vidpipe.media import ffmpeg, memory, programs
from vidpipe.media.decode import DecodePass, SmallFrame
from vidpipe.media.decode_plan import ROTATION_FILTERS, DecodePlan, detection_filters
from vidpipe.media.interval_protocol import COLOR_MATRIX, FRAME


class IntervalDecoder:
    """The process, which starts with the first request and decodes while its answers are not yet needed.

    Args:
        path: The video file.
        plan: The plan of the pass.
        running: The pass, whose limits apply.

    Attributes:
        frames_decoded: Number of frames that the answers so far have taken.
    """

    def __init__(self, path: Path, plan: DecodePlan, running: DecodePass) -> None:
        self._plan = plan
        self.frames_decoded = 0
        # reads ahead: a pipe holds few frames, and the process would wait until they are needed
        self._reader = ThreadPoolExecutor(1, "interval-frames")
        self._answers: deque[Future[list[SmallFrame]]] = deque()
        reader, writer = os.pipe()
        command = [sys.executable, "-P", "-m", "vidpipe.media.interval_worker", str(reader)]
        try:
            # its messages would only repeat that a full decode is needed
            self._process = programs.spawn(
                command, stderr=subprocess.DEVNULL, pass_fds=[reader], memory_bytes=memory.current().limit_bytes
            )
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        running.kill_with(self._process)
        self._requests = os.fdopen(writer, "w", encoding="utf-8")
        self._send(
            address=ffmpeg.input_address(path),
            options=ffmpeg.input_options(),
            stream=plan.video_stream,
            filters=[*ROTATION_FILTERS[plan.rotation], *detection_filters(plan, COLOR_MATRIX)],
            threads=memory.current().threads or 1,
        )

    def close(self) -> None:
        """End the process."""
        programs.stop(self._process)
        self._reader.shutdown()
        if self._process.stdout is not None:
            self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def request(self, start_us: int, end_us: int, *, count: int, key_us: int, max_frames: int) -> None:
        """Ask for the frames from `start_us` to `end_us`, both included.

        Args:
            start_us: Time of a frame, in microseconds.
            end_us: Time in microseconds.
            count: Number of frames expected; more than that are a failure.
            key_us: Time of the last key frame before it.
            max_frames: Number of frames after which to give up.
        """
        self._send(start_us=start_us, end_us=end_us, key_us=key_us, max_frames=max_frames)
        self._answers.append(self._reader.submit(self._answer, count))

    def frames(self) -> list[SmallFrame]:
        """Return the frames of the oldest request that has not been asked for; none if the process has failed."""
        return self._answers.popleft().result()

    def _answer(self, count: int) -> list[SmallFrame]:
        width, height = self._plan.detection
        found: list[SmallFrame] = []
        while len(head := self._read(FRAME.size)) == FRAME.size:
            value, size = FRAME.unpack(head)
            if not size:
                self.frames_decoded += value
                return found
            # the process reads an untrusted file, so its answers are untrusted
            if size != width * height * 3 or len(found) == count or len(pixels := self._read(size)) != size:
                break
            found.append(SmallFrame(value, np.frombuffer(pixels, np.uint8).reshape(height, width, 3)))
        return []

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  (a pipe was requested)
        return self._process.stdout.read(size)

    def _send(self, **values: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has failed, which `frames` finds out
            print(json.dumps(values), file=self._requests, flush=True)
