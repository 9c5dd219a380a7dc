"""The text of a file's text subtitles: the packets of all streams in one run of ffmpeg, decoded, cleaned, with a cap.

ffmpeg's own decoders leave out every cue that is not UTF-8, so the packets are read as they lie in the file."""

from __future__ import annotations

import html
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vidpipe.errors import MediaError
from vidpipe.media.charsets import decode_cues
from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.media.ffmpeg import WITHOUT_METADATA, graph_command, graph_input, run
from vidpipe.media.packets import reading_limit_s
from vidpipe.media.streams import LATEST_S

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


#: Bytes of text kept of one file, all its streams together.
TEXT_LIMIT_BYTES = 256 * 1024
#: Bytes read per stream before ffmpeg stops: room for the tags around the text.
_FILE_LIMIT_BYTES = 4 * TEXT_LIMIT_BYTES
_ASS_FIELDS = 8
_NO_TIME = -(1 << 63)

log = logging.getLogger(__name__)


class CuesRead(NamedTuple):
    """cues:      of all text streams, in order of stream and time
    truncated: some were left out for the cap
    notes:     sentences about encodings that were guessed and cues that were lost
    """

    cues: tuple[SubtitleCue, ...] = ()
    truncated: bool = False
    notes: tuple[str, ...] = ()


class SubtitlePacket(NamedTuple):
    """One packet of a subtitle stream; end_s is start_s where the file does not tell how long it is shown."""

    start_s: float
    end_s: float
    data: bytes


def read_cues(path: Path, streams: Sequence[SubtitleStream], offset_s: float = 0.0) -> CuesRead:
    """The cues of all text streams.

    offset_s: the first video frame's time in the file, from which cues are to count.
    A file whose subtitles cannot be read has no cues; that is noted and is no reason to refuse the video.
    """
    texts = [stream for stream in streams if stream.text]
    if not texts:
        return CuesRead()
    notes: list[str] = []
    parsed: dict[int, list[SubtitleCue]] = {}
    cut = False
    with tempfile.TemporaryDirectory(prefix="vidpipe-subtitles-") as folder:
        try:
            _extract(path, texts, Path(folder))
        except MediaError as error:
            log.warning("The subtitles of %s could not be read to their end: %s", path.name, error)
            notes.append("The subtitles could not be read to their end.")
        for stream in texts:
            index, data = map(_beginning, _files(Path(folder), stream))
            packets = list(_packets(index, data))
            cut = cut or max(len(index), len(data)) >= _FILE_LIMIT_BYTES
            parsed[stream.index], said = read_packets(packets, stream, offset_s)
            notes += said
    cues, capped = _cap(parsed)
    return CuesRead(cues, cut or capped, tuple(notes))


def _files(folder: Path, stream: SubtitleStream) -> tuple[Path, Path]:
    """Where the times of a stream's packets lie, and their bytes one after another."""
    return folder / f"{stream.index}.times", folder / f"{stream.index}.data"


def _beginning(file: Path) -> bytes:
    """The part of a file that is used; empty if there is no file."""
    if not file.is_file():
        return b""
    with file.open("rb") as opened:
        return opened.read(_FILE_LIMIT_BYTES)


def _extract(path: Path, streams: Sequence[SubtitleStream], folder: Path) -> None:
    source = graph_input(path)
    options = {"c": "copy", "fs": _FILE_LIMIT_BYTES, "copyts": None, **WITHOUT_METADATA}
    outputs = [
        source[str(stream.index)].output(f"file:{file}", format=muxer, **options)
        for stream in streams
        for file, muxer in zip(_files(folder, stream), ("framecrc", "data"), strict=True)
    ]
    done = run(graph_command(outputs), timeout_s=reading_limit_s(path), task="reading the subtitles")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise MediaError(f"ffmpeg said: {said[-1][:200] if said else 'nothing'}")


def _packets(index: bytes, data: bytes) -> Iterator[SubtitlePacket]:
    """The packets of which both the line that framecrc writes (stream, dts, pts, duration, size, sum) and all bytes are
    there."""
    time_base, position = Fraction(1, 1000), 0
    for line in index.splitlines():
        if line.startswith(b"#tb 0:"):
            time_base = Fraction(line[6:].strip().decode())
        fields = line.split(b",")
        if line.startswith(b"#") or len(fields) < 5:
            continue
        try:
            pts, duration, size = (int(field) for field in fields[2:5])
        except ValueError:  # a packet without a time
            pts, duration, size = _NO_TIME, 0, int(fields[4])
        body = data[position : position + size]
        position += size
        if len(body) < size:
            return
        start_s, end_s = float(pts * time_base), float((pts + max(0, duration)) * time_base)
        if pts != _NO_TIME and abs(start_s) < LATEST_S:
            yield SubtitlePacket(start_s, min(end_s, LATEST_S), body)


def read_packets(
    packets: Sequence[SubtitlePacket], stream: SubtitleStream, offset_s: float = 0.0
) -> tuple[list[SubtitleCue], list[str]]:
    """(the cues of a stream, cleaned, without those that have no text or are over before `offset_s`; notes)."""
    decoded = decode_cues([_text_bytes(packet.data, stream.codec) for packet in packets], stream.language)
    cues: dict[SubtitleCue, None] = {}  # what styled subtitles repeat, for an outline or a shadow, is one cue
    for number, (packet, text) in enumerate(zip(packets, decoded.texts, strict=True)):
        end_s = packet.end_s
        if end_s <= packet.start_s and number + 1 < len(packets):
            end_s = max(end_s, packets[number + 1].start_s)
        cleaned = clean_cue(text, stream.codec) if text else ""
        if cleaned and end_s > offset_s:
            start_s = round(max(0.0, packet.start_s - offset_s), 3)
            cue = SubtitleCue(stream=stream.index, start_s=start_s, end_s=round(end_s - offset_s, 3), text=cleaned)
            cues[cue] = None
    named = f"subtitle stream {stream.index}" + (f" ({stream.language[:20]})" if stream.language else "")
    notes = []
    if decoded.charset:
        charset = decoded.charset.replace("cp125", "Windows-125")
        notes.append(
            f"{decoded.guessed} of {len(packets)} cues of {named} are not in UTF-8; they were read as {charset}, which "
            "is a guess."
        )
    if decoded.lost:
        notes.append(
            f"{decoded.lost} of {len(packets)} cues of {named} are damaged or in an unknown encoding; what could not "
            "be decoded was left out."
        )
    return sorted(cues, key=lambda cue: (cue.start_s, cue.end_s)), notes


def _text_bytes(packet: bytes, codec: str) -> bytes:
    """The text in a packet, without what the format puts around it."""
    if codec in ("ass", "ssa"):  # ReadOrder, Layer, Style, Name, three margins, Effect, Text
        return packet.split(b",", _ASS_FIELDS)[-1]
    if codec == "mov_text":  # its length, and style records behind it (3GPP TS 26.245)
        return packet[2 : 2 + int.from_bytes(packet[:2], "big")]
    return packet


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
