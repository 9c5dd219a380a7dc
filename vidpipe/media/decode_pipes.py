"""Pipes from ffmpeg that carry packets together with their presentation times.

A rawvideo or image2pipe stream has no time stamps and no packet borders. ffmpeg's `tee` muxer therefore writes each
packet twice: its bytes into one pipe, one line about it (`framecrc`: pts, duration, size) into another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

#: Room for a handful of frames, so that ffmpeg does not wait while Python is busy; Linux's limit for ordinary users.
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux only
#: Where fewer packets than this were waiting, the reader lets some more gather.
_FEW_LINES = 8
_PAUSE_S = 0.01
#: A line that claims more is damage, not a packet: nothing this program asks ffmpeg for comes near it.
_PACKET_LIMIT = 256 << 20


class Packet(NamedTuple):
    """One packet: presentation time and duration in microseconds (duration 0: not known), and its bytes."""

    time_us: int
    duration_us: int
    data: bytearray


class PacketPipe:
    """One ffmpeg output, read packet by packet. Close the writing ends as soon as ffmpeg has been started."""

    def __init__(self, muxer: str) -> None:
        self._muxer = muxer
        index_reader, self._index_writer = os.pipe()
        data_reader, self._data_writer = os.pipe()
        self._index = os.fdopen(index_reader, "rb", buffering=0)
        self._data = os.fdopen(data_reader, "rb", buffering=0)
        self._pause_s = 0.0
        if _F_SETPIPE_SZ is not None:
            # a smaller pipe only costs speed; but it would be full, and ffmpeg waiting, during a pause
            with contextlib.suppress(OSError):
                fcntl.fcntl(data_reader, _F_SETPIPE_SZ, _PIPE_BYTES)
                self._pause_s = _PAUSE_S

    @property
    def writers(self) -> tuple[int, int]:
        """The descriptors that ffmpeg must inherit."""
        return self._index_writer, self._data_writer

    @property
    def arguments(self) -> list[str]:
        """Ffmpeg's output: the line about a packet goes first, so that whoever waits for it cannot block ffmpeg."""
        return [
            "-f",
            "tee",
            f"[f=framecrc]pipe\\:{self._index_writer}|[f={self._muxer}]pipe\\:{self._data_writer}",
        ]

    def close_writers(self) -> None:
        for name in ("_index_writer", "_data_writer"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def close(self) -> None:
        self.close_writers()
        self._index.close()
        self._data.close()

    def packets(self) -> Iterator[Packet]:
        """The packets until ffmpeg ends; one that was cut off by its end is left out."""
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
            if size > _PACKET_LIMIT:
                return
            data = bytearray(size)
            if not self._fill(data):
                return
            pts, duration = int(fields[2]), int(fields[3])
            if time_base.denominator != 1_000_000:
                pts, duration = round(pts * time_base * 1_000_000), round(duration * time_base * 1_000_000)
            yield Packet(pts, duration, data)

    def _lines(self) -> Iterator[bytes]:
        """Lines of the index, several at a time: to be woken for each would cost the decoder its core."""
        rest = b""
        while chunk := self._index.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if self._pause_s and len(lines) < _FEW_LINES:
                time.sleep(self._pause_s)

    def _fill(self, data: bytearray) -> bool:
        view, filled = memoryview(data), 0
        while filled < len(data):
            count = self._data.readinto(view[filled:])
            if not count:
                return False
            filled += count
        return True
