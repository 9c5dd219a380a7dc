"""The text of a file's text subtitles: all streams in one run of ffmpeg, cleaned, with a cap."""

from __future__ import annotations

import html
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidpipe.errors import MediaError
from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.media.ffmpeg import graph_command, graph_input, run
from vidpipe.media.packets import reading_limit_s

#: Bytes of text kept of one file, all its streams together.
TEXT_LIMIT_BYTES = 256 * 1024
#: SubRip bytes written per stream before ffmpeg stops: room for the times and tags around the text.
_FILE_LIMIT_BYTES = 4 * TEXT_LIMIT_BYTES

# These run over hostile text: none may look further than the next opening mark, or their time grows with its square.
_TIMES = re.compile(r"(\d{1,4}):(\d\d):(\d\d)[,.](\d{3}) --> (\d{1,4}):(\d\d):(\d\d)[,.](\d{3})")
_OVERRIDES = re.compile(r"\{[\\=][^{}]*\}")
#: An ASS drawing, as its text is left when ffmpeg has taken the override {\\p1} away: m 0 0 l 100 0 100 100.
_DRAWING = re.compile(r"m(?: -?\d+(?:\.\d+)?){2}(?: (?:[mnlbspc]|-?\d+(?:\.\d+)?))+")
_TAGS = re.compile(r"</?(?:[bisuc]|font|ruby|rt|v|lang|span)(?:[\s.=][^<>]*)?>", re.I)
_BREAKS = re.compile(r"\\[Nn]|<br\s*/?>", re.I)
_SPACES = re.compile(r"[ \t\u00a0\u200b\ufeff]+")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

log = logging.getLogger(__name__)


def read_cues(
    path: Path, streams: Sequence[SubtitleStream], offset_s: float = 0.0
) -> tuple[tuple[SubtitleCue, ...], bool]:
    """(cues of all text streams in order of stream and time, whether some were left out for the cap).

    offset_s: the first video frame's time in the file, from which cues are to count.
    A file whose subtitles cannot be read has no cues; that is logged and is no reason to refuse the video.
    """
    texts = [stream for stream in streams if stream.text]
    if not texts:
        return (), False
    with tempfile.TemporaryDirectory(prefix="vidpipe-subtitles-") as folder:
        files = {stream.index: Path(folder) / f"{stream.index}.srt" for stream in texts}
        try:
            _extract(path, files)
        except MediaError as error:
            log.warning("The subtitles of %s could not be read: %s", path.name, error)
        parsed = {index: parse_srt(_read(file), index, offset_s) for index, file in files.items()}
        cut = any(file.is_file() and file.stat().st_size >= _FILE_LIMIT_BYTES for file in files.values())
    cues, capped = _cap(parsed)
    return cues, cut or capped


def _extract(path: Path, files: dict[int, Path]) -> None:
    source = graph_input(path)
    options = {"c:s": "srt", "fs": _FILE_LIMIT_BYTES, "copyts": None}
    outputs = [source[str(index)].output(f"file:{file}", format="srt", **options) for index, file in files.items()]
    done = run(graph_command(outputs), timeout_s=reading_limit_s(path))
    if done.returncode != 0:
        raise MediaError(f"ffmpeg said: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'nothing'}")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def parse_srt(text: str, stream: int, offset_s: float = 0.0) -> list[SubtitleCue]:
    """The cues of a SubRip text, cleaned; those without text, or over before `offset_s`, are left out."""
    cues = []
    for start_s, end_s, words in _blocks(text):
        cleaned = clean_cue(words)
        if cleaned and end_s > offset_s:
            cues.append(
                SubtitleCue(
                    stream=stream,
                    start_s=round(max(0.0, start_s - offset_s), 3),
                    end_s=round(max(start_s, end_s) - offset_s, 3),
                    text=cleaned,
                )
            )
    return sorted(cues, key=lambda cue: (cue.start_s, cue.end_s))


def _blocks(text: str) -> Iterator[tuple[float, float, str]]:
    """(start_s, end_s, raw text) of each block: its number, a line of times, its lines, an empty line."""
    times: tuple[float, float] | None = None
    lines: list[str] = []
    for line in [*text.splitlines(), None]:
        found = None if line is None else _TIMES.match(line)
        if line is not None and found is None:
            lines.append(line)
            continue
        if times:
            if found and lines and lines[-1].strip().isdecimal():
                lines.pop()  # the next block's number
            yield (*times, "\n".join(lines))
        if found:
            hours, minutes, seconds, milliseconds, *end = map(int, found.groups())
            times = (
                hours * 3600 + minutes * 60 + seconds + milliseconds / 1000,
                end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000,
            )
        lines = []


def clean_cue(text: str) -> str:
    """The words of a cue: no tags, no {\\an8} overrides, no ASS drawings, no control characters; lines are kept."""
    text = _OVERRIDES.sub("", text)
    text = html.unescape(_TAGS.sub("", _BREAKS.sub("\n", text)).replace("\\h", " "))
    lines = (_SPACES.sub(" ", line).strip() for line in _CONTROLS.sub("", text).split("\n"))
    return "\n".join(line for line in lines if line and not _DRAWING.fullmatch(line))


def _cap(parsed: dict[int, list[SubtitleCue]]) -> tuple[tuple[SubtitleCue, ...], bool]:
    """At most TEXT_LIMIT_BYTES of text, shared out so that a long stream does not crowd out a short one."""
    room, truncated = TEXT_LIMIT_BYTES, False
    kept: dict[int, list[SubtitleCue]] = {}
    by_size = sorted(parsed, key=lambda index: sum(len(cue.text.encode()) for cue in parsed[index]))
    for position, index in enumerate(by_size):
        share = room // (len(by_size) - position)
        taken: list[SubtitleCue] = []
        for cue in parsed[index]:
            size = len(cue.text.encode())
            if size > share:
                truncated = True
                break
            share -= size
            room -= size
            taken.append(cue)
        kept[index] = taken
    return tuple(cue for index in sorted(kept) for cue in kept[index]), truncated
