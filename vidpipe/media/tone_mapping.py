"""ffmpeg filters that bring HDR pictures (PQ, HLG) to standard range, of filters that every build of ffmpeg has.

Meant for pictures that have been scaled down. Each channel is taken to linear light relative to a reference white,
converted from the primaries of BT.2020 to those of BT.709, rolled off above `_KNEE` and given a gamma of 2.4.
Sources: SMPTE ST 2084 and ARIB STD-B67 as in ITU-R BT.2100, the matrix of ITU-R BT.2087.
"""

from __future__ import annotations

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
