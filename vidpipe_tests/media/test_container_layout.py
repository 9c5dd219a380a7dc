"""The layout of MP4 files is read from their boxes, whatever lengths these claim."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vidpipe.media.container_layout import ContainerLayout, mp4_layout
from vidpipe_tests import clips


def test_index_before_and_after_the_media_data(tmp_path: Path) -> None:
    behind = clips.moving(tmp_path / "a.mp4", seconds=0.5)
    before = clips.moving(tmp_path / "b.mp4", seconds=0.5, options=["-movflags", "+faststart"])
    assert mp4_layout(behind) == ContainerLayout(
        has_index=True, faststart=False, encrypted=False, stated_bytes=behind.stat().st_size
    )
    assert mp4_layout(before) == ContainerLayout(
        has_index=True, faststart=True, encrypted=False, stated_bytes=before.stat().st_size
    )


def test_a_cut_off_file_has_no_index(tmp_path: Path) -> None:
    path = clips.truncated(tmp_path / "a.mp4", share=0.98)
    found = mp4_layout(path)
    assert found is not None
    assert (found.has_index, found.faststart, found.encrypted) == (False, None, False)
    assert found.stated_bytes is not None
    assert found.stated_bytes > path.stat().st_size


def test_other_files_have_no_boxes(tmp_path: Path) -> None:
    assert mp4_layout(clips.moving(tmp_path / "a.mkv", seconds=0.5)) is None


@pytest.mark.parametrize("length", [0, 2, 7, 8, 2**31])
@pytest.mark.parametrize("wide", [0, 1, 2**63, 2**64 - 1])
def test_made_up_lengths_end_the_search(tmp_path: Path, length: int, wide: int) -> None:
    path = tmp_path / "x.mp4"
    first = struct.pack(">I4s8s", 16, b"ftyp", b"isom\0\0\0\0")
    path.write_bytes(first + struct.pack(">I4sQ", 1, b"mdat", wide) + struct.pack(">I4s", length, b"moov") + bytes(64))
    found = mp4_layout(path)
    assert found is not None
    assert not found.encrypted


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def index(*entries: bytes) -> bytes:
    """A moov box with one video track whose samples are described by `entries`."""
    table = box(b"stbl", box(b"stsd", bytes(8), *entries))
    return box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"vide"), box(b"minf", table))))


def protected(by_default: int) -> bytes:
    scheme = box(b"schi", box(b"tenc", bytes(6), bytes([by_default]), bytes(17)))
    return box(b"encv", bytes(78), box(b"sinf", scheme))


@pytest.mark.parametrize(
    ("content", "encrypted"),
    [
        (index(protected(1)), True),
        (index(protected(0)), False),
        (index(protected(0)) + box(b"moof", box(b"traf", box(b"senc"))), True),
        (index(protected(1), box(b"avc1")) + box(b"moof", box(b"traf")), False),
        (index(protected(1), box(b"avc1")) + box(b"moof") + box(b"moof", box(b"traf", box(b"senc"))), True),
        (index(box(b"drmi", bytes(78))), True),
        (index(box(b"avc1")) + box(b"pssh", bytes(24)), False),
    ],
)
def test_a_file_is_encrypted_where_its_samples_are(tmp_path: Path, content: bytes, encrypted: bool) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(box(b"ftyp") + content)
    found = mp4_layout(path)
    assert found is not None
    assert found.encrypted is encrypted
