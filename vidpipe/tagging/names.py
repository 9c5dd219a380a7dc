"""One spelling for names that files and people spell in many ways: codecs, containers, languages, resolutions."""

from __future__ import annotations

import re
from functools import lru_cache

#: From the smallest to the largest, as the metadata stage names them; rules compare them in this order.
RESOLUTIONS = ("SD", "HD", "Full HD", "2K", "4K", "8K")

_RESOLUTION_ALIASES = {
    "480p": "SD", "576p": "SD", "720p": "HD", "1080p": "Full HD", "fhd": "Full HD", "fullhd": "Full HD",
    "1440p": "2K", "qhd": "2K", "uhd": "4K", "2160p": "4K", "ultrahd": "4K", "4320p": "8K",
}  # fmt: skip

_CODEC_ALIASES = {
    "h264": ("avc", "avc1", "x264", "h264avc", "mpeg4avc"),
    "hevc": ("h265", "x265", "hvc1", "hev1"),
    "av1": ("av01", "libaomav1"),
    "vp9": ("vp09",),
    "mpeg4": ("divx", "xvid", "mp4v", "mpeg4part2"),
    "mpeg2video": ("mpeg2", "h262"),
    "mpeg1video": ("mpeg1",),
    "mjpeg": ("motionjpeg",),
    "ac3": ("dolbydigital",),
    "eac3": ("dolbydigitalplus",),
    "aac": ("mp4a",),
}

_CONTAINER_ALIASES = {
    "mov": ("mp4", "m4v", "quicktime", "qt", "3gp"),
    "matroska": ("mkv", "webm"),
    "mpegts": ("ts", "m2ts", "mts"),
    "mpeg": ("mpg", "vob"),
    "asf": ("wmv",),
}

#: ISO 639-2/T code -> its other codes (639-1, 639-2/B) and its English name.
_LANGUAGE_ALIASES = {
    "ara": ("ar", "arabic"), "ces": ("cs", "cze", "czech"), "dan": ("da", "danish"), "deu": ("de", "ger", "german"),
    "ell": ("el", "gre", "greek"), "eng": ("en", "english"), "fin": ("fi", "finnish"), "fra": ("fr", "fre", "french"),
    "heb": ("he", "hebrew"), "hin": ("hi", "hindi"), "hun": ("hu", "hungarian"), "ind": ("id", "indonesian"),
    "ita": ("it", "italian"), "jpn": ("ja", "japanese"), "kor": ("ko", "korean"), "nld": ("nl", "dut", "dutch"),
    "nor": ("no", "norwegian"), "pol": ("pl", "polish"), "por": ("pt", "portuguese"), "ron": ("ro", "rum", "romanian"),
    "rus": ("ru", "russian"), "spa": ("es", "spanish"), "swe": ("sv", "swedish"), "tha": ("th", "thai"),
    "tur": ("tr", "turkish"), "ukr": ("uk", "ukrainian"), "vie": ("vi", "vietnamese"), "zho": ("zh", "chi", "chinese"),
}  # fmt: skip

#: What containers write for "nobody said which language".
UNKNOWN_LANGUAGES = frozenset({"", "und", "unknown", "mis", "zxx"})


def _by_alias(table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {alias: name for name, aliases in table.items() for alias in aliases}


_CODECS, _CONTAINERS, _LANGUAGES = map(_by_alias, (_CODEC_ALIASES, _CONTAINER_ALIASES, _LANGUAGE_ALIASES))
_SEPARATORS = re.compile(r"[\s._/-]+")


@lru_cache(4096)  # few names, many videos
def _compact(name: str) -> str:
    return _SEPARATORS.sub("", name).lower()


def plain(name: str) -> str:
    """Lower case, with single spaces."""
    return " ".join(name.lower().split())


def codec(name: str) -> str:
    """ffmpeg's name: `H.264` and `avc1` are `h264`, `H.265` is `hevc`; separators do not count (`pcm_s16le`)."""
    compact = _compact(name)
    return _CODECS.get(compact, compact)


def container(name: str) -> str:
    """The first of ffprobe's names for the format: `mp4` is `mov`, `webm` and `mkv` are `matroska`."""
    compact = _compact(name)
    return _CONTAINERS.get(compact, compact)


def language(name: str) -> str:
    """The ISO 639-2/T code where it is known: `en`, `en-US` and `English` are `eng`."""
    lowered = plain(name)
    primary = re.split(r"[-_]", lowered)[0]
    return _LANGUAGES.get(lowered) or _LANGUAGES.get(primary, primary)


def color(name: str) -> str:
    return plain(name).replace("gray", "grey")


def resolution(name: str) -> str:
    """`1080p` and `full hd` are `Full HD`, `UHD` is `4K`; an unknown name comes back as it is."""
    compact = _compact(name)
    by_name = {_compact(known): known for known in RESOLUTIONS}
    return by_name.get(compact) or _RESOLUTION_ALIASES.get(compact, name)
