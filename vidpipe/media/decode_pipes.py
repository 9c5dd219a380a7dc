"""Pipes from ffmpeg that carry packets together with their presentation times.

A rawvideo or image2pipe stream has no time stamps and no packet borders. ffmpeg's `tee` muxer therefore writes each
packet twice: its bytes into one pipe, one line about it (`framecrc`: pts, duration, size) into another."""

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

_KEPT = 8
_LINE_LIMIT = 300
_REMEMBERED = 256
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_LEVEL = re.compile(r"^(?P<context>(?:\[[^\]]*\] )*?)\[(?P<level>error|fatal|panic)\] (?P<text>.*)$")
_NUMBER = re.compile(r"0x[0-9a-f]+|-?\d+")
#: No picture is the worse for it: one that is to be forgotten was cut off when a part was copied, and a chained Ogg
#: stream begins anew.
_HARMLESS = frozenset({"mmco: unref short failure", "Header packet passed to frame decoder, skipping"})
#: Contexts of what comes after decoding: their complaints (a time stamp that was moved) say nothing about the file.
_OUTPUT_CONTEXT = re.compile(r"^\[(?:tee|framecrc|image2pipe|s16le|swscaler|out#|vost#|aost#)")


class DecoderMessages(threading.Thread):
    """Reads ffmpeg's standard error (`-loglevel repeat+level+error`) to its end.

    count:         number of error messages about the input
    messages:      the first distinct ones, without addresses; two that differ only in numbers are one
    lacked_memory: whether one of them says that memory was refused
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True, name="ffmpeg-messages")
        self._pipe = pipe
        self._seen: set[str] = set()
        self.lacked_memory = False
        self.count = 0
        self.messages: list[str] = []

    def run(self) -> None:
        # readline with a limit: a hostile file can make a line as long as it likes
        while raw := self._pipe.readline(4096):
            self._take(raw.decode(errors="replace").strip())
        self._pipe.close()

    def _take(self, line: str) -> None:
        self.lacked_memory = self.lacked_memory or memory.may_have_lacked_memory(line)
        line = _ADDRESS.sub("", line)
        found = _LEVEL.match(line)
        if not found or _OUTPUT_CONTEXT.match(found["context"]):
            return
        if found["text"].endswith("to muxer in stream 0") or found["text"] in _HARMLESS:
            return
        self.count += 1
        message = redact(f"{found['context']}{found['text']}".strip())[:_LINE_LIMIT]
        pattern = _NUMBER.sub("#", message)
        if len(self.messages) < _KEPT and pattern not in self._seen and len(self._seen) < _REMEMBERED:
            self._seen.add(pattern)
            self.messages.append(message)


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
        """ffmpeg's output: the line about a packet goes first, so that whoever waits for it cannot block ffmpeg."""
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
