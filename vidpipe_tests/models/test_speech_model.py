"""Speech recognition: speech is transcribed at its time; music, noise, silence and other languages are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.models.spoken import RATE_HZ, chords, noise, silence, spoken

#: The model is as sure of it (0.94 to 0.95) if noise of two units is added to each sample: what two processors make of
#: the same sound differs by as much.
SENTENCE = "We went to the market to buy some bread and milk."


@pytest.fixture(scope="module")
def recognizer(models_directory: PackagedModels) -> Any:
    return _loaded(models_directory, "en")


@pytest.fixture(scope="module")
def unsure_recognizer(models_directory: PackagedModels) -> Any:
    return _loaded(models_directory, "")


def _loaded(models_directory: PackagedModels, language: str) -> Any:
    from vidpipe.models.speech import SpeechRecognizer

    models = models_directory("whisper-tiny-en", "vad-fireredvad")
    folders = {name: str(models / name) for name in ("whisper-tiny-en", "vad-fireredvad")}
    return SpeechRecognizer(folders=folders, cards={}, threads=1, whisper="whisper-tiny-en", activity="vad-fireredvad",
                device="cpu", language=language, beam_size=1)  # fmt: skip


def _heard(recognizer: Any, samples: bytes, *, last: bool = True, declared: str = "") -> dict[str, Any]:
    return recognizer({"samples": samples, "last": last, "declared": declared})


def test_speech_between_silence_and_music_is_transcribed_where_it_is(recognizer: Any) -> None:
    before = silence(1) + chords(4)
    found = _heard(recognizer, before + spoken(SENTENCE) + chords(3))
    (segment,) = found["segments"]
    assert {"market", "bread", "milk"} <= set(segment.text.lower().strip(".").split())
    loud = np.flatnonzero(np.abs(np.frombuffer(spoken(SENTENCE), np.int16).astype(int)) > 300)
    start_s, end_s = len(before) / 2 / RATE_HZ + loud[[0, -1]] / RATE_HZ
    assert segment.start_s == pytest.approx(start_s, abs=0.5)
    assert segment.end_s == pytest.approx(end_s, abs=0.5)
    assert 0.5 < segment.confidence <= 1
    assert segment.language == "en"


@pytest.mark.parametrize(
    "sound", [silence(5), chords(5), noise(5), silence(0.01)], ids=["silence", "music", "noise", "click"]
)
def test_nothing_is_invented_where_nobody_speaks(recognizer: Any, sound: bytes) -> None:
    found = _heard(recognizer, sound)
    assert found["segments"] == []
    assert found["speech"] == 0


def test_music_is_measured(recognizer: Any) -> None:
    assert _heard(recognizer, chords(5))["music"] > 3


@pytest.mark.soak
def test_an_english_model_does_not_make_english_out_of_another_language(unsure_recognizer: Any) -> None:
    found = _heard(unsure_recognizer, spoken("Los niños juegan en el jardín.", "es"))
    assert found["speech"] > 1
    assert all(segment.confidence < 0.5 for segment in found["segments"])


@pytest.mark.soak
def test_an_english_model_is_not_asked_about_a_stream_declared_as_another_language(unsure_recognizer: Any) -> None:
    found = _heard(unsure_recognizer, spoken(SENTENCE), declared="deu")
    assert found["segments"] == []
    assert found["speech"] > 1


@pytest.mark.soak
def test_a_language_that_the_model_does_not_understand_is_refused(models_directory: PackagedModels) -> None:
    with pytest.raises(ValueError, match="does not understand the language de"):
        _loaded(models_directory, "de")


@pytest.mark.soak
def test_a_window_ends_in_the_last_silence(recognizer: Any) -> None:
    sentence = spoken(SENTENCE)
    cut = sentence + sentence[: len(sentence) // 4 * 2]  # in the middle of the second sentence
    found = _heard(recognizer, cut, last=False)
    assert len(found["segments"]) == 1
    assert len(sentence) // 2 - RATE_HZ < found["taken"] < len(sentence) // 2 + RATE_HZ


@pytest.mark.soak
def test_what_silence_would_make_as_likely_is_not_reported(recognizer: Any) -> None:
    found = _heard(recognizer, spoken("Thank you."))
    assert found["speech"] > 0
    assert found["segments"] == []
    (segment,) = _heard(recognizer, spoken("Please close the door."))["segments"]
    assert "close the door" in segment.text.lower()


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("Thank you. Thank you.", True), ("we we we we go", True), ("我家里只削掉牛肝 牛肝 牛肝 牛肝", True),
        ("重视线线线线线", True), ("No, no, no!", False), ("it is what it is", False), ("bye bye my love", False),
        ("the cat, the dog and the cat", False),
    ],
)  # fmt: skip
def test_words_that_repeat_themselves_are_a_loop(text: str, loop: bool) -> None:
    from vidpipe.models.speech import repeats_itself

    assert repeats_itself(text) is loop
