"""Bit depth, dynamic range and tone mapping of a video stream."""

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


#: What becomes the white of standard range, in candela per square metre: between the 100 of BT.1886 displays, which
#: films are graded near, and the 203 that BT.2408 recommends.
_WHITE_NITS = 150
#: Light up to this share of white stays as it is; what is brighter approaches white.
_KNEE = 0.7
#: Light beyond so many times white is cut off; it is as good as white by then.
_RANGE = 2.5
_PEAK_NITS = {"smpte2084": 10_000, "arib-std-b67": 1_000}
_SIGNAL = "val/65535"
_LINEAR = {
    "smpte2084": (
        f"pow(max(pow({_SIGNAL},1/78.84375)-0.8359375,0)/(18.8515625-18.6875*pow({_SIGNAL},1/78.84375)),1/0.1593017578125)"
    ),
    # with the system gamma of a display of 1000 candela per square metre, channel by channel
    "arib-std-b67": (
        f"pow(if(lte({_SIGNAL},0.5),pow({_SIGNAL},2)/3,(exp(({_SIGNAL}-0.55991073)/0.17883277)+0.28466892)/12),1.2)"
    ),
}
_TO_BT709 = (
    "colorchannelmixer=rr=1.6605:rg=-0.5876:rb=-0.0728:gr=-0.1246:gg=1.1329:gb=-0.0083:br=-0.0182:bg=-0.1006:bb=1.1187"
)


def tone_mapping(color_transfer: str | None) -> str:
    """A chain of filters for pictures of this transfer function, which ends in RGB; empty where none is needed."""
    linear = _LINEAR.get(color_transfer or "")
    if linear is None:
        return ""
    scaled = f"65535*{linear}*{_PEAK_NITS[str(color_transfer)] / _WHITE_NITS / _RANGE:.4f}"
    light, rest = f"{_SIGNAL}*{_RANGE}", 1 - _KNEE
    rolled = f"if(lt({light},{_KNEE}),{light},1-{rest:.2f}*exp(({_KNEE}-{light})/{rest:.2f}))"
    return f"format=rgb48,{_all_channels(scaled)},{_TO_BT709},{_all_channels(f'65535*pow({rolled},1/2.4)')}"


def _all_channels(expression: str) -> str:
    return "lutrgb=" + ":".join(f"{channel}='{expression}'" for channel in "rgb")
