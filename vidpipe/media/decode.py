"""Decodes a video once, in one ffmpeg process with three outputs.

The outputs are every frame, small, for detectors and statistics; JPEGs at a low rate, from which thumbnails and the
model's frames are chosen; and blocks of sound. Each is read by a thread of its own, so that none can block ffmpeg.
Times are in microseconds as ffmpeg reports them; the first video frame need not be at 0.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidpipe.media import ffmpeg, memory
from vidpipe.media.decode_pipes import DecoderMessages, PacketPipe
from vidpipe.media.decode_plan import DecodePlan, decode_command
from vidpipe.media.frame_pack import clarity
from vidpipe.media.scene_stats import SoundBlock, block_power

_WATCH_INTERVAL_S = 0.1
_JOIN_TIMEOUT_S = 10.0


class SmallFrame(NamedTuple):
    """A decoded frame for detection.

    Attributes:
        time_us: Presentation time, in microseconds.
        duration_us: Duration in microseconds, 0 if unknown.
        bgr: Pixels, uint8, shape (height, width, 3).
    """

    time_us: int
    duration_us: int
    bgr: NDArray[np.uint8]


class Candidate(NamedTuple):
    """A JPEG from which thumbnails and the model's frames are chosen.

    Attributes:
        time_us: Presentation time, in microseconds.
        jpeg: The JPEG.
        clarity: See `frame_pack.clarity`.
    """

    time_us: int
    jpeg: bytes
    clarity: float = 0.0


@dataclass(frozen=True)
class DecodeEnd:
    """How a decode pass ended.

    Attributes:
        returncode: ffmpeg's exit code; negative if a signal ended it.
        ended: Why vidpipe ended ffmpeg; empty if it ended by itself.
        errors: Number of error messages about the input.
        messages: The first distinct ones.
        lacked_memory: Whether an allocation failed, so that pictures may be missing; under the tight limit, that ended
            the pass.
    """

    returncode: int
    ended: Literal["", "cancelled", "time limit"]
    errors: int
    messages: tuple[str, ...]
    lacked_memory: bool


class DecodePass:
    """A running decode. Use it as a context manager, which ends ffmpeg in any case.

    ffmpeg runs within the memory limits of the file that this thread reads (`memory.reading`).

    Args:
        path: The video file.
        plan: What to decode.
        time_limit_s: Time limit of the whole pass, in seconds.
        cancelled: Ends the pass when set.

    Attributes:
        candidates: Filled while `frames` is read, complete after `finish`; to be consumed from the left.
        sound: Likewise.
    """

    def __init__(self, path: Path, plan: DecodePlan, *, time_limit_s: float, cancelled: threading.Event) -> None:
        self._plan = plan
        self._deadline = time.monotonic() + time_limit_s
        self._cancelled = cancelled
        self._over = threading.Event()
        self._ended: Literal["", "cancelled", "time limit"] = ""
        self._failure: BaseException | None = None
        self.candidates: deque[Candidate] = deque()
        self.sound: deque[SoundBlock] = deque()
        self._frames, self._large = PacketPipe("rawvideo"), PacketPipe("image2pipe")
        self._sound = PacketPipe("s16le") if plan.audio_stream is not None else None
        self._memory = contextlib.ExitStack()
        try:
            command = decode_command(path, plan, self._frames, self._large, self._sound)
            writers = [descriptor for pipe in self._pipes for descriptor in pipe.writers]
            self._limits = memory.current()
            limit_bytes = self._memory.enter_context(self._limits.granted())
            self._process = ffmpeg.spawn(command, stdout=None, pass_fds=writers, memory_bytes=limit_bytes)
        except BaseException:
            self._memory.close()
            for pipe in self._pipes:
                pipe.close()
            raise
        for pipe in self._pipes:
            pipe.close_writers()
        assert self._process.stderr is not None  # noqa: S101  (a pipe was requested)
        self._messages = DecoderMessages(self._process.stderr)
        self._threads: list[threading.Thread] = [
            self._messages,
            threading.Thread(
                target=self._guarded, args=(self._read_candidates,), name="decode-candidates", daemon=True
            ),
            threading.Thread(target=self._watch, name="decode-watch", daemon=True),
        ]
        if self._sound is not None:
            self._threads.append(
                threading.Thread(target=self._guarded, args=(self._read_sound,), name="decode-sound", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    @property
    def _pipes(self) -> list[PacketPipe]:
        return [pipe for pipe in (self._frames, self._large, self._sound) if pipe is not None]

    def __enter__(self) -> DecodePass:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        ffmpeg.stop(self._process)
        self._memory.close()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)
        for pipe in self._pipes:
            pipe.close()

    def frames(self) -> Iterator[SmallFrame]:
        """Yield every frame that ffmpeg decodes, in presentation order."""
        width, height = self._plan.detection
        for packet in self._frames.packets():
            bgr = np.frombuffer(packet.data, np.uint8).reshape(height, width, 3)
            yield SmallFrame(packet.time_us, packet.duration_us, bgr)

    def finish(self) -> DecodeEnd:
        """Wait until ffmpeg has ended, after the last frame. Re-raises an exception of a reading thread."""
        for thread in self._threads:
            if thread.name != "decode-watch":
                thread.join()
        returncode = self._process.wait()
        self._over.set()
        if self._failure is not None:
            raise self._failure
        log = self._messages
        return DecodeEnd(returncode, self._ended, log.count, tuple(log.messages), log.lacked_memory)

    def _read_candidates(self) -> None:
        for packet in self._large.packets():
            jpeg = bytes(packet.data)
            self.candidates.append(Candidate(packet.time_us, jpeg, clarity(jpeg)))

    def _read_sound(self) -> None:
        assert self._sound is not None  # noqa: S101  (the thread is started only with sound)
        for packet in self._sound.packets():
            self.sound.append(SoundBlock(packet.time_us, block_power(packet.data)))

    def _guarded(self, read: Callable[[], None]) -> None:
        try:
            read()
        except BaseException as failure:
            self._failure = failure
            self._process.kill()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_INTERVAL_S):
            if self._cancelled.is_set():
                self._ended = "cancelled"
            elif time.monotonic() > self._deadline:
                self._ended = "time limit"
            if self._ended or (self._messages.lacked_memory and not self._limits.generous):
                self._process.kill()
                return
