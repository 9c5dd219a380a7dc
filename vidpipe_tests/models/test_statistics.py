"""The statistics describer: readable, deterministic, and silent about what was not measured."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from vidpipe.media.facts import ColorShare, SceneStats
from vidpipe.models.describing_model import MeasuredFacts, ModelRequest
from vidpipe.models.prompts import Prompt
from vidpipe.models.statistics import StatisticsModel, describe_scene, describe_video
from vidpipe.text.messages import duration_in_words

_COLORS = {"dark blue": 0.4, "black": 0.35, "red": 0.02}
_NIGHT = SceneStats(
    brightness=0.1, contrast=0.2, saturation=0.3, motion=0.003, loudness_db=-35.0, silence_share=0.0,
    dark_share=0.8, colored_share=1.0, colorful_share=0.0, moving_share=0.0,
    colors=tuple(ColorShare(name=name, share=share) for name, share in _COLORS.items()),
)  # fmt: skip
_DAY = _NIGHT.model_copy(update={"brightness": 0.7, "motion": 0.03, "colorful_share": 0.9})


def facts(**changed: object) -> MeasuredFacts:
    base = MeasuredFacts(
        9.7, 3, 12.4, _NIGHT, "portrait", "HD", True, (), None, ((0.0, _NIGHT), (3.0, _DAY), (5.0, _NIGHT))
    )
    return dataclasses.replace(base, **changed)  # type: ignore[arg-type]


def test_a_video_is_told_in_sentences() -> None:
    assert describe_video(facts(subtitle_languages=("eng", "deu"))) == (
        "A very dark portrait HD video of 9.7 seconds in 3 scenes, mostly dark blue and black, with little movement. "
        "A scene lasts 3.2 seconds on average. The brightest and liveliest scene begins at 3.0 s. "
        "The sound is quiet. It is subtitled in English and German."
    )


def test_a_scene_is_told_in_a_sentence() -> None:
    assert describe_scene(facts(duration_s=75.0, stats=_DAY)) == (
        "A bright, colourful scene of 1 minute 15 seconds, mostly dark blue and black, with much movement. "
        "The sound is quiet."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"brightness": 0.02, "contrast": 0.0, "saturation": 0.0, "colored_share": 0.0}, "A very dark scene"),
        ({"brightness": 0.5, "colored_share": 0.0}, "A black and white scene"),
        ({"brightness": 0.5, "saturation": 0.01}, "A muted scene"),
        ({"dark_share": 0.1}, "A scene of"),
        ({"brightness": 0.5, "saturation": 0.3}, "A scene of"),
        ({"brightness": 0.5, "saturation": 0.09}, "A muted scene"),
        ({"colorful_share": 0.9}, "A very dark, colourful scene"),
        ({"saturation": 0.9}, "A very dark scene"),
        ({"colors": (ColorShare(name="red", share=0.2), ColorShare(name="blue", share=0.2))}, "in red and blue among"),
        ({"motion": 0.0}, "with a still picture"),
        ({"motion": 0.0, "moving_share": 0.1}, "with little movement"),
        ({"motion": 0.1}, "with very much movement"),
        ({"contrast": 0.35}, "high contrast"),
        ({"loudness_db": -8.0}, "The sound is loud."),
        ({"silence_share": 0.99, "loudness_db": -70.0}, "The sound track is silent."),
        ({"silence_share": 0.99, "loudness_db": -64.0}, "The sound is very quiet, with long silences."),
        ({"silence_share": 0.5}, "with long silences"),
    ],
)
def test_each_word_stands_for_a_measurement(changed: dict[str, object], said: str) -> None:
    assert said in describe_scene(facts(stats=_NIGHT.model_copy(update=changed)))


def test_what_was_not_measured_is_not_told() -> None:
    assert describe_scene(facts(stats=None, duration_s=2.0)) == "A scene of 2 seconds."
    unheard = _NIGHT.model_copy(update={"loudness_db": None, "silence_share": None})
    assert "sound" not in describe_scene(facts(stats=unheard))
    assert "It is silent: there is no sound track." in describe_scene(facts(stats=unheard, has_sound=False))
    assert "pace" not in describe_video(facts(scenes=1))
    assert "in a single shot" in describe_video(facts(scenes=1))
    assert "It has a fast pace: a scene lasts 1.2 seconds on average." in describe_video(facts(scenes=8))


def test_durations_read_well() -> None:
    told = [duration_in_words(seconds) for seconds in (0.04, 1.0, 9.68, 59.99, 60.0, 200.4, 3600.0, 4350.0)]
    assert told == [
        "0.04 seconds", "1 second", "9.7 seconds", "1 minute", "1 minute", "3 minutes 20 seconds", "1 hour",
        "1 hour 12 minutes",
    ]  # fmt: skip


def test_the_same_measurements_give_the_same_text_and_another_basis_when_they_change() -> None:
    prompts = (Prompt("describe_video", "video", "?"), Prompt("other", "video", "!"))
    request = ModelRequest("a" * 64, "video", 0.0, 9.7, prompts, facts())
    describer = StatisticsModel()
    first, second = (next(describer.answer([request], threading.Event())) for _ in range(2))
    assert [answer.text for answer in first.answers] == [answer.text for answer in second.answers]
    assert len(first.answers) == 2
    changed = dataclasses.replace(request, facts=facts(stats=_DAY))
    assert describer.basis(request) == describer.basis(dataclasses.replace(request))
    assert describer.basis(request) != describer.basis(changed)
