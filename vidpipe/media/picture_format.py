"""How a picture is stored and displayed: size, orientation, bit depth, dynamic range and tone mapping."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.media import memory, streams
from vidpipe.media.ffmpeg import ffprobe_command
from vidpipe.media.programs import run

#: Name, minimum long side and minimum short side in pixels, largest first. One side is enough: CinemaScope is wide
#: enough (1920x800), 4:3 is high enough (1440x1080).
_RESOLUTIONS = (
    ("8K", 7680, 4320),
    ("4K", 3840, 2160),
    ("2K", 2048, 1440),
    ("Full HD", 1920, 1080),
    ("HD", 1280, 720),
)
#: Encoders crop a few lines and columns: 97 % of the nominal side is enough.
_SIDE_TOLERANCE = 0.97
#: The widest plausible pixel; its inverse is the narrowest. In use are 4:9 (half the lines of a 4:3 picture) to 32:11
#: (half the columns of a 16:9 picture).
MAX_PIXEL_ASPECT = Fraction(4)


def resolution_name(width: int, height: int) -> str:
    """Return SD, HD, Full HD, 2K, 4K or 8K for a displayed size in pixels, in either orientation."""
    long, short = max(width, height), min(width, height)
    for name, min_long, min_short in _RESOLUTIONS:
        if long >= min_long * _SIDE_TOLERANCE or short >= min_short * _SIDE_TOLERANCE:
            return name
    return "SD"


def orientation(width: int, height: int) -> str:
    """Return landscape, portrait or square for a displayed size."""
    if width == height:
        return "square"
    return "landscape" if width > height else "portrait"


def displayed_size(coded_width: int, coded_height: int, pixel_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """Return the displayed size of a picture.

    Args:
        coded_width: Width of the coded picture, in pixels.
        coded_height: Height of the coded picture, in pixels.
        pixel_aspect: Width of a pixel divided by its height.
        rotation: Clockwise rotation for display, in degrees: 0, 90, 180 or 270.

    Returns:
        Width and height in square pixels (the width is stretched), after rotation.
    """
    width, height = max(1, round(coded_width * pixel_aspect)), coded_height
    return (height, width) if rotation in (90, 270) else (width, height)


def is_plausible_aspect(pixel_aspect: Fraction) -> bool:
    """Return whether a pixel aspect ratio (width to height) is deliberate rather than an error."""
    return 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT


def display_rotation(matrix: Sequence[int]) -> tuple[int, bool]:
    """Return the rotation and mirroring that a display matrix describes.

    Args:
        matrix: Its nine numbers, row by row.

    Returns:
        The clockwise rotation of the frame in degrees (0, 90, 180 or 270), as the ffmpeg program applies it, and
        whether the picture is mirrored. Any other angle rotates the picture within a frame of the same size and counts
        as 0, as does a degenerate matrix. A mirrored picture is never rotated by 180 degrees.
    """
    a, b, _, c, d = matrix[:5]
    determinant = a * d - b * c
    if not determinant:
        return 0, False
    angle = round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360
    quarters = angle if angle in (90, 180, 270) else 0
    mirrored = determinant < 0
    return (0 if mirrored and quarters == 180 else quarters), mirrored


_NAMED_DEPTHS = re.compile(r"(?:p|gray|ya|bayer_\w+|xyz|x2rgb|x2bgr)(9|10|12|14|16)(?:le|be)$")
_SEMIPLANAR = re.compile(r"^[pyx](?:v)?[0-4](10|12|16)(?:le|be)$")
_PACKED = re.compile(r"^(?:rgb48|bgr48|rgba64|bgra64|ayuv64)(?:le|be)$")
_DOLBY_TAGS = frozenset({"dvh1", "dvhe", "dva1", "dvav", "dav1"})


def bit_depth(pixel_format: str | None, raw_bits: str | None) -> int | None:
    """Return the bits per sample.

    Args:
        pixel_format: ffmpeg's name of the pixel format.
        raw_bits: The stream's `bits_per_raw_sample`, which takes precedence.
    """
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
    """Return whether a stream uses SMPTE ST 2084 (PQ), whose variants only the first frame distinguishes."""
    return stream.get("color_transfer") == "smpte2084"


def dynamic_range(stream: Mapping[str, Any], frame_side_data: Iterable[Mapping[str, Any]] = ()) -> str | None:
    """Return the kind of high dynamic range.

    HDR10 is PQ with BT.2020 primaries or static mastering metadata; HDR10+ carries dynamic metadata in its frames.

    Args:
        stream: ffprobe's description of the stream.
        frame_side_data: Side data of its first frame.

    Returns:
        Dolby Vision, HDR10+, HDR10, PQ or HLG; None for standard dynamic range.
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


