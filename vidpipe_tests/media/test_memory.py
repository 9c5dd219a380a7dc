"""No file makes ffmpeg or ffprobe take more memory than it may; larger ones wait for one another."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.media import memory, programs
from vidpipe.media.memory import FileLimits, HeaderTimeError, MemoryLimitError, TimeLimits
from vidpipe.media.probe import check_decodable, probe
from vidpipe.settings.operation import Limits
from vidpipe_tests import clips

_MIB = 1 << 20


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def with_index(path: Path, *, tracks: int = 1, edits: int = 1) -> Path:
    """An MP4 whose track stands in the index so many times and shows the whole film again in each edit."""
    data = clips.moving(path, seconds=4.0, size="64x64").read_bytes()
    start = data.index(b"moov") - 4
    (moov_bytes,) = struct.unpack_from(">I", data, start)
    moov = data[start + 8 : start + moov_bytes]
    first, length = moov.index(b"trak") - 4, int.from_bytes(moov[moov.index(b"trak") - 4 :][:4], "big")
    trak = moov[first + 8 : first + length]
    at = trak.index(b"edts") - 4
    (edts_bytes,) = struct.unpack_from(">I", trak, at)
    entries = struct.pack(">II", 0, edits) + struct.pack(">iihh", 4000, 0, 1, 0) * edits
    trak = trak[:at] + box(b"edts", box(b"elst", entries)) + trak[at + edts_bytes :]
    moov = moov[:first] + box(b"trak", trak) * tracks + moov[first + length :]
    # the media data come first, so that they stay where the index says
    path.write_bytes(data[:start] + box(b"moov", moov))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot limit a running program")
def test_a_file_that_needs_too_much_memory_is_refused_with_its_name_and_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_index(tmp_path / "edits.mp4", edits=40_000)
    started = []
    spawn = programs.spawn
    monkeypatch.setattr(programs, "spawn", lambda *given, **more: started.append(given) or spawn(*given, **more))
    with pytest.raises(MemoryLimitError, match=r"edits\.mp4: ff\w+ needs more than 1\d\d MB.* MemoryMB in \[Limits"):
        check_decodable(path, limits=Limits(memory_mb=130))
    assert len(started) == 2  # within the tight limit, and within the larger one


def test_a_file_of_thousands_of_streams_is_refused(tmp_path: Path) -> None:
    path = with_index(tmp_path / "tracks.mp4", tracks=600)
    with pytest.raises(MediaError, match=r"tracks\.mp4 declares more than 512 streams"):
        check_decodable(path)


def test_pictures_beyond_the_limit_are_refused_by_size_and_key(tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", size="64x64", seconds=0.2)
    picture = clips.moving(tmp_path / "clip.mkv", size="64x64", seconds=0.2, codec="png", pixel_format="rgb24")
    for path in (clip, picture):
        with pytest.raises(MediaError, match=r"has pictures of 64x64 pixels, more than \[Limits\] MaxPixels allows"):
            check_decodable(path, limits=Limits(max_pixels=4000))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot limit a running program")
def test_what_fails_within_the_tight_limit_is_tried_with_the_larger_one() -> None:
    script = "x = bytearray(250 << 20); print('done')"
    limits = FileLimits(Limits())
    with memory.reading(limits):
        assert programs.run([sys.executable, "-c", script], timeout_s=60).stdout == b"done\n"
    assert limits.generous
    with (
        memory.reading(FileLimits(Limits(memory_mb=200))),
        pytest.raises(MemoryLimitError, match=r"^the WebP decoder needs more than 2\d\d MB"),
    ):
        programs.run([sys.executable, "-c", script], timeout_s=60)
    with memory.reading(FileLimits(Limits(memory_mb=0))):
        assert programs.run([sys.executable, "-c", script], timeout_s=60).stdout == b"done\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot limit a running program")
def test_no_packet_is_missing_because_the_index_of_a_long_film_was_cut() -> None:
    script = (
        "import sys; print('first', flush=True)\n"
        "try: x = bytearray(250 << 20); print('second')\n"
        "except MemoryError: print('Cannot add index entry', file=sys.stderr)"
    )

    def listed() -> list[bytes]:
        return list(programs.lines([sys.executable, "-c", script], timeout_s=60, task="listing"))

    with memory.reading(FileLimits(Limits())):
        assert memory.retried(listed) == [b"first\n", b"second\n"]
    with memory.reading(FileLimits(Limits(memory_mb=200))), pytest.raises(MemoryLimitError):
        memory.retried(listed)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot limit a running program")
def test_headers_have_a_limit_of_processor_time_and_packets_have_none() -> None:
    with memory.reading(FileLimits()), pytest.raises(HeaderTimeError, match=r"more than 1 s of processor .*HeaderSec"):
        programs.run([sys.executable, "-c", "while True: pass"], timeout_s=60, processor_s=1)
    script = "import time; print('first', flush=True)\nwhile time.process_time() < 1.2: pass\nprint('second')"
    assert len(list(programs.lines([sys.executable, "-c", script], timeout_s=60, task="listing", processor_s=1))) == 2


def test_programs_under_the_larger_limit_wait_for_one_another_and_for_headers() -> None:
    at_work: list[int] = []
    most: list[int] = []

    def read(limits: FileLimits) -> None:
        with limits.granted():
            at_work.append(1)
            most.append(len(at_work))
            at_work.pop()

    waiting = [*(FileLimits(Limits(), generous=True) for _ in range(4)), FileLimits(Limits())]
    threads = [threading.Thread(target=read, args=[limits]) for limits in waiting]
    with FileLimits(Limits(), generous=True).granted() as limit, FileLimits(Limits(), pixels=1).granted() as tight:
        for thread in threads:
            thread.start()
        assert not most
    for thread in threads:
        thread.join()
    assert most == [1] * 5
    if limit is not None and tight is not None:
        assert tight < limit


def test_large_pictures_have_room_and_are_decoded_in_as_many_threads_as_fit() -> None:
    hd, ultra_hd, largest = (
        FileLimits(Limits(), pixels=size, default_threads=16, shared_bytes=1536 * _MIB)
        for size in (1920 * 1080, 3840 * 2160, 7680 * 4320)
    )
    assert hd.threads is None
    assert largest.threads == 1
    if hd.limit_bytes and ultra_hd.limit_bytes and largest.limit_bytes:
        assert hd.limit_bytes < 512 * _MIB < ultra_hd.limit_bytes < largest.limit_bytes < 1600 * _MIB


def test_a_time_limit_names_the_file_and_what_was_done(tmp_path: Path) -> None:
    path = clips.moving(tmp_path / "clip.ts", seconds=0.2)
    with pytest.raises(programs.TimeLimitError, match=r"film: ffprobe did not .* ended while listing the packets"):
        probe(path, name="film", time=TimeLimits(startup_s=1e-6, bytes_per_s=math.inf))
    with pytest.raises(programs.TimeLimitError, match=r"film: ffprobe .* ended while reading the headers"):
        check_decodable(path, name="film", time=TimeLimits(headers_s=1e-6))


def test_opencv_writes_nothing_to_the_terminal() -> None:
    script = (
        "import numpy, vidpipe.media, cv2\n"
        "try: cv2.imencode('.jpg', numpy.zeros((70_000, 2, 3), numpy.uint8))\n"
        "except cv2.error: pass\n"
        "cv2.imdecode(numpy.frombuffer(b'\\x89PNG\\r\\n\\x1a\\nxxxx', numpy.uint8), 1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b""
