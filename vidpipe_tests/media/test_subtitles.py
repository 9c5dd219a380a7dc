"""Subtitle text is read from every text stream, clean, in video time, and never without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.media import subtitles
from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.media.probe import probe
from vidpipe.media.subtitles import SubtitlePacket, cap_text, clean_cue, read_packets
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
    assert clean_cue(raw) == clean


def test_text_is_capped_without_crowding_out_a_short_stream() -> None:
    long = [SubtitleCue(stream=1, start_s=n, end_s=n + 1, text="x" * 100) for n in range(50)]
    short = [SubtitleCue(stream=2, start_s=n, end_s=n + 1, text="y" * 10) for n in range(10)]
    kept, truncated = cap_text({1: long, 2: short}, limit_bytes=1000)
    assert truncated
    assert sum(len(cue.text) for cue in kept) <= 1000
    assert [cue.stream for cue in kept] == [1] * 9 + [2] * 10
    assert cap_text({2: short}, limit_bytes=1000) == (tuple(short), False)


@pytest.mark.parametrize("codec", ["subrip", "ass", "webvtt"])
@pytest.mark.parametrize("bait", ["{\\p1}<i ", "<i ", "{\\", "{", "{}", "\n", "<!--", "m 0 0 l ", "&#9", "&#", "\\{"])
@pytest.mark.timeout(20)
def test_a_text_made_to_be_slow_is_not(bait: str, codec: str) -> None:
    clean_cue(bait * 200_000, codec)
    clean_cue("&#" + "9" * 100_000 + bait, codec)


@pytest.mark.parametrize(
    ("codec", "raw", "clean"),
    [
        ("ass", "{\\k20}Ka{\\k30}ra{\\k10}oke {a comment}night", "Karaoke night"),
        ("ass", "{\\an8\\p1}m 0 0 l 100 0 100 100{\\p0}sign{\\pos(1,2)}post", "signpost"),
        ("ass", "{a {nested} comment} end {without", "comment} end {without"),
        ("ass", "\\{shown\\}", "{shown}"),
        ("subrip", "{hello} {\\an8}world {y:i}there", "{hello} world there"),
        ("subrip", "seen <!-- hidden > --> too", "seen too"),
        ("webvtt", "<c.yellow>two</c> <00:01.500>words <b.x>&lt;3</b>", "two words <3"),
        ("mov_text", "{hello} a < b\rc", "{hello} a < b\nc"),
    ],
)
def test_what_players_hide_is_no_text(codec: str, raw: str, clean: str) -> None:
    assert clean_cue(raw, codec) == clean


def read(*cues: bytes, codec: str = "subrip", language: str | None = None) -> tuple[list[str], list[str]]:
    packets = [SubtitlePacket(float(number), number + 1.0, cue) for number, cue in enumerate(cues)]
    found, notes = read_packets(packets, SubtitleStream(index=2, codec=codec, language=language))
    return [cue.text for cue in found], notes


@pytest.mark.parametrize(
    ("language", "charset", "text"),
    [
        ("ger", "cp1252", "Grüße aus Köln"),
        (None, "cp1252", "Où êtes-vous allé hier, mon ami ?"),
        ("por", "cp1252", "A situação é difícil, não sei"),
        ("pol", "cp1250", "Zażółć gęślą jaźń"),
        ("pol", "iso8859_2", "Zażółć gęślą jaźń"),
        ("rus", "cp1251", "Привет, как дела?"),
        ("rus", "koi8_r", "Я не знаю, о чём ты говоришь."),
        (None, "cp1251", "Я не знаю, о чём ты говоришь."),
        ("gre", "cp1253", "Καλημέρα σας"),
        ("heb", "cp1255", "מה שלומך היום?"),
        ("jpn", "cp932", "日本語の字幕、ソース表示"),
        ("jpn", "euc_jp", "これは何ですか？わかりません。"),
        ("chi", "gb18030", "我不知道你在说什么。"),
        ("chi", "big5", "我不知道你在說什麼。"),
        ("kor", "cp949", "무슨 말인지 모르겠어요."),
        ("tha", "cp874", "ผมไม่เข้าใจ"),
    ],
)
def test_legacy_encodings_are_guessed_and_said_to_be(language: str | None, charset: str, text: str) -> None:
    texts, (note,) = read(text.encode(charset), "二 UTF-8 ü".encode(), language=language)
    assert texts == [text, "二 UTF-8 ü"]
    assert note.startswith("1 of 2 cues of subtitle stream 2")
    assert note.endswith(f"read as {charset.replace('cp125', 'Windows-125')}, which is a guess.")


def test_a_long_stream_and_a_damaged_cue_in_it_do_not_hide_its_encoding() -> None:
    text = "무슨 말인지 모르겠어요."
    texts, notes = read(*[text.encode("cp949")] * 999, b"\xff\xff\x81", language="kor")
    assert texts == [text] * 999
    assert [note[:12] for note in notes] == ["999 of 1000 ", "1 of 1000 cu"]


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_guess(charset: str) -> None:
    assert read("Grüße 日本".encode(charset)) == (["Grüße 日本"], [])


def test_utf_16_without_a_mark() -> None:
    assert read("Grüße".encode("utf-16-le"), "aus Köln".encode("utf-16-le"))[0] == ["Grüße", "aus Köln"]


def test_what_cannot_be_decoded_is_said_to_be_lost() -> None:
    texts, (note,) = read(b"\x81\xff\xff", b"good", language="jpn")
    assert texts == ["good"]
    assert note.startswith("1 of 2 cues of subtitle stream 2 (jpn) are damaged or in an unknown encoding")


def test_a_damaged_character_costs_that_character() -> None:
    texts, (note,) = read("日本語の字幕".encode()[:-1], language="jpn")
    assert texts == ["日本語の字"]
    assert "damaged" in note


def test_one_stream_in_a_legacy_encoding_does_not_harm_the_others(tmp_path: Path) -> None:
    cues = [(0.0, 0.5, "Grüße aus Köln")]
    whole = clips.ffmpeg(
        tmp_path / "two.mkv", "-i", str(clips.subtitled(tmp_path / "s.mkv", cues, language="ger")),
        "-map", "0", "-map", "0:s", "-c", "copy",
    )  # fmt: skip
    good = cues[0][2].encode()
    path = tmp_path / "one_bad.mkv"
    path.write_bytes(whole.read_bytes().replace(good, cues[0][2].encode("cp1252").ljust(len(good)), 1))
    info = probe(path)
    assert [cue.text for cue in info.cues] == ["Grüße aus Köln"] * 2
    assert len(info.notes) == 1


def test_mov_text_may_be_utf_16(tmp_path: Path) -> None:
    """3GPP TS 26.245, 5.17: with a byte order mark in front."""
    path = clips.subtitled(tmp_path / "s.mp4", [(0.0, 0.5, "1234567890")])
    path.write_bytes(path.read_bytes().replace(b"1234567890", "\ufeffKöln".encode("utf-16-be")))
    assert [cue.text for cue in probe(path).cues] == ["Köln"]


def test_what_a_styled_subtitle_repeats_is_one_cue() -> None:
    packets = [SubtitlePacket(0.0, 1.0, f"{n},{n},Default,,0,0,0,,{{\\bord{n}}}Hello".encode()) for n in range(3)]
    cues, _ = read_packets(packets, SubtitleStream(index=1, codec="ass"))
    assert [cue.text for cue in cues] == ["Hello"]


def test_a_cue_without_a_length_is_shown_until_the_next() -> None:
    packets = [SubtitlePacket(1.0, 1.0, b"a"), SubtitlePacket(3.0, 3.0, b"b")]
    cues, _ = read_packets(packets, SubtitleStream(index=1, codec="subrip"))
    assert [(cue.start_s, cue.end_s) for cue in cues] == [(1.0, 3.0), (3.0, 3.0)]
