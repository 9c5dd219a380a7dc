"""What is written on screen is read, joined over lines and frames, told apart from small print, and never invented."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from vidpipe.errors import UnavailableError
from vidpipe.media.facts import Scene, SceneStats
from vidpipe.media.frame_pack import FramePackWriter
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import EnabledAnalyses
from vidpipe.stages.analyses.packed_frames import READS
from vidpipe.stages.analyses.results import ScreenTextResult, TextEntry
from vidpipe.stages.analyses.screen_entries import entries, language_of, languages
from vidpipe.stages.analyses.screen_lines import TextBlock, blocks
from vidpipe.stages.analyses.screen_text import ANALYSIS, build_model
from vidpipe.stages.contract import Item, Outcome, StageContext
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.scene_items import scenes_of

_SIZE = (504, 280)
_MODEL = "ocr-ppocr-v6-small"


def reading(text: str, *box: float, sure: float = 0.99) -> dict[str, Any]:
    return {"text": text, "box": list(box), "confidence": sure}


def texts(*readings: dict[str, Any]) -> list[str]:
    return [block.text for block in blocks(readings, 16 / 9, 0.6)]


def caption(text: str, sure: float = 0.99) -> TextBlock:
    return TextBlock(text, (0.3, 0.85, 0.4, 0.09), sure, 0.09)


def shown(*frames: Sequence[TextBlock]) -> list[TextEntry]:
    """The entries of frames one second apart."""
    return list(entries([(float(second), float(len(frames)), frame) for second, frame in enumerate(frames)]))


def test_lines_of_a_caption_are_one_text_in_reading_order() -> None:
    second, first = (
        reading("and left the city.", 0.35, 0.88, 0.3, 0.07),
        reading("She took the train", 0.33, 0.8, 0.34, 0.07),
    )
    logo = reading("NEWS", 0.02, 0.04, 0.1, 0.08)
    assert texts(second, logo, first) == ["NEWS", "She took the train and left the city."]
    parts = reading("本数据集为", 0.1, 0.5, 0.2, 0.07), reading("研究项目专用", 0.31, 0.505, 0.25, 0.07)
    assert texts(*parts) == ["本数据集为研究项目专用"]
    assert texts(reading("left", 0.1, 0.5, 0.1, 0.07), reading("right", 0.7, 0.5, 0.1, 0.07)) == ["left", "right"]


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("A", 0.99),
        ("7", 0.99),
        ("!?", 0.99),
        ("Hello", 0.5),
        ("000000 000000", 0.95),
        ("αλημρα κσε, τι", 0.88),
        ("PECTOPAH  MOP", 0.952),
    ],
)
def test_noise_and_remains_of_unread_scripts_are_no_text(text: str, sure: float) -> None:
    assert texts(reading(text, 0.3, 0.8, 0.3, 0.08, sure=sure)) == []


def test_a_single_character_counts_beside_its_neighbors() -> None:
    assert texts(reading("嗯", 0.48, 0.78, 0.04, 0.07), reading("如果您不介意", 0.3, 0.86, 0.4, 0.08)) == [
        "嗯 如果您不介意"
    ]


def test_recognized_text_is_cleaned_and_bounded() -> None:
    assert texts(reading("ab\x1b[31m\u202ecd\u200b ＡＢＣ１ ﬁne，好！", 0.1, 0.5, 0.8, 0.08)) == [
        "ab[31mcd ABC1 fine，好！"
    ]
    assert len(texts(reading("x" * 5000, 0.1, 0.5, 0.8, 0.08))[0]) == 200
    many = [reading(f"line {number}", 0.1, number / 900, 0.2, 0.001) for number in range(0, 900, 2)]
    assert len(texts(*many)) <= 200


def test_the_same_text_in_consecutive_frames_is_one_entry_with_its_best_reading() -> None:
    found = shown([caption("We must go nom", 0.7)], [caption("We must go now", 0.98)], [caption("We must go now")], [])
    assert [(entry.text, entry.start_s, entry.end_s, entry.confidence) for entry in found] == [
        ("We must go now", 0, 3, 0.99)
    ]


def test_a_text_that_is_partly_hidden_for_a_while_is_one_entry() -> None:
    (entry,) = shown([caption("喜羊羊与灰太狼")], [caption("与灰太狼")], [caption("与灰太狼")])
    assert (entry.text, entry.end_s) == ("喜羊羊与灰太狼", 3)


def test_texts_that_differ_are_entries_of_their_own() -> None:
    assert [entry.text for entry in shown([caption("Frame 4")], [caption("Frame 5")])] == ["Frame 4", "Frame 5"]
    changing = shown([caption("Yes, I do.")], [caption("No, you don't.")], [caption("Yes, I do.")])
    assert [(entry.text, entry.start_s, entry.end_s) for entry in changing] == [
        ("Yes, I do.", 0, 1), ("No, you don't.", 1, 2), ("Yes, I do.", 2, 3),
    ]  # fmt: skip


def test_a_text_missed_in_one_frame_stays_one_entry_and_in_two_does_not() -> None:
    assert [(e.start_s, e.end_s) for e in shown([caption("Chapter one")], [], [caption("Chapter one")])] == [(0, 3)]
    apart = shown([caption("Chapter one")], [], [], [caption("Chapter one")])
    assert [(entry.start_s, entry.end_s) for entry in apart] == [(0, 1), (3, 4)]


def test_fragments_of_small_print_are_no_entries_but_extend_it() -> None:
    def small(text: str, left: float, width: float) -> TextBlock:
        return TextBlock(text, (left, 0.5, width, 0.06), 0.99, 0.06)

    whole, end = small("Youku-AliceMind研究项目专用", 0.1, 0.8), small("专用", 0.7, 0.2)
    assert [(e.text, e.end_s) for e in shown([whole], [end], [], [], [end])] == [(whole.text, 2), (end.text, 5)]
    sign = small("OPEN", 0.2, 0.2)
    assert [e.text for e in shown([whole], [sign])] == [whole.text, "OPEN"]
    assert [e.text for e in shown([small("take 15 of 3", 0.1, 0.8)], [small("take 5", 0.1, 0.4)])] == [
        "take 15 of 3", "take 5",
    ]  # fmt: skip


def test_uncertain_texts_must_last() -> None:
    assert shown([caption("OPPLE shop", 0.7)], []) == []
    assert shown([caption("OPPLE shop", 0.7)], [caption("OPPLE shop", 0.7)], []) == []
    assert len(shown(*[[caption("OPPLE shop", 0.7)]] * 3)) == 1
    assert shown(*[[caption("1ea0", 0.7)]] * 3) == []


@pytest.mark.parametrize(
    ("box", "size", "seconds", "kind"),
    [
        ((0.3, 0.85, 0.4, 0.09), 0.09, 2, "caption"), ((0.3, 0.02, 0.4, 0.09), 0.09, 2, "caption"),
        ((0.1, 0.4, 0.8, 0.2), 0.2, 2, "title"), ((0.0, 0.02, 1.0, 0.09), 0.12, 30, "title"),
        ((0.02, 0.04, 0.1, 0.06), 0.06, 2, "small"), ((0.3, 0.93, 0.4, 0.05), 0.05, 30, "small"),
        ((0.3, 0.97, 0.4, 0.02), 0.02, 2, "small"),
    ],
)  # fmt: skip
def test_kinds(box: tuple[float, float, float, float], size: float, seconds: int, kind: str) -> None:
    (entry,) = shown(*[[TextBlock("Harbour", box, 0.99, size)]] * seconds)
    assert entry.kind == kind


def test_a_ticker_makes_no_endless_list() -> None:
    words = [f"{chr(97 + number % 26) * 9}{number}" for number in range(2000)]
    found = shown(*[[TextBlock(word, (0.1, 0.9, 0.9, 0.05), 0.99, 0.05), caption("Good evening")] for word in words])
    assert len(found) == 500
    assert found == sorted(found, key=lambda entry: entry.start_s)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天的天气非常好", "zh"), ("今日は良い天気", "ja"), ("안녕하세요 여러분", "ko"),
        ("The quick brown fox jumps over the lazy dog", "en"), ("Wir haben heute sehr schönes Wetter hier", "de"),
        ("OK", ""), ("YOUKU 2026", ""), ("", ""),
    ],
)  # fmt: skip
def test_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_the_language_of_most_text_comes_first() -> None:
    found = shown([caption("今天的天气非常好")], [caption("The weather is very fine here today")])
    assert languages(found) == ("en", "zh")


@pytest.fixture(scope="module")
def model(models_directory: PackagedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerModel]:
    home = tmp_path_factory.mktemp("home")
    models_directory.into(home, _MODEL)
    worker = build_model(Settings(home=home))
    yield worker
    worker.close()


def still(*lines: tuple[str, int, tuple[int, int]]) -> bytes:
    """A JPEG with texts in PIL's own font: (text, height of the font, middle), in pixels."""
    picture = Image.new("RGB", _SIZE, (40, 60, 90))
    for text, height, place in lines:
        font = ImageFont.load_default(height)
        ImageDraw.Draw(picture).text(
            place, text, font=font, fill="white", anchor="mm", stroke_width=1, stroke_fill="black"
        )
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def examined(home: Path, model: WorkerModel, jpegs: Sequence[bytes]) -> Outcome:
    """The stage's outcome for frames one second apart, the second half of them in a scene of its own."""
    settings, border, end = Settings(home=home), len(jpegs) / 2, float(len(jpegs))
    with FramePackWriter(settings, "a" * 64) as writer:
        for second, jpeg in enumerate(jpegs):
            writer.add_frame(time_s=float(second), scene=int(second >= border), size=_SIZE, jpeg=jpeg)
        pack = writer.publish()
    stats = SceneStats(brightness=0, contrast=0, saturation=0, motion=0)
    spans = enumerate([(0.0, border), (border, end)])
    scenes = [Scene(index=n, start_s=a, end_s=b, start_frame=0, end_frame=1, stats=stats) for n, (a, b) in spans]
    values = (pack, scenes, "frames", end)
    return outcome_of(Item("a" * 64, dict(zip(READS, values, strict=True))), settings, model)


