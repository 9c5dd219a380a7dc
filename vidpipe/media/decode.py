"""One ffmpeg process that decodes a video once and hands out everything that is measured or kept.

Three outputs at once: every frame, small, for detectors and statistics; JPEGs at a low rate, from which thumbnails and
the model's frames are chosen; blocks of sound. Each is read by a thread of its own, so none can hold up ffmpeg.
Times are in microseconds as ffmpeg gives them; the first video frame need not be at 0.
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
from vidpipe.media.decode_pipes import DecoderMessages, Packet, PacketPipe
from vidpipe.media.decode_plan import DecodePlan, decode_command
from vidpipe.media.frame_pack import clarity
from vidpipe.media.scene_stats import SoundBlock, block_power

_WATCH_INTERVAL_S = 0.1
_JOIN_TIMEOUT_S = 10.0


class SmallFrame(NamedTuple):
    """One decoded frame for detection. bgr: uint8, shape (height, width, 3)."""

    time_us: int
    duration_us: int
    bgr: NDArray[np.uint8]


class Candidate(NamedTuple):
    """A JPEG from which thumbnails and the model's frames are chosen. clarity: see `thumbnails.clarity`."""

    time_us: int
    jpeg: bytes
    clarity: float = 0.0


@dataclass(frozen=True)
class DecodeEnd:
    """How the pass ended.

    returncode: of ffmpeg; negative: ended by that signal
    ended:      what vidpipe ended it for: "" (it ended by itself), cancelled or time limit
    errors:     number of complaints about the input; messages: the first distinct ones
    lacked_memory: whether it was refused memory, so that pictures may be missing; within the tight limit that ended it
    """

    returncode: int
    ended: Literal["", "cancelled", "time limit"]
    errors: int
    messages: tuple[str, ...]
    lacked_memory: bool


class DecodePass:
    """A running decode; use it as a context manager: on leaving it, ffmpeg is gone whatever happened.

    ffmpeg runs within the memory limits of the file that this thread reads (`memory.reading`).

    candidates, sound: filled while `frames` is read; take from the left. Both are complete once `finish` was called.
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
        assert self._process.stderr is not None  # noqa: S101  (a pipe was asked for)
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
        """Every frame that ffmpeg decodes, in order of presentation."""
        width, height = self._plan.detection
        for packet in self._frames.packets():
            bgr = np.frombuffer(packet.data, np.uint8).reshape(height, width, 3)
            yield SmallFrame(packet.time_us, packet.duration_us, bgr)

    def finish(self) -> DecodeEnd:
        """Wait for ffmpeg's end, after the last frame. Re-raises what went wrong in a reading thread."""
        for thread in self._threads:
            if thread.name != "decode-watch":
                thread.join()
        returncode = self._process.wait()
        self._over.set()
        if self._failure is not None:
            raise self._failure
        said = self._messages
        return DecodeEnd(returncode, self._ended, said.count, tuple(said.messages), said.lacked_memory)

    def _read_candidates(self) -> None:
        for packet in self._large.packets():
            jpeg = bytes(packet.data)
            self.candidates.append(Candidate(packet.time_us, jpeg, clarity(jpeg)))

    def _read_sound(self) -> None:
        assert self._sound is not None  # noqa: S101  (the thread is started only with sound)
        for packet in self._sound.packets():
            self.sound.append(_sound_block(packet))

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


def _sound_block(packet: Packet) -> SoundBlock:
    return SoundBlock(packet.time_us, block_power(packet.data))
