"""What a viewer reads of a subtitle cue: no markup, no overrides, no comments, no drawings, no control characters."""

from __future__ import annotations

import html
import re

# These run over hostile text: none may look further than the next opening mark, or their time grows with its square.
#: Of ASS, everything in braces is hidden, be it an override or a comment. `_blocks` sees to it that each has an end.
_ASS_BLOCKS = re.compile(r"(?<!\\)\{([^}]*)\}")
#: Of other formats, players hide {\an8}, {=1} and the codes of MicroDVD, {y:i}; {hello} is shown.
_OVERRIDES = re.compile(r"\{((?:[\\=]|[CcFfPpSsYy]:)[^{}]*)\}")
_DRAWING_MODE = re.compile(r"\\p(\d+)")
#: An ASS drawing that a converter has left without its override {\p1}: m 0 0 l 100 0 100 100.
_DRAWING = re.compile(r"m(?: -?\d+(?:\.\d+)?){2}(?: (?:[mnlbspc]|-?\d+(?:\.\d+)?))+")
_TAGS = re.compile(r"</?(?:[bisuc]|font|ruby|rt|v|lang|span)(?:[\s.=][^<>]*)?>", re.I)
_WEBVTT_TAGS = re.compile(r"<[^<>]*>")
_BREAKS = re.compile(r"\\[Nn]|<br\s*/?>", re.I)
#: More digits than a character's number has; Python refuses to read thousands of them.
_NO_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_SPACES = re.compile(r"[ \t\u00a0\u200b\ufeff]+")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean_cue(text: str, codec: str = "subrip") -> str:
    """The words of a cue that a stream of `codec` (ffmpeg's name) holds; lines are kept."""
    is_ass = codec in ("ass", "ssa")
    text = "\n".join(text.splitlines())
    text = _without_blocks(text, _ASS_BLOCKS if is_ass else _OVERRIDES)
    if is_ass:
        text = text.replace("\\{", "{").replace("\\}", "}")
    text = _BREAKS.sub("\n", _without_comments(text))
    text = (_WEBVTT_TAGS if codec == "webvtt" else _TAGS).sub("", text)
    text = html.unescape(_NO_ENTITY.sub("", text).replace("\\h", " "))
    lines = (_SPACES.sub(" ", line).strip() for line in _CONTROLS.sub("", text).split("\n"))
    return "\n".join(line for line in lines if line and not _DRAWING.fullmatch(line))


def _without_blocks(text: str, blocks: re.Pattern[str]) -> str:
    """`text` without what `blocks` matches, and without what {\\p1} makes a drawing of."""
    end = text.rfind("}") + 1
    shown: list[str] = []
    drawing = False
    for number, part in enumerate(blocks.split(text[:end])):
        if number % 2 == 0:
            shown += [] if drawing else [part]
        elif modes := _DRAWING_MODE.findall(part):
            drawing = modes[-1].strip("0") != ""
    return "".join(shown) + ("" if drawing else text[end:])


def _without_comments(text: str) -> str:
    """`text` without <!-- comments -->; one without an end is kept."""
    shown, position = [], 0
    while (start := text.find("<!--", position)) >= 0 and (end := text.find("-->", start)) >= 0:
        shown.append(text[position:start])
        position = end + 3
    return "".join(shown) + text[position:]
