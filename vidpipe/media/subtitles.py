"""Reads the text subtitles of a file: the packets of all streams in one run of ffmpeg, decoded, cleaned and capped.

ffmpeg's own decoders drop cues that are not UTF-8, so packets are read as they are in the file.
"""

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
from vidpipe.media.ffmpeg import WITHOUT_METADATA, graph_command, graph_input
from vidpipe.media.memory import current
from vidpipe.media.programs import run
from vidpipe.media.streams import MAX_TIME_S

# These run on hostile text: none may search beyond the next opening mark, or they would take quadratic time.
#: ASS hides everything in braces, both overrides and comments. `_without_blocks` ensures that each has an end.
_ASS_BLOCKS = re.compile(r"(?<!\\)\{([^}]*)\}")
#: In other formats, players hide {\an8}, {=1} and MicroDVD codes such as {y:i}, but show {hello}.
_OVERRIDES = re.compile(r"\{((?:[\\=]|[CcFfPpSsYy]:)[^{}]*)\}")
_DRAWING_MODE = re.compile(r"\\p(\d+)")
#: An ASS drawing without its override {\p1}, which a converter removed: m 0 0 l 100 0 100 100.
_DRAWING = re.compile(r"m(?: -?\d+(?:\.\d+)?){2}(?: (?:[mnlbspc]|-?\d+(?:\.\d+)?))+")
_TAGS = re.compile(r"</?(?:[bisuc]|font|ruby|rt|v|lang|span)(?:[\s.=][^<>]*)?>", re.I)
_WEBVTT_TAGS = re.compile(r"<[^<>]*>")
_BREAKS = re.compile(r"\\[Nn]|<br\s*/?>", re.I)
#: More digits than a code point has; Python refuses to parse thousands of them.
_INVALID_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_SPACES = re.compile(r"[ \t\u00a0\u200b\ufeff]+")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean_cue(text: str, codec: str = "subrip") -> str:
    """Remove markup from a cue, keeping its lines.

    Args:
        text: The decoded cue.
        codec: ffmpeg's name of the stream's codec.
    """
    is_ass = codec in ("ass", "ssa")
    text = "\n".join(text.splitlines())
    text = _without_blocks(text, _ASS_BLOCKS if is_ass else _OVERRIDES)
    if is_ass:
        text = text.replace("\\{", "{").replace("\\}", "}")
    text = _BREAKS.sub("\n", _without_comments(text))
    text = (_WEBVTT_TAGS if codec == "webvtt" else _TAGS).sub("", text)
    text = html.unescape(_INVALID_ENTITY.sub("", text).replace("\\h", " "))
    lines = (_SPACES.sub(" ", line).strip() for line in _CONTROLS.sub("", text).split("\n"))
    return "\n".join(line for line in lines if line and not _DRAWING.fullmatch(line))


def _without_blocks(text: str, blocks: re.Pattern[str]) -> str:
    r"""Remove the parts that match `blocks`, and the drawings after {\p1}."""
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
    """Remove <!-- comments -->, except for one without an end."""
    shown, position = [], 0
    while (start := text.find("<!--", position)) >= 0 and (end := text.find("-->", start)) >= 0:
        shown.append(text[position:start])
        position = end + 3
    return "".join(shown) + text[position:]


#: Text kept per file, all streams together.
_MAX_TEXT_BYTES = 256 * 1024
#: Bytes read per stream before ffmpeg stops, including markup.
_MAX_STREAM_BYTES = 4 * _MAX_TEXT_BYTES
_ASS_FIELDS = 8
_NO_TIME = -(1 << 63)

log = logging.getLogger(__name__)


class FileCues(NamedTuple):
    """The cues of a file.

    Attributes:
        cues: Cues of all text streams, in order of stream and time.
        truncated: Whether the cap left some out.
        notes: Sentences about guessed encodings and lost cues.
    """

    cues: tuple[SubtitleCue, ...] = ()
    truncated: bool = False
    notes: tuple[str, ...] = ()


class SubtitlePacket(NamedTuple):
    """A packet of a subtitle stream. `end_s` equals `start_s` if the file does not state a duration."""

    start_s: float
    end_s: float
    data: bytes


def read_cues(path: Path, streams: Sequence[SubtitleStream], offset_s: float = 0.0) -> FileCues:
    """Read the cues of all text streams.

    If they cannot be read, that is noted; the video is still usable.

    Args:
        path: The file.
        streams: Its subtitle streams.
        offset_s: Time of the first video frame in the file, in seconds; cues count from there.
    """
    texts = [stream for stream in streams if stream.text]
    if not texts:
        return FileCues()
    notes: list[str] = []
    parsed: dict[int, list[SubtitleCue]] = {}
    cut = False
    with tempfile.TemporaryDirectory(prefix="vidpipe-subtitles-") as folder:
        try:
            _extract(path, texts, Path(folder))
        except MediaError as error:
            log.warning("The subtitles of %s could not be read completely: %s", path.name, error)
            notes.append("The subtitles could not be read to their end.")
        for stream in texts:
            index, data = map(_read_capped, _output_files(Path(folder), stream))
            packets = list(_packets(index, data))
            cut = cut or max(len(index), len(data)) >= _MAX_STREAM_BYTES
            parsed[stream.index], stream_notes = read_packets(packets, stream, offset_s)
            notes += stream_notes
    cues, capped = cap_text(parsed)
    return FileCues(cues, cut or capped, tuple(notes))


