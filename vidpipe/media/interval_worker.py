"""Decodes short intervals of a video: `python -P -m vidpipe.media.interval_worker DESCRIPTOR`.

`interval_decoder.IntervalDecoder` starts it as a process of its own, because it opens an untrusted file. PyAV rather
than the ffmpeg program, because only a library can skip the non-reference frames between the key frame and the interval
and decode the rest, and can decode many intervals without starting again.

The descriptor is read line by line. The first line describes the job, each further one is a request (JSON). For each
request, frames are written to standard output as a `FRAME` header and the pixels, then a `FRAME` header without pixels,
whose time is the number of frames that were decoded for it.
"""

import json
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph

from vidpipe.media.interval_protocol import COLOR_MATRIX, FRAME

#: ffmpeg's names of color matrices by their number in the standards (ISO/IEC 23091-2).
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
#: Where a container has no index (MPEG-TS), seeking may end behind the requested time: how much earlier to try, in s.
_SEEK_EARLIER_S = (0, 2, 10)
#: Times in files are rounded, often to milliseconds.
_TOLERANCE_US = 1000


class IntervalReader:
    """An open video.

    Args:
        job: `address`, `options` (of the input), `stream` (its index), `filters` (a list of ffmpeg's filters) and
            `threads`.

    Attributes:
        frames_decoded: Number of frames that the last request took.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._container = av.open(job["address"], container_options=job["options"])
        self._stream = self._container.streams[job["stream"]]
        self._codec = self._stream.codec_context
        self._codec.thread_count = job["threads"]
        self._codec.thread_type = "AUTO"
        # `av.open` hands options to the demuxer only
        self._codec.options = {"max_pixels": job["options"]["max_pixels"]}
        self._start_us = self._container.start_time or 0
        self._filters: list[str] = job["filters"]
        self._graph: Graph | None = None
        self._size: tuple[int, int] | None = None
        self._packets: Iterator[Any] = iter(())
        self._reached_us = -1
        self.frames_decoded = 0

    def decode(self, start_us: int, end_us: int, key_us: int, max_frames: int) -> Iterator[tuple[int, bytes]]:
        """Yield the time and the pixels of each frame of an interval.

        Args:
            start_us: Start of the interval, in microseconds from the start of the file.
            end_us: Its end, included.
            key_us: Time of the last key frame before it.
            max_frames: Stop after decoding this number of frames.
        """
        self.frames_decoded = 0
        until_us = end_us + _TOLERANCE_US
        for earlier_s in _SEEK_EARLIER_S:
            if not key_us <= self._reached_us < start_us:
                self._seek(max(0, key_us - earlier_s * 1_000_000))
            opened_before = False
            for time_us, frame in self._frames(start_us - _TOLERANCE_US, until_us, max_frames):
                opened_before = opened_before or time_us <= start_us + _TOLERANCE_US
                if not opened_before:
                    break
                if time_us > until_us:
                    return
                if time_us >= start_us - _TOLERANCE_US:
                    yield time_us, self._pixels(frame)
            if opened_before:
                return
            self._reached_us = -1

    def _frames(self, start_us: int, end_us: int, max_frames: int) -> Iterator[tuple[int, Any]]:
        """Yield times and frames: all between the two times, outside those that others refer to."""
        for packet in self._packets:
            if packet.pts is not None:
                time_us = self._time_us(packet.pts)
                self._codec.skip_frame = "DEFAULT" if start_us <= time_us <= end_us else "NONREF"
                self._reached_us = max(self._reached_us, time_us)
            for frame in packet.decode():
                self.frames_decoded += 1
                if self.frames_decoded > max_frames:
                    return
                yield self._time_us(frame.pts), frame

    def _seek(self, time_us: int) -> None:
        pts = round(Fraction(time_us + self._start_us, 1_000_000) / self._stream.time_base)
        self._container.seek(pts, stream=self._stream)
        self._packets = self._container.demux(self._stream)
        self._reached_us = -1

    def _time_us(self, pts: int) -> int:
        seconds: Fraction = pts * self._stream.time_base
        return round(seconds * 1_000_000) - self._start_us

    def _pixels(self, frame: Any) -> bytes:
        if self._size != (frame.width, frame.height):
            if self._size is not None:
                raise ValueError("the picture size changes")
            self._size = frame.width, frame.height
            self._graph = self._build(frame)
        assert self._graph is not None  # noqa: S101  (set with the size)
        self._graph.vpush(frame)
        small = self._graph.vpull()
        plane = small.planes[0]
        data, row = memoryview(plane), small.width * 3
        if plane.line_size == row:
            return bytes(data)
        return b"".join(bytes(data[y * plane.line_size :][:row]) for y in range(small.height))

    def _build(self, frame: Any) -> Graph:
        # the matrix is stated where colors are converted: ffmpeg 8 would also convert them when it scales
        matrix = _MATRICES.get(int(frame.colorspace), "auto")
        graph = Graph()
        nodes = [graph.add_buffer(template=self._stream), graph.add("setparams", "colorspace=unknown")]
        for text in self._filters:
            name, _, arguments = text.replace(COLOR_MATRIX, matrix).partition("=")
            nodes.append(graph.add(name, arguments or None))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


def main() -> None:
    """Answer the requests until there are no more."""
    av.logging.set_level(None)
    with os.fdopen(int(sys.argv[1]), "r", encoding="utf-8") as requests, sys.stdout.buffer as answers:
        reader = IntervalReader(json.loads(requests.readline()))
        for line in requests:
            for time_us, pixels in reader.decode(**json.loads(line)):
                answers.write(FRAME.pack(time_us, len(pixels)) + pixels)
            answers.write(FRAME.pack(reader.frames_decoded, 0))
            answers.flush()


if __name__ == "__main__":
    main()
