"""H.264 whose pictures are single fields (PAFF), which none of ffmpeg's encoders writes.

Every macroblock is I_PCM: samples without compression. So the encoder is nothing but headers (ITU-T H.264, 7.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_START = b"\x00\x00\x00\x01"
_SLICE, _IDR_SLICE, _SPS, _PPS = 1, 5, 7, 8
_MAX_FRAME_NUM, _MAX_POC = 16, 256
_I_PCM = b"\x0d\x00"  # mb_type ue(25), then zeros up to the next byte


class _Bits:
    def __init__(self) -> None:
        self._text = ""

    def u(self, value: int, bits: int = 1) -> _Bits:
        """Append an unsigned number of fixed length."""
        self._text += f"{value:0{bits}b}"
        return self

    def ue(self, *values: int) -> _Bits:
        """Append unsigned exponential Golomb codes."""
        for value in values:
            code = f"{value + 1:b}"
            self._text += "0" * (len(code) - 1) + code
        return self

    def end(self) -> bytes:
        """Return the bytes with the stop bit."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def before_macroblock(self, macroblocks: bytes) -> bytes:
        """Return the bytes of a slice of I_PCM macroblocks after this header, the first one not yet aligned."""
        text = self.ue(25)._text
        text += "0" * (-len(text) % 8)
        header = int(text, 2).to_bytes(len(text) // 8, "big")
        return _escaped(header) + macroblocks[len(_I_PCM) :] + b"\x80"


def _escaped(data: bytes) -> bytes:
    return data.replace(b"\x00\x00\x00", b"\x00\x00\x03\x00").replace(b"\x00\x00\x01", b"\x00\x00\x03\x01")


def _unit(kind: int, reference: int, payload: bytes) -> bytes:
    return _START + bytes([reference << 5 | kind]) + payload


def _macroblocks(field: list[NDArray[np.uint8]]) -> bytes:
    """Return the field's macroblocks: 256 samples of luma, 64 of each chroma, in raster order."""
    height, width = field[0].shape
    rows, columns = height // 16, width // 16
    parts = [
        plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side * side)
        for plane, side in zip(field, (16, 8, 8), strict=True)
    ]
    prefix = np.tile(np.frombuffer(_I_PCM, np.uint8), (rows * columns, 1))
    return np.hstack([prefix, *parts]).tobytes()


def field_pictures(frames: list[list[NDArray[np.uint8]]], *, group: int = 25, fps: int = 25) -> bytes:
    """Return an elementary stream of two fields a frame, top first: every second frame is a non-reference frame.

    Args:
        frames: Planes y, u, v (4:2:0) of each frame; sizes are multiples of 16 and 32. No sample may be 0.
        group: Frames from one IDR frame to the next.
        fps: Frames per second.
    """
    height, width = frames[0][0].shape
    sps = _Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 0, 4, 2).u(0).ue(width // 16 - 1, height // 32 - 1)
    # frame_mbs_only 0, no MBAFF, direct_8x8_inference, no cropping, VUI with nothing but the frame rate
    sps.u(0b0010, 4).u(1).u(0b0000, 4).u(1).u(1, 32).u(2 * fps, 32).u(1).u(0b0000, 4)
    pps = _Bits().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(0, 3)
    parameters = _unit(_SPS, 3, _escaped(sps.end())) + _unit(_PPS, 3, _escaped(pps.end()))
    stream, frame_num = bytearray(), 0
    for number, planes in enumerate(frames):
        index = number % group
        reference = 0 if index % 2 else 2
        if index == 0:
            stream += parameters
            frame_num = 0
        for bottom in (0, 1):
            idr = index == 0 and not bottom
            header = _Bits().ue(0, 7, 0).u(frame_num % _MAX_FRAME_NUM, 4).u(1).u(bottom)
            if idr:
                header.ue(number // group % 2)
            header.u((2 * index + bottom) % _MAX_POC, 8)
            if reference:
                header.u(0, 2 if idr else 1)
            header.ue(0)  # slice_qp_delta
            payload = header.before_macroblock(_macroblocks([plane[bottom::2] for plane in planes]))
            stream += _unit(_IDR_SLICE if idr else _SLICE, reference, payload)
        # the frame after a reference frame counts one up
        frame_num += 1 if reference else 0
    return bytes(stream)