#: Luminance that is mapped to standard-range white, in cd/m²: between the 100 of BT.1886 displays, near which films are
#: graded, and the 203 that BT.2408 recommends.
_WHITE_NITS = 150
#: Light below this fraction of white is unchanged; brighter light is compressed towards white.
_KNEE = 0.7
#: Light above this multiple of white is clipped; it is practically white by then.
_CLIP = 2.5
_PEAK_NITS = {"smpte2084": 10_000, "arib-std-b67": 1_000}
_SIGNAL = "val/65535"
_LINEAR = {
    "smpte2084": (
        f"pow(max(pow({_SIGNAL},1/78.84375)-0.8359375,0)/(18.8515625-18.6875*pow({_SIGNAL},1/78.84375)),1/0.1593017578125)"
    ),
    # with the system gamma of a display of 1000 cd/m², per channel
    "arib-std-b67": (
        f"pow(if(lte({_SIGNAL},0.5),pow({_SIGNAL},2)/3,(exp(({_SIGNAL}-0.55991073)/0.17883277)+0.28466892)/12),1.2)"
    ),
}
_TO_BT709 = (
    "colorchannelmixer=rr=1.6605:rg=-0.5876:rb=-0.0728:gr=-0.1246:gg=1.1329:gb=-0.0083:br=-0.0182:bg=-0.1006:bb=1.1187"
)


def tone_mapping(color_transfer: str | None) -> list[str]:
    """Return ffmpeg's filters that map HDR to standard range.

    Args:
        color_transfer: ffmpeg's name of the stream's transfer function.

    Returns:
        A chain of filters that ends in RGB; empty for standard range.
    """
    linear = _LINEAR.get(color_transfer or "")
    if linear is None:
        return []
    scaled = f"65535*{linear}*{_PEAK_NITS[str(color_transfer)] / _WHITE_NITS / _CLIP:.4f}"
    light, rest = f"{_SIGNAL}*{_CLIP}", 1 - _KNEE
    rolled = f"if(lt({light},{_KNEE}),{light},1-{rest:.2f}*exp(({_KNEE}-{light})/{rest:.2f}))"
    return ["format=rgb48", _all_channels(scaled), _TO_BT709, _all_channels(f"65535*pow({rolled},1/2.4)")]


def _all_channels(expression: str) -> str:
    return "lutrgb=" + ":".join(f"{channel}='{expression}'" for channel in "rgb")


def picture_facts(path: Path, video: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of MediaInfo about the picture, and notes about implausible values."""
    coded_width, coded_height = int(video["width"]), int(video["height"])
    pixel_aspect = streams.fraction(video.get("sample_aspect_ratio")) or Fraction(1)
    notes = []
    if not is_plausible_aspect(pixel_aspect):
        notes.append(f"The pixel aspect ratio {_ratio(pixel_aspect)} was ignored: the pixels are taken as square.")
        pixel_aspect = Fraction(1)
    rotation, mirrored = _display_rotation(video)
    width, height = displayed_size(coded_width, coded_height, pixel_aspect, rotation)
    return {
        "pixel_format": video.get("pix_fmt"),
        "bit_depth": bit_depth(video.get("pix_fmt"), video.get("bits_per_raw_sample")),
        "hdr": dynamic_range(video, _first_frame_side_data(path, video)),
        "color_transfer": video.get("color_transfer"),
        "field_order": video.get("field_order"),
        "coded_width": coded_width,
        "coded_height": coded_height,
        "rotation": rotation,
        "mirrored": mirrored,
        "pixel_aspect": _ratio(pixel_aspect),
        "width": width,
        "height": height,
        "orientation": orientation(width, height),
        "resolution": resolution_name(width, height),
    }, notes


def _ratio(fraction: Fraction) -> str:
    return f"{fraction.numerator}:{fraction.denominator}"


def _display_rotation(video: Mapping[str, Any]) -> tuple[int, bool]:
    for data in video.get("side_data_list", ()):
        if data.get("side_data_type") == "Display Matrix":
            rows = [line.partition(":")[2].split() for line in str(data.get("displaymatrix", "")).strip().split("\n")]
            matrix = [int(number) for row in rows for number in row]
            return display_rotation(matrix) if len(matrix) == 9 else (0, False)
    return 0, False


def _first_frame_side_data(path: Path, video: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not is_perceptual_quantizer(video):
        return []
    selected = ("-select_streams", str(video["index"]), "-read_intervals", "%+#1", "-show_frames")
    command = ffprobe_command(path, *selected, show="frame=side_data_list", output="json")
    done = run(command, timeout_s=memory.current().time.headers_s, task="reading the first frame")
    frames = json.loads(done.stdout or b"{}").get("frames", []) if done.returncode == 0 else []
    return [data for frame in frames for data in frame.get("side_data_list", [])]
