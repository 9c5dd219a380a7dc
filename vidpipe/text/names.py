"""Canonical spellings of names: languages, codecs, containers, colors, resolutions."""

import re
from functools import lru_cache

#: ISO 639-2/T code -> English name and the other codes (639-1, 639-2/B).
_LANGUAGES = {
    "ara": ("Arabic", "ar"), "ces": ("Czech", "cs", "cze"), "dan": ("Danish", "da"), "deu": ("German", "de", "ger"),
    "ell": ("Greek", "el", "gre"), "eng": ("English", "en"), "fas": ("Persian", "fa", "per"), "fin": ("Finnish", "fi"),
    "fra": ("French", "fr", "fre"), "heb": ("Hebrew", "he"), "hin": ("Hindi", "hi"), "hun": ("Hungarian", "hu"),
    "ind": ("Indonesian", "id"), "ita": ("Italian", "it"), "jpn": ("Japanese", "ja"), "kor": ("Korean", "ko"),
    "nld": ("Dutch", "nl", "dut"), "nor": ("Norwegian", "no"), "pol": ("Polish", "pl"), "por": ("Portuguese", "pt"),
    "ron": ("Romanian", "ro", "rum"), "rus": ("Russian", "ru"), "spa": ("Spanish", "es"), "swe": ("Swedish", "sv"),
    "tam": ("Tamil", "ta"), "tha": ("Thai", "th"), "tur": ("Turkish", "tr"), "ukr": ("Ukrainian", "uk"),
    "vie": ("Vietnamese", "vi"), "zho": ("Chinese", "zh", "chi"),
}  # fmt: skip

#: What containers write for an unspecified language.
UNKNOWN_LANGUAGES = frozenset({"", "und", "unknown", "mis", "zxx"})

_CODES = {other: code for code, (_, *others) in _LANGUAGES.items() for other in (code, *others)}
_CODES_AND_NAMES = _CODES | {name.lower(): code for code, (name, *_) in _LANGUAGES.items()}


@lru_cache(maxsize=1000)
def language_code(name: str) -> str:
    """Return the ISO 639-2/T code of a common language: `en`, `en-US` and `English` are `eng`.

    Any other language comes back in lower case, without its region.
    """
    lowered = " ".join(name.lower().split())
    primary = re.split(r"[-_]", lowered)[0]
    return _CODES_AND_NAMES.get(lowered) or _CODES_AND_NAMES.get(primary, primary)


def short_language_code(name: str) -> str:
    """Return the ISO 639-1 code of a common language, as recognition gives it: `eng` is `en`. See `language_code`."""
    code = language_code(name)
    return _LANGUAGES[code][1] if code in _LANGUAGES else code


def language_name(code: str) -> str:
    """Return the English name of a common language, or `code` itself."""
    known = _CODES.get(code.lower().partition("-")[0])
    return _LANGUAGES[known][0] if known else code


#: As the metadata stage names them, in ascending order, by which rules compare them.
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


def _by_alias(table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {alias: name for name, aliases in table.items() for alias in aliases}


_CODECS, _CONTAINERS = map(_by_alias, (_CODEC_ALIASES, _CONTAINER_ALIASES))
_SEPARATORS = re.compile(r"[\s._/-]+")


@lru_cache(4096)  # few names, many videos
def _compact(name: str) -> str:
    return _SEPARATORS.sub("", name).lower()


def plain(name: str) -> str:
    """Return `name` in lower case with single spaces."""
    return " ".join(name.lower().split())


def codec(name: str) -> str:
    """Return ffmpeg's name: `H.264` and `avc1` are `h264`, `H.265` is `hevc`. Separators are removed (`pcm_s16le`)."""
    compact = _compact(name)
    return _CODECS.get(compact, compact)


def container(name: str) -> str:
    """Return the first of ffprobe's names of the format: `mp4` is `mov`, `webm` and `mkv` are `matroska`."""
    compact = _compact(name)
    return _CONTAINERS.get(compact, compact)


def color(name: str) -> str:
    """Return the name of a color in British spelling, as the facts have it."""
    return plain(name).replace("gray", "grey")


def resolution(name: str) -> str:
    """Return `Full HD` for `1080p` and `full hd`, `4K` for `UHD`; an unknown name is returned unchanged."""
    compact = _compact(name)
    by_name = {_compact(known): known for known in RESOLUTIONS}
    return by_name.get(compact) or _RESOLUTION_ALIASES.get(compact, name)
