"""Decodes a video once, in one ffmpeg process with three outputs.

The outputs are every frame, small, for detectors and statistics; JPEGs at a low rate, from which thumbnails and the
model's frames are chosen; and blocks of sound. Each is read by a thread of its own, so that none can block ffmpeg.
Times are in microseconds as ffmpeg reports them; the first video frame need not be at 0.

A rawvideo or image2pipe stream has neither timestamps nor packet boundaries. So ffmpeg's `tee` muxer writes each packet
twice: its bytes into one pipe, and a line about it (`framecrc`: pts, duration, size) into another.
"""

import contextlib
import fcntl
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidpipe.media import memory, programs
from vidpipe.media.decode_plan import DecodePlan, decode_command
from vidpipe.media.decoder_messages import DecoderMessages
from vidpipe.media.frame_pack import clarity
from vidpipe.media.packet_times import PacketTimes
from vidpipe.media.scene_stats import SoundBlock, block_power
from vidpipe.media.sound import SoundFile

_WATCH_INTERVAL_S = 0.1
_JOIN_TIMEOUT_S = 10.0
#: Buffer for a few frames, so that ffmpeg does not wait while Python is busy; Linux's limit for ordinary users.
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux only
#: If fewer packets than this were waiting, the reader pauses until there are more.
_MIN_LINES = 8
_PAUSE_S = 0.01
#: A line that states a larger packet is damaged: no output of ffmpeg here comes near this size.
_MAX_PACKET_BYTES = 256 << 20


class Packet(NamedTuple):
    """A packet of one of ffmpeg's outputs.

    Attributes:
        time_us: Presentation time, in microseconds.
        data: Its bytes.
    """

    time_us: int
    data: bytearray


