"""Storyboards: made of a frame pack, once, with the right picture at every second."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from vidpipe.media import storyboard
from vidpipe.media.frame_pack import FramePack, FramePackWriter, encode_jpeg
from vidpipe.media.storyboard import layout, sprite
from vidpipe.settings.schema import Settings


def packed(home: Path, count: int, size: tuple[int, int] = (448, 252)) -> FramePack:
    """A pack of gray frames, one a second, each brighter than the one before."""
    settings = Settings(home=home)
    with FramePackWriter(settings, "0" * 64) as writer:
        for number in range(count):
            gray = np.full((size[1], size[0], 3), number * 2, np.uint8)
            writer.add_frame(time_s=float(number), scene=0, size=size, jpeg=encode_jpeg(gray, size))
        return FramePack(settings.resolve(writer.publish().path))


def test_each_tile_shows_the_frame_of_its_time(tmp_path: Path) -> None:
    pack = packed(tmp_path, 96)
    board = layout(pack, 1920, 1080)
    assert (board.columns, board.rows, board.tile) == (10, 10, (160, 90))
    picture = cv2.imread(str(sprite(pack, board)))
    assert picture.shape == (900, 1600, 3)
    cues = re.findall(r"(\d\d):(\d\d):([\d.]+) --> .+\n.+#xywh=(\d+),(\d+),(\d+),(\d+)", board.webvtt(96.0))
    assert len(cues) == 96
    for hours, minutes, seconds, *place in cues:
        x, y, width, height = map(int, place)
        shown = picture[y : y + height, x : x + width].mean()
        assert shown == pytest.approx(2 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)), abs=2)
    assert board.webvtt(96.0).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nstoryboard.jpg#xywh=0,0,160,90\n")
    assert "00:01:35.000 --> 00:01:36.000" in board.webvtt(96.0)


def test_a_portrait_keeps_its_aspect_ratio_and_few_frames_make_one_row(tmp_path: Path) -> None:
    board = layout(packed(tmp_path, 3), 1080, 1920)
    assert (board.columns, board.rows, board.tile) == (3, 1, (160, 284))
    assert layout(packed(tmp_path, 3), 300, 3000).tile == (28, 284)


def test_threads_that_want_the_same_storyboard_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = packed(tmp_path, 20)
    board, drawn, draw = layout(pack, 1920, 1080), [], storyboard._drawn
    monkeypatch.setattr(storyboard, "_drawn", lambda *given: drawn.append(1) or draw(*given))
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: sprite(pack, board), range(8)))
    assert (len(paths), len(drawn)) == (1, 1)
    assert not list(pack.folder.glob(".*"))