def outcome_of(item: Item, settings: Settings, model: WorkerModel) -> Outcome:
    (outcome,) = ANALYSIS.stage.function([item], StageContext(settings, {"screen_text_model": model}))
    return outcome


def read(outcome: Outcome) -> ScreenTextResult:
    assert outcome.error is None, outcome.error
    assert isinstance(outcome.result, ScreenTextResult)
    return outcome.result


def test_captions_titles_and_logos_are_read_with_their_times(home: Path, model: WorkerModel) -> None:
    logo = ("Harbour TV", 15, (60, 20))
    title = still(logo, ("The Long Way", 48, (252, 140)))
    spoken = still(logo, ("Where does this train go?", 20, (252, 230)), ("I have no idea.", 20, (252, 256)))
    result = read(examined(home, model, [title, title, spoken, spoken, spoken, still(logo)]))
    # the recognizer loses a space now and then
    assert [(entry.kind, entry.text.replace(" ", ""), entry.start_s, entry.end_s) for entry in result.entries] == [
        ("small", "HarbourTV", 0, 6),
        ("title", "TheLongWay", 0, 2),
        ("caption", "Wheredoesthistraingo?Ihavenoidea.", 2, 5),
    ]
    assert result.languages == ("en",)
    assert [use.name for use in result.models] == [_MODEL]
    values = {"screen_text.entries": result.entries, "screen_text.languages": result.languages}
    found = {one.spec.name: one.value(values[one.reads]) for one in ANALYSIS.rule_fields}
    assert found == {"screen_language": ("en",), "has_caption": True, "has_title": True}
    stored = result.model_dump()
    assert ANALYSIS.columns["screen_text"](stored).splitlines() == [entry.text for entry in result.entries]
    (evidence,) = EnabledAnalyses((ANALYSIS,)).found({"screen_text.entries": result.entries})
    assert [moment.start_s for moment in evidence.moments] == [0, 2]  # no small print


