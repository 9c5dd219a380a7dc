"""Video containers: told by a file's name or first bytes, and the suffix that a stored one is given."""

from __future__ import annotations

import re

#: As many first bytes as the functions here look at.
HEAD_BYTES = 1024

VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gxf", ".h264", ".h265", ".hevc", ".ivf", ".m1v",
    ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m",
})  # fmt: skip

_FTYP_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_MAGIC = (
    b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"0&\xb2u\x8ef\xcf\x11", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3",
    b".RMF", b"DKIF", b"YUV4MPEG2 ", b"\x06\x0e+4", b"nut/multimedia container",
)  # fmt: skip


def looks_like_video(head: bytes) -> bool:
    """Whether `head`, the first bytes of a file, opens a video container (ffprobe has the last word)."""
    if head.startswith(_MAGIC) or head[4:8] in _FTYP_BOXES or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    # MPEG transport streams have no magic but a sync byte every 188 bytes (192 on Blu-ray, after a time stamp)
    return any(
        len(head) > start + 4 * step and all(head[start + step * packet] == 0x47 for packet in range(5))
        for start, step in ((0, 188), (4, 192))
    )


def suffix_for(container: str, head: bytes) -> str:
    """The file name suffix of a container, by ffprobe's short name (`mov`, `matroska`) and the file's first bytes."""
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
