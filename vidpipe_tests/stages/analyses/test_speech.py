"""The speech stage: shared and own decode give the same; subtitles, files without or with broken sound, long files."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.media.probe import probe
from vidpipe.media.sound import SoundFile, kept_sound, sound_folder
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.settings.analyses import Analyses, Speech
from vidpipe.stages import scenes
from vidpipe.stages.analyses import results, speech
from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext
from vidpipe_tests import clips
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.models.spoken import spoken

SENTENCE = "We went to the market to buy some bread and milk."


def item_of(path: Path, stage: Stage, **changed: object) -> Item:
    info = probe(path)
    fields: dict[str, Any] = {f"metadata.{name}": getattr(info, name) for name in type(info).model_fields}
    fields |= {"raw_video.path": str(path), "raw_video.content": hashlib.sha256(path.read_bytes()).hexdigest()}
    fields |= {f"metadata.{name}": value for name, value in changed.items()}
    return Item(fields["raw_video.content"], {name: fields[name] for name in stage.reads})


def settings_of(home: Path, **options: Any) -> Settings:
    return Settings(
        home=home,
        analyses=Analyses(enabled=("speech",)),
        speech=Speech(**{"model": "whisper-tiny-en", "language": "en", "min_confidence": 0.3, **options}),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, models_directory: PackagedModels) -> Iterator[WorkerModel]:
    home = tmp_path_factory.mktemp("home")
    models_directory.into(home, "whisper-tiny-en", "vad-fireredvad")
    made = speech.build_speech_model(settings_of(home))
    yield made
    made.close()


def outcome_of(item: Item, settings: Settings, model: WorkerModel | None = None, **context: Any) -> Outcome:
    resources = {"speech_model": model} if model else {}
    (outcome,) = speech.STAGE.function([item], StageContext(settings=settings, resources=resources, **context))
    return outcome


def result_of(item: Item, settings: Settings, model: WorkerModel | None = None, **context: Any) -> results.SpeechResult:
    outcome = outcome_of(item, settings, model, **context)
    assert isinstance(outcome.result, results.SpeechResult), outcome.error
    return outcome.result


def talk(path: Path, *sentences: str, delay_s: float = 0.0) -> Path:
    """A clip of three colors in which someone speaks, from `delay_s` after the first frame on."""
    raw = path.with_suffix(".s16")
    raw.write_bytes(b"".join(map(spoken, sentences or [SENTENCE])))
    picture = clips.color_cuts(path.with_name("picture.mp4"))
    sound = ["-itsoffset", str(delay_s), "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", str(raw)]
    copied = ["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(picture), *sound, *copied], check=True, timeout=60)
    return path


@pytest.mark.parametrize("delay_s", [0.7, pytest.param(-0.4, marks=pytest.mark.soak)])
def test_the_scenes_pass_keeps_the_samples_that_decoding_the_sound_alone_gives(
    tmp_path: Path, home: Path, model: WorkerModel, with_models: Any, delay_s: float
) -> None:
    with_models("whisper-tiny-en", "vad-fireredvad")
    path, settings = talk(tmp_path / "talk.mkv", delay_s=delay_s), settings_of(home)
    item = item_of(path, speech.STAGE)
    (outcome,) = scenes.STAGE.function([item_of(path, scenes.STAGE)], StageContext(settings=settings))
    assert outcome.error is None
    kept = kept_sound(settings, item.sha256, 1)
    assert kept is not None
    samples = kept.read(0, kept.samples)
    shared = result_of(item, settings, model)
    assert not sound_folder(settings, item.sha256).exists()
    (outcome,) = scenes.STAGE.function([item_of(path, scenes.STAGE)], StageContext(settings=settings))
    assert outcome.error is None
    assert not sound_folder(settings, item.sha256).exists(), "another pass keeps no sound that has been heard"

    from vidpipe.stages.video_decode import decode_sound

    alone = decode_sound(item, StageContext(settings=settings))
    assert alone.read(0, alone.samples) == samples
    (segment,) = shared.segments
    assert "market" in segment.text
    assert 0.2 <= segment.start_s - delay_s <= 1.2  # half a second of silence comes first
    assert [use.name for use in shared.models] == ["whisper-tiny-en", "vad-fireredvad"]
    assert (shared.source, shared.languages) == ("recognition", ("en",))


def test_the_sound_is_not_kept_unless_the_analysis_is_enabled_and_installed(tmp_path: Path, home: Path) -> None:
    path = clips.color_cuts(tmp_path / "clip.mp4", audio="sine")
    item = item_of(path, scenes.STAGE)
    for settings in (settings_of(home), Settings(home=home)):
        (outcome,) = scenes.STAGE.function([item], StageContext(settings=settings))
        assert outcome.error is None
        assert not sound_folder(settings, item.sha256).exists()


def test_gaps_are_silence_and_hidden_sound_is_dropped(tmp_path: Path) -> None:
    one = b"\x01\x00" * 1600
    with SoundFile(tmp_path / "sound") as file:
        for time_us in (-50_000, 50_000, 151_000, 1_000_000, 1_050_000, 10**12):
            file.add(time_us, one)
    written = (tmp_path / "sound").read_bytes()
    assert written == one[:1600] + one + one + bytes(2 * (16_000 - 4_000)) + one + one


def test_a_video_without_sound_asks_no_model(tmp_path: Path, home: Path) -> None:
    found = result_of(item_of(clips.color_cuts(tmp_path / "silent.mp4"), speech.STAGE), settings_of(home))
    assert found == results.SpeechResult(source="nothing")


def test_subtitles_in_the_wanted_language_are_used_instead(tmp_path: Path, home: Path) -> None:
    streams = (SubtitleStream(index=2, codec="subrip", language="ger", text=True),
               SubtitleStream(index=3, codec="subrip", language="eng", text=True))  # fmt: skip
    cues = (SubtitleCue(stream=2, start_s=0, end_s=1, text="Guten Tag"),
            SubtitleCue(stream=3, start_s=0, end_s=1, text="Good\x1b day"))  # fmt: skip
    item = item_of(clips.color_cuts(tmp_path / "clip.mp4", audio="sine"), speech.STAGE, subtitles=streams, cues=cues)
    found = result_of(item, settings_of(home, use_subtitles=True))
    assert [(segment.text, segment.language, segment.confidence) for segment in found.segments] == [
        ("Good day", "en", None)
    ]
    assert (found.source, found.languages, found.models) == ("subtitles", ("en",), ())


def test_sound_that_cannot_be_decoded_is_named(tmp_path: Path, home: Path, model: WorkerModel) -> None:
    path = clips.color_cuts(tmp_path / "clip.mkv", audio="sine")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_AC3"))
    outcome = outcome_of(item_of(path, speech.STAGE), settings_of(home), model)
    assert outcome.error is not None
    assert "decoded no sound of audio stream 1" in outcome.error.message
    assert not list(home.rglob(".partial-*"))


@pytest.mark.soak
def test_long_sound_is_heard_in_windows(
    tmp_path: Path, home: Path, model: WorkerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "_WINDOW", 5 * 16_000)
    sentences = ("Tomorrow we will travel to the sea.", SENTENCE, "This machine makes bread every morning.")
    item, progress = item_of(talk(tmp_path / "long.mkv", *sentences), speech.STAGE), []
    found = result_of(item, settings_of(home), model, progress=lambda _, share: progress.append(share))
    said = " ".join(segment.text for segment in found.segments).lower()
    assert all(word in said for word in ("travel", "sea", "market", "milk", "machine", "morning"))
    assert [segment.start_s for segment in found.segments] == sorted(segment.start_s for segment in found.segments)
    assert progress == sorted(progress)
    assert len(progress) > 2
    context = StageContext(settings=settings_of(home), resources={"speech_model": model})
    context.progress = lambda *_: context.cancelled.set()
    with pytest.raises(Cancelled):
        list(speech.STAGE.function([item], context))


@pytest.mark.soak
def test_a_crash_of_the_model_fails_one_video(tmp_path: Path, home: Path, model: WorkerModel) -> None:
    item, settings = item_of(talk(tmp_path / "talk.mkv"), speech.STAGE), settings_of(home)
    assert result_of(item, settings, model).segments
    (process,) = [
        child for child in psutil.Process().children() if "vidpipe.models.speech:SpeechRecognizer" in child.cmdline()
    ]
    process.kill()
    outcome = outcome_of(item, settings, model)
    assert outcome.error is not None
    assert "The process of the model whisper-tiny-en ended (signal SIGKILL)" in outcome.error.message
    assert result_of(item, settings, model).segments


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "words"),
    [("nasa.mp4", ("space telescope", "clean rooms", "greenbelt, maryland")), ("dj2.mp4", ()), ("bikes.mp4", ()),
     ("bigbuckbunny.mp4", ()), ("corrupted.mp4", ()), ("pancake.mkv", ())],
)  # fmt: skip
def test_real_clips(
    clips_directory: Path, home: Path, models_directory: PackagedModels, name: str, words: tuple[str, ...]
) -> None:
    models_directory.into(home, "whisper-base", "vad-fireredvad")
    settings = settings_of(home, model="whisper-base", language="", min_confidence=Speech().min_confidence)
    model = speech.build_speech_model(settings)
    try:
        found = result_of(item_of(clips_directory / name, speech.STAGE), settings, model)
    finally:
        model.close()
    said = " ".join(segment.text for segment in found.segments).lower()
    assert all(word in said for word in words)
    assert bool(said) == bool(words)
