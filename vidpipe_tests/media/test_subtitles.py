"""Subtitle text is read from every text stream, clean, in video time, and never without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.media import subtitles
from vidpipe.media.facts import SubtitleCue
from vidpipe.media.probe import probe
from vidpipe_tests import clips

_CUES = [(0.5, 1.0, "<i>Hello</i> there"), (1.2, 1.8, "{\\an8}Who is it?\nIt is me.")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_cues_of_a_file(tmp_path: Path, suffix: str) -> None:
    info = probe(clips.subtitled(tmp_path / f"s{suffix}", _CUES, language="eng"))
    (stream,) = info.subtitles
    assert (stream.language, stream.text, stream.codec) == ("eng", True, "subrip" if suffix == ".mkv" else "mov_text")
    assert [(cue.start_s, cue.end_s, cue.text) for cue in info.cues] == [
        (pytest.approx(0.5, abs=0.002), pytest.approx(1.0, abs=0.002), "Hello there"),
        (pytest.approx(1.2, abs=0.002), pytest.approx(1.8, abs=0.002), "Who is it?\nIt is me."),
    ]
    assert {cue.stream for cue in info.cues} == {stream.index}
    assert not info.cues_truncated


def test_all_streams_of_a_file_are_read_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ass = tmp_path / "a.ass"
    ass.write_text(
        "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        "Style: Default,Arial,20\n\n"
        "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.20,0:00:01.00,Default,,0,0,0,,{\\pos(10,10)\\b1}Guten Tag\\Nalle\n"
        "Dialogue: 0,0:00:01.00,0:00:01.50,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}\n"
    )
    english = clips.subtitled(tmp_path / "e.mkv", _CUES)
    path = clips.ffmpeg(
        tmp_path / "two.mkv", "-i", str(english), "-i", str(ass), "-map", "0", "-map", "1",
        "-c", "copy", "-metadata:s:s:1", "language=deu",
    )  # fmt: skip
    runs: list[object] = []
    monkeypatch.setattr(subtitles, "run", lambda *a, real=subtitles.run, **k: (runs.append(a), real(*a, **k))[1])
    info = probe(path)
    assert len(runs) == 1
    assert [(stream.index, stream.language, stream.codec) for stream in info.subtitles] == [
        (1, "eng", "subrip"), (2, "deu", "ass"),
    ]  # fmt: skip
    assert [cue.text for cue in info.cues if cue.stream == 2] == ["Guten Tag\nalle"]
    assert len([cue for cue in info.cues if cue.stream == 1]) == 2


def test_times_count_from_the_first_video_frame(tmp_path: Path) -> None:
    """The video begins half a second into the file: a cue at 1.2 s of the file is at 0.7 s of the video."""
    source = clips.subtitled(tmp_path / "s.mkv", _CUES)
    path = clips.ffmpeg(
        tmp_path / "late.mkv", "-itsoffset", "0.5", "-i", str(source), "-i", str(source),
        "-map", "0:v", "-map", "1:s", "-c", "copy", "-avoid_negative_ts", "disabled",
    )  # fmt: skip
    cues = probe(path).cues
    assert [cue.start_s for cue in cues] == [pytest.approx(0.0, abs=0.01), pytest.approx(0.7, abs=0.01)]


def test_picture_subtitles_are_listed_without_text(tmp_path: Path) -> None:
    source = clips.ffmpeg(
        tmp_path / "d.mkv", "-i", str(clips.subtitled(tmp_path / "s.mkv", _CUES)), "-map", "0:v", "-c", "copy",
    )  # fmt: skip
    assert probe(source).subtitles == ()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ('<font color="#fff">Red</font> <b>and</b> {\\an8}blue', "Red and blue"),
        ("Tom &amp; Jerry &lt;3", "Tom & Jerry <3"),
        ("One\\NTwo\\hThree", "One\nTwo Three"),
        ("2 < 3 and 5 > 4", "2 < 3 and 5 > 4"),
        ("\u202eevil\u202c \x1b[31mred", "evil [31mred"),
        ("{\\p1}m 0 0 l 10 10{\\p0}", ""),
        ("<v Roger>Hello</v> <c.loud>you</c>", "Hello you"),
        ("  \n \n", ""),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert subtitles.clean_cue(raw) == clean


def test_text_is_capped_without_crowding_out_a_short_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtitles, "TEXT_LIMIT_BYTES", 1000)
    long = [SubtitleCue(stream=1, start_s=n, end_s=n + 1, text="x" * 100) for n in range(50)]
    short = [SubtitleCue(stream=2, start_s=n, end_s=n + 1, text="y" * 10) for n in range(10)]
    kept, truncated = subtitles._cap({1: long, 2: short})
    assert truncated
    assert sum(len(cue.text) for cue in kept) <= 1000
    assert [cue.stream for cue in kept] == [1] * 9 + [2] * 10
    assert subtitles._cap({2: short}) == (tuple(short), False)


@pytest.mark.parametrize("bait", ["{\\p1}<i ", "<i ", "{\\", "\n", "1", "00:00:01,000 --> 00:00:02,000\n", "m 0 0 l "])
@pytest.mark.timeout(20)
def test_a_text_made_to_be_slow_is_not(bait: str) -> None:
    subtitles.parse_srt("1\n00:00:01,000 --> 00:00:02,000\n" + bait * 200_000, 1)


def test_a_number_as_the_last_line_is_no_text_of_the_cue() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nIn\n1984\n\n2\n00:00:03,000 --> 00:00:04,000\n42\n\n"
    assert [cue.text for cue in subtitles.parse_srt(text, 1)] == ["In\n1984", "42"]
