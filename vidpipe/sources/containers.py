"""Video containers: detected by a file's name or first bytes, and the suffix of a stored file."""

import functools
import os
import re
from pathlib import Path

from vidpipe.media.sniff import sniff

#: Number of first bytes that the functions here inspect.
HEAD_BYTES = 1024

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".gxf",
    ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nsv", ".nut", ".nuv", ".obu", ".ogg", ".ogm",
    ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".webp", ".wmv", ".wtv", ".y4m",
})  # fmt: skip
#: Of these, suffixes that other files have as well (TypeScript, pictures): the content decides.
_SHARED_SUFFIXES = frozenset({".ts", ".obu", ".dv", ".gif", ".webp"})

_FTYP_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"jP  "})
_MAGIC = (
    b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"0&\xb2u\x8ef\xcf\x11", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3",
    b".RMF", b"DKIF", b"YUV4MPEG2 ", b"\x06\x0e+4", b"nut/multimedia container",
    b"\x1f\x07\x00", b"\x12\x00\x0a", b"NSVf", b"NSVs", b"NuppelVideo", b"MythTVVideo", b"BBCD",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11", b"GIF8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff",
)  # fmt: skip
#: The first units of raw H.264 and H.265: access unit delimiter or parameter set.
_ELEMENTARY = re.compile(rb"\x00{2,3}\x01(?:\x09[\x10-\xf0]|[\x27\x47\x67][\x42-\xf4]|\x46\x01|[\x40\x42]\x01)")
_UNKNOWN = "not in a video format that vidpipe knows"


def skip_reason(path: Path) -> str | None:
    """Return what a file in a folder is if it is not added ("a JPEG picture"); None if it is added.

    A suffix that only videos have is enough; the content is checked when the file is added, as for a file given by
    itself. Otherwise the content decides, which is read once until the file changes.

    Raises:
        OSError: The file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES - _SHARED_SUFFIXES:
        return None
    stat = os.stat(path)
    return _other_content(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 14)  # watched folders ask again and again
def _other_content(path: Path, size_bytes: int, modified_ns: int) -> str | None:
    content = sniff(path)
    if content is not None:
        return content.name
    with path.open("rb") as file:
        return None if looks_like_video(file.read(HEAD_BYTES)) else _UNKNOWN


def looks_like_video(head: bytes) -> bool:
    """Return whether `head`, the first bytes of a file, opens a video container or a picture that may be animated.

    ffprobe decides in the end.
    """
    if head.startswith(_MAGIC) or head[4:8] in _FTYP_BOXES or _ELEMENTARY.match(head):
        return True
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return True
    # MPEG transport streams have no magic but a sync byte every 188 bytes (192 on Blu-ray, after a time stamp)
    return any(
        len(head) > start + 4 * step and all(head[start + step * packet] == 0x47 for packet in range(5))
        for start, step in ((0, 188), (4, 192))
    )


def suffix_for(container: str, head: bytes) -> str:
    """Return the file name suffix of a container.

    Args:
        container: ffprobe's short name (`mov`, `matroska`).
        head: The file's first bytes.
    """
    if container in ("mov", "mp4"):
        brand = head[8:12] if head[4:8] == b"ftyp" else b""
        known = {b"qt  ": ".mov", b"M4V ": ".m4v", b"M4VH": ".m4v", b"M4VP": ".m4v"}
        return known.get(brand, ".3gp" if brand.startswith(b"3g") else ".mp4" if brand else ".mov")
    if container in ("matroska", "webm"):
        return ".webm" if b"webm" in head[:64] else ".mkv"
    known_containers = {
        "mpegts": ".ts", "mpeg": ".mpg", "mpegvideo": ".mpg", "asf": ".wmv", "ogg": ".ogv", "yuv4mpegpipe": ".y4m",
    }  # fmt: skip
    plain = container if re.fullmatch(r"[a-z0-9]{1,8}", container) else "video"
    return known_containers.get(container, f".{plain}")
