"""Reads ffmpeg's pipes: packets with their presentation times, and error messages.

A rawvideo or image2pipe stream has neither timestamps nor packet boundaries. So ffmpeg's `tee` muxer writes each packet
twice: its bytes into one pipe, and a line about it (`framecrc`: pts, duration, size) into another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import IO, NamedTuple

from vidpipe.media import memory
from vidpipe.redaction import redact

_MAX_MESSAGES = 8
_MAX_MESSAGE_LENGTH = 300
_MAX_PATTERNS = 256
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_LEVEL = re.compile(r"^(?P<context>(?:\[[^\]]*\] )*?)\[(?P<level>error|fatal|panic)\] (?P<text>.*)$")
_NUMBER = re.compile(r"0x[0-9a-f]+|-?\d+")
#: Messages that affect no picture: a picture to be dropped was lost when a part was copied; a chained Ogg stream
#: restarts.
_HARMLESS = frozenset({"mmco: unref short failure", "Header packet passed to frame decoder, skipping"})
#: Contexts after decoding: their messages (about an adjusted timestamp) say nothing about the file.
_OUTPUT_CONTEXT = re.compile(r"^\[(?:tee|framecrc|image2pipe|s16le|swscaler|out#|vost#|aost#)")


class DecoderMessages(threading.Thread):
    """Reads ffmpeg's standard error (`-loglevel repeat+level+error`) to its end.

    Args:
        pipe: ffmpeg's standard error.

    Attributes:
        count: Number of error messages about the input.
        messages: The first distinct ones, without addresses; messages that differ only in numbers count as equal.
        lacked_memory: Whether one of them reports a failed allocation.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True, name="ffmpeg-messages")
        self._pipe = pipe
        self._seen: set[str] = set()
        self.lacked_memory = False
        self.count = 0
        self.messages: list[str] = []

    def run(self) -> None:
        """Read until the pipe is closed."""
        # readline with a limit: a hostile file can cause lines of any length
        while raw := self._pipe.readline(4096):
            self._add(raw.decode(errors="replace").strip())
        self._pipe.close()

    def _add(self, line: str) -> None:
        self.lacked_memory = self.lacked_memory or memory.perhaps_out_of_memory(line)
        line = _ADDRESS.sub("", line)
        found = _LEVEL.match(line)
        if not found or _OUTPUT_CONTEXT.match(found["context"]):
            return
        if found["text"].endswith("to muxer in stream 0") or found["text"] in _HARMLESS:
            return
        self.count += 1
        message = redact(f"{found['context']}{found['text']}".strip())[:_MAX_MESSAGE_LENGTH]
        pattern = _NUMBER.sub("#", message)
        if len(self.messages) < _MAX_MESSAGES and pattern not in self._seen and len(self._seen) < _MAX_PATTERNS:
            self._seen.add(pattern)
            self.messages.append(message)


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
        duration_us: Duration in microseconds, 0 if unknown.
        data: Its bytes.
    """

    time_us: int
    duration_us: int
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
        """ffmpeg's arguments for this output. The line about a packet comes first, so that its reader cannot block."""
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
            pts, duration = int(fields[2]), int(fields[3])
            if time_base.denominator != 1_000_000:
                pts, duration = round(pts * time_base * 1_000_000), round(duration * time_base * 1_000_000)
            yield Packet(pts, duration, data)

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