def test_nothing_is_read_where_nothing_is_written(home: Path, model: WorkerModel) -> None:
    noise = io.BytesIO()
    Image.effect_noise(_SIZE, 90).convert("RGB").save(noise, "JPEG", quality=85)
    bars = Image.new("RGB", _SIZE)
    for number in range(0, _SIZE[0], 24):
        ImageDraw.Draw(bars).rectangle((number, 0, number + 11, 280), fill=(200, number % 256, 90))
    striped = io.BytesIO()
    bars.save(striped, "JPEG", quality=85)
    assert read(examined(home, model, [still(), noise.getvalue(), striped.getvalue()])).entries == ()


def test_an_unreadable_frame_fails_its_video(home: Path, model: WorkerModel) -> None:
    outcome = examined(home, model, [b"no picture", b"no picture"])
    assert outcome.error is not None
    assert "not a readable JPEG" in outcome.error.message
    assert read(examined(home, model, [still(("Still here today", 24, (252, 140)))])).entries != ()


def test_a_missing_model_is_unavailable_with_the_command_that_installs_it(home: Path) -> None:
    with pytest.raises(UnavailableError) as raised:
        build_model(Settings(home=home))
    assert f"vidpipe models install {_MODEL}" in raised.value.hint


@pytest.fixture
def clip(clips_directory: Path, home: Path, model: WorkerModel) -> Callable[[str], ScreenTextResult]:
    def of_clip(name: str) -> ScreenTextResult:
        found = scenes_of(clips_directory / name, home)
        item = Item("a" * 64, {field: getattr(found, field.removeprefix("scenes.")) for field in READS})
        return read(outcome_of(item, Settings(home=home), model))

    return of_clip


@pytest.mark.soak
def test_parts_of_a_watermark_are_one_text(clip: Callable[[str], ScreenTextResult]) -> None:
    (watermark,) = [entry for entry in clip("dj2.mp4").entries if entry.kind == "small"]
    assert watermark.text.endswith("研究项目专用 仅用于学术研究")
    assert watermark.end_s == pytest.approx(5.8, abs=0.1)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "captions", "language"),
    [
        ("dj1.mp4", ["我一下就把你们逮住了", "沸羊羊大人英明神武", "把他们押往大牢"], "zh"),
        ("dj3.mp4", ["功能性遮挡设备便于安装管道", "我家里不想吊顶", "第一：利用灯具的一个优化"], "zh"),
    ],
)  # fmt: skip
def test_captions_of_real_clips_are_read(
    clip: Callable[[str], ScreenTextResult], name: str, captions: list[str], language: str
) -> None:
    result = clip(name)
    found = [entry.text for entry in result.entries if entry.kind == "caption"]
    assert [text for text in found if text in captions] == captions
    assert result.languages == (language,)


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["bikes.mp4", "bigbuckbunny.mp4", "nasa.mp4", "pancake.mkv", "corrupted.mp4", "av1.mkv"]
)
def test_nothing_is_invented_on_real_clips_without_text(clip: Callable[[str], ScreenTextResult], name: str) -> None:
    assert clip(name).entries == ()
