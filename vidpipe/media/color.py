"""Bit depth and dynamic range of a video stream, from what ffprobe says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_NAMED_DEPTHS = re.compile(r"(?:p|gray|ya|bayer_\w+|xyz|x2rgb|x2bgr)(9|10|12|14|16)(?:le|be)$")
_SEMIPLANAR = re.compile(r"^[pyx](?:v)?[0-4](10|12|16)(?:le|be)$")
_PACKED = re.compile(r"^(?:rgb48|bgr48|rgba64|bgra64|ayuv64)(?:le|be)$")
_DOLBY_TAGS = frozenset({"dvh1", "dvhe", "dva1", "dvav", "dav1"})


def bit_depth(pixel_format: str | None, raw_bits: str | None) -> int | None:
    """Bits a sample: as the stream says (`bits_per_raw_sample`), else as the pixel format's name says."""
    if raw_bits and raw_bits.isdecimal() and int(raw_bits) > 0:
        return int(raw_bits)
    if not pixel_format:
        return None
    if pixel_format in {"monob", "monow"}:
        return 1
    if pixel_format.endswith(("f32le", "f32be")):
        return 32
    if _PACKED.match(pixel_format):
        return 16
    found = _NAMED_DEPTHS.search(pixel_format) or _SEMIPLANAR.match(pixel_format)
    return int(found[1]) if found else 8


def is_perceptual_quantizer(stream: Mapping[str, Any]) -> bool:
    """Whether the stream uses SMPTE ST 2084 (PQ), whose kinds only the first frame tells apart."""
    return stream.get("color_transfer") == "smpte2084"


def dynamic_range(stream: Mapping[str, Any], frame_side_data: Iterable[Mapping[str, Any]] = ()) -> str | None:
    """The kind of high dynamic range: Dolby Vision, HDR10+, HDR10, PQ or HLG; None for standard range.

    HDR10 is PQ with BT.2020 primaries or static mastering metadata; HDR10+ carries dynamic metadata in its frames.
    """
    kinds = " ".join(
        str(data.get("side_data_type", "")) for data in (*stream.get("side_data_list", ()), *frame_side_data)
    )
    if "DOVI" in kinds or "Dolby Vision" in kinds or stream.get("codec_tag_string") in _DOLBY_TAGS:
        return "Dolby Vision"
    if is_perceptual_quantizer(stream):
        if "HDR10+" in kinds or "2094-40" in kinds:
            return "HDR10+"
        static = "Mastering display" in kinds or stream.get("color_primaries") == "bt2020"
        return "HDR10" if static else "PQ"
    return "HLG" if stream.get("color_transfer") == "arib-std-b67" else None