def _output_files(folder: Path, stream: SubtitleStream) -> tuple[Path, Path]:
    """Return the files of the times and of the bytes of a stream's packets."""
    return folder / f"{stream.index}.times", folder / f"{stream.index}.data"


def _read_capped(file: Path) -> bytes:
    """Return the beginning of a file; empty if there is no file."""
    if not file.is_file():
        return b""
    with file.open("rb") as opened:
        return opened.read(_MAX_STREAM_BYTES)


def _extract(path: Path, streams: Sequence[SubtitleStream], folder: Path) -> None:
    source = graph_input(path)
    options = {"c": "copy", "fs": _MAX_STREAM_BYTES, "copyts": None, **WITHOUT_METADATA}
    outputs = [
        source[str(stream.index)].output(f"file:{file}", format=muxer, **options)
        for stream in streams
        for file, muxer in zip(_output_files(folder, stream), ("framecrc", "data"), strict=True)
    ]
    done = run(graph_command(outputs), timeout_s=current().time.whole_file_s(path), task="reading the subtitles")
    if done.returncode != 0:
        messages = done.stderr.strip().splitlines() or ["unknown reason"]
        raise MediaError(f"ffmpeg failed: {messages[-1][:200]}")


def _packets(index: bytes, data: bytes) -> Iterator[SubtitlePacket]:
    """Yield the complete packets.

    Args:
        index: Output of framecrc: a line for each packet (stream, dts, pts, duration, size, checksum).
        data: The bytes of all packets.
    """
    time_base, position = Fraction(1, 1000), 0
    for line in index.splitlines():
        if line.startswith(b"#tb 0:"):
            time_base = Fraction(line[6:].strip().decode())
        fields = line.split(b",")
        if line.startswith(b"#") or len(fields) < 5:
            continue
        try:
            pts, duration, size = (int(field) for field in fields[2:5])
        except ValueError:  # a packet without a timestamp
            pts, duration, size = _NO_TIME, 0, int(fields[4])
        body = data[position : position + size]
        position += size
        if len(body) < size:
            return
        start_s, end_s = float(pts * time_base), float((pts + max(0, duration)) * time_base)
        if pts != _NO_TIME and abs(start_s) < MAX_TIME_S:
            yield SubtitlePacket(start_s, min(end_s, MAX_TIME_S), body)


def read_packets(
    packets: Sequence[SubtitlePacket], stream: SubtitleStream, offset_s: float = 0.0
) -> tuple[list[SubtitleCue], list[str]]:
    """Decode the cues of a stream.

    Args:
        packets: Its packets, in order of time.
        stream: The stream.
        offset_s: Time of the first video frame in the file, in seconds.

    Returns:
        The cleaned cues, without empty ones and those that end before `offset_s`; and notes.
    """
    decoded = decode_cues([_text_bytes(packet.data, stream.codec) for packet in packets], stream.language)
    cues: dict[SubtitleCue, None] = {}  # styled subtitles repeat cues for outlines or shadows
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
    """Return the text in a packet, without the fields around it."""
    if codec in ("ass", "ssa"):  # ReadOrder, Layer, Style, Name, three margins, Effect, Text
        return packet.split(b",", _ASS_FIELDS)[-1]
    if codec == "mov_text":  # length, text, style records (3GPP TS 26.245)
        return packet[2 : 2 + int.from_bytes(packet[:2], "big")]
    return packet


def cap_text(
    parsed: dict[int, list[SubtitleCue]], limit_bytes: int = _MAX_TEXT_BYTES
) -> tuple[tuple[SubtitleCue, ...], bool]:
    """Limit the text of all streams so that a long stream does not crowd out a short one.

    Args:
        parsed: Cues by stream index.
        limit_bytes: Maximum total size of the text.

    Returns:
        The remaining cues, and whether some were left out.
    """
    remaining, truncated = limit_bytes, False
    kept: dict[int, list[SubtitleCue]] = {}
    by_size = sorted(parsed, key=lambda index: sum(len(cue.text.encode()) for cue in parsed[index]))
    for position, index in enumerate(by_size):
        share = remaining // (len(by_size) - position)
        taken: list[SubtitleCue] = []
        for cue in parsed[index]:
            size = len(cue.text.encode())
            if size > share:
                truncated = True
                break
            share -= size
            remaining -= size
            taken.append(cue)
        kept[index] = taken
    return tuple(cue for index in sorted(kept) for cue in kept[index]), truncated