class PacketPipe:
    """One output of ffmpeg, read packet by packet. Close the writing ends as soon as ffmpeg has started.

    Args:
        muxer: ffmpeg's name of the format of the packets.
    """

    def __init__(self, muxer: str) -> None:
        self._muxer = muxer
        index_reader, self._index_writer = os.pipe()
        data_reader, self._data_writer = os.pipe()
        self._index = os.fdopen(index_reader, "rb", buffering=0)
        self._data = os.fdopen(data_reader, "rb", buffering=0)
        self._pause_s = 0.0
        if _F_SETPIPE_SZ is not None:
            # a smaller pipe works, but is slower: ffmpeg would wait during pauses, so there are none
            with contextlib.suppress(OSError):
                fcntl.fcntl(data_reader, _F_SETPIPE_SZ, _PIPE_BYTES)
                self._pause_s = _PAUSE_S

    @property
    def writers(self) -> tuple[int, int]:
        """File descriptors that ffmpeg must inherit."""
        return self._index_writer, self._data_writer

    @property
    def arguments(self) -> list[str]:
        """Arguments of ffmpeg for this output. The line about a packet comes first, so that its reader cannot block."""
        targets = f"[f=framecrc]pipe\\:{self._index_writer}|[f={self._muxer}]pipe\\:{self._data_writer}"
        return ["-f", "tee", targets]

    def close_writers(self) -> None:
        """Close the writing ends in this process."""
        for name in ("_index_writer", "_data_writer"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def close(self) -> None:
        """Close both pipes."""
        self.close_writers()
        self._index.close()
        self._data.close()

    def packets(self) -> Iterator[Packet]:
        """Yield the packets until ffmpeg ends, without an incomplete last one."""
        time_base = Fraction(1, 1_000_000)
        for line in self._lines():
            if line.startswith(b"#"):
                if line.startswith(b"#tb 0:"):
                    time_base = Fraction(line[6:].strip().decode())
                continue
            fields = line.split(b",")
            if len(fields) < 6:
                return
            size = int(fields[4])
            if size > _MAX_PACKET_BYTES:
                return
            data = bytearray(size)
            if not self._fill(data):
                return
            pts = int(fields[2])
            yield Packet(pts if time_base.denominator == 1_000_000 else round(pts * time_base * 1_000_000), data)

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of the index, several per wakeup: one wakeup per line would slow down the decoder."""
        rest = b""
        while chunk := self._index.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if self._pause_s and len(lines) < _MIN_LINES:
                time.sleep(self._pause_s)

    def _fill(self, data: bytearray) -> bool:
        view, filled = memoryview(data), 0
        while filled < len(data):
            count = self._data.readinto(view[filled:])
            if not count:
                return False
            filled += count
        return True


class SmallFrame(NamedTuple):
    """A decoded frame for detection.

    Attributes:
        time_us: Presentation time, in microseconds.
        bgr: Pixels, uint8, shape (height, width, 3).
        number: Number of frames of the video before it.
    """

    time_us: int
    bgr: NDArray[np.uint8]
    number: int = 0


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


@dataclass(frozen=True)
class Decoded:
    """Result of decoding a whole video.

    Attributes:
        frames: Number of decoded frames.
        end_us: End of the last frame, in microseconds from the first.
        end: How the decode ended.
    """

    frames: int
    end_us: int
    end: DecodeEnd


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
        sound: Likewise; only the last block if the plan has no pictures.
        packets: The times of all packets, if the plan decodes reference frames only.
        killed: Whether vidpipe ends ffmpeg, so that frames are missing.
    """

    def __init__(self, path: Path, plan: DecodePlan, *, time_limit_s: float, cancelled: threading.Event) -> None:
        self._plan = plan
        self._deadline = time.monotonic() + time_limit_s
        self._cancelled = cancelled
        self._over = threading.Event()
        self._ended: Literal["", "cancelled", "time limit"] = ""
        self._failure: BaseException | None = None
        self.killed = False
        self.candidates: deque[Candidate] = deque()
        self.sound: deque[SoundBlock] = deque(maxlen=None if plan.pictures else 1)
        self._frames, self._large = PacketPipe("rawvideo"), PacketPipe("image2pipe")
        self._sound = PacketPipe("s16le") if plan.audio_stream is not None else None
        self.packets = PacketTimes() if plan.reference_frames else None
        self._companions: list[subprocess.Popen[bytes]] = []
        self._memory = contextlib.ExitStack()
        try:
            outputs = (self._frames, self._large, self._sound, self.packets)
            frames, large, sound, packets = [pipe.arguments if pipe else [] for pipe in outputs]
            command = decode_command(path, plan, frames, large, sound=sound, packets=packets)
            writers = [descriptor for pipe in self._pipes for descriptor in pipe.writers]
            self._limits = memory.current()
            limit_bytes = self._memory.enter_context(self._limits.granted(programs=2 if self.packets else 1))
            self._process = programs.spawn(command, stdout=None, pass_fds=writers, memory_bytes=limit_bytes)
        except BaseException:
            self._memory.close()
            for pipe in self._pipes:
                pipe.close()
            raise
        for pipe in self._pipes:
            pipe.close_writers()
        assert self._process.stderr is not None  # noqa: S101  (a pipe was requested)
        self._messages = DecoderMessages(self._process.stderr)
        reads = [self._read_candidates, self._read_sound] if self._sound else [self._read_candidates]
        readers = [threading.Thread(target=self._guarded, args=[read], daemon=True) for read in reads]
        self._readers: list[threading.Thread] = [self._messages, *readers, *([self.packets] if self.packets else [])]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        for thread in (*self._readers, self._watcher):
            thread.start()

    @property
    def _pipes(self) -> list[PacketPipe | PacketTimes]:
        return [pipe for pipe in (self._frames, self._large, self._sound, self.packets) if pipe is not None]

    @property
    def errors(self) -> int:
        """Number of error messages about the input so far."""
        return self._messages.count

    def __enter__(self) -> "DecodePass":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        programs.stop(self._process)
        self._memory.close()
        for thread in (*self._readers, self._watcher):
            thread.join(_JOIN_TIMEOUT_S)
        for pipe in self._pipes:
            pipe.close()

    def frames(self) -> Iterator[SmallFrame]:
        """Yield every frame that ffmpeg decodes, in presentation order."""
        width, height = self._plan.detection
        for number, packet in enumerate(self._frames.packets()):
            bgr = np.frombuffer(packet.data, np.uint8).reshape(height, width, 3)
            yield SmallFrame(packet.time_us, bgr, number)

    def skipped_after(self, time_us: int) -> list[int]:
        """Return the times of the frames after a time that were not decoded: none."""
        return []

    def kill_with(self, process: subprocess.Popen[bytes]) -> None:
        """Kill `process`, too, when the pass is cancelled or exceeds its time limit."""
        self._companions.append(process)

    def finish(self) -> DecodeEnd:
        """Wait until ffmpeg has ended, after the last frame. Re-raises an exception of a reading thread."""
        for thread in self._readers:
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
        file = self._plan.sound_file
        with SoundFile(file) if file else contextlib.nullcontext() as kept:
            for packet in self._sound.packets():
                self.sound.append(SoundBlock(packet.time_us, block_power(packet.data)))
                if kept:
                    kept.add(packet.time_us, packet.data)

    def _guarded(self, read: Callable[[], None]) -> None:
        try:
            read()
        except BaseException as failure:
            self._failure = failure
            self.killed = True
            self._process.kill()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_INTERVAL_S):
            if self._cancelled.is_set():
                self._ended = "cancelled"
            elif time.monotonic() > self._deadline:
                self._ended = "time limit"
            if self._ended or (self._messages.lacked_memory and not self._limits.generous):
                self.killed = True
                # again and again, because a companion may start later
                for process in (self._process, *self._companions):
                    process.kill()


def first_frame_us(path: Path, plan: DecodePlan, time_limit_s: float, cancelled: threading.Event) -> int:
    """Return the time of the first video frame in microseconds, as ffmpeg reports it for the streams of `plan`.

    Arguments as for `DecodePass`. 0 if no frame can be decoded.
    """
    plan = replace(plan, pictures=True, sound_file=None)
    with DecodePass(path, plan, time_limit_s=time_limit_s, cancelled=cancelled) as running:
        return next((frame.time_us for frame in running.frames()), 0)
