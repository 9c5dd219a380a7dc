"""Sentiment is judged from words only, from one English stream, and not at all where there is no basis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.settings import Settings
from vidpipe.stages import sentiment
from vidpipe.stages.analyses.results import SpeechSegment, TextEntry
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.results import ModelSentiment, Sentiment

_GOOD = ["I love this wonderful", "place, it is the best.", "What a happy day!"]
_BAD = ["This was a terrible, horrible disaster.", "They are all afraid and we hate it."]
_GERMAN = ["Die Frau war hier und starb.", "Das war die Hölle, sagte der Mann."]


def stream(index: int, language: str | None = "eng", *, text: bool = True, forced: bool = False) -> SubtitleStream:
    return SubtitleStream(index=index, codec="subrip", language=language, text=text, forced=forced)


def cues(index: int, lines: list[str]) -> list[SubtitleCue]:
    return [SubtitleCue(stream=index, start_s=n, end_s=n + 0.9, text=line) for n, line in enumerate(lines)]


def judge(
    streams: list[SubtitleStream],
    spoken: list[SubtitleCue],
    text: str = "A dark, loud video.",
    *,
    measured: bool = True,
    asked: ModelSentiment | None = None,
    speech: Sequence[SpeechSegment] | None = None,
    screen: Sequence[TextEntry] | None = None,
) -> Sentiment:
    fields = {
        "metadata.subtitles": tuple(streams), "metadata.cues": tuple(spoken),
        "descriptions.text": text, "descriptions.measured": measured, "descriptions.model": "Qwen2-VL",
        "descriptions.sentiment": asked, "speech.segments": speech, "screen_text.entries": screen,
    }  # fmt: skip
    context = StageContext(settings=Settings(home=Path("/nowhere")))
    (outcome,) = sentiment.judge_sentiment([Item("a" * 64, fields)], context)
    assert isinstance(outcome.result, Sentiment)
    return outcome.result


def test_english_subtitles_are_judged() -> None:
    good, bad = judge([stream(2)], cues(2, _GOOD)), judge([stream(2)], cues(2, _BAD))
    assert (good.label, good.read_from) == ("positive", "subtitles")
    assert bad.label == "negative"
    assert good.score is not None
    assert bad.score is not None
    assert -1 <= bad.score < 0 < good.score <= 1
    assert "VADER" in good.method
    assert good.reason == "Read from subtitle stream 2: 2 sentences."


def test_plain_statements_are_neutral() -> None:
    verdict = judge([stream(2)], cues(2, ["NAR: This is the optical segment", "of the telescope."]))
    assert (verdict.label, verdict.score) == ("neutral", 0.0)


def test_the_model_that_saw_the_video_outweighs_its_words() -> None:
    asked = ModelSentiment(label="negative", score=-0.6, reason="A house burns down.")
    verdict = judge([stream(2)], cues(2, _GOOD), "A house burns.", measured=False, asked=asked)
    assert (verdict.label, verdict.score, verdict.read_from) == ("negative", -0.6, "frames")
    assert (verdict.method, verdict.reason) == ("Qwen2-VL, asked", "A house burns down.")


def test_measurements_are_no_basis() -> None:
    verdict = judge([], [], "A wonderful, happy, bright video.", measured=True)
    assert (verdict.label, verdict.score, verdict.read_from) == ("no basis", None, "nothing")
    assert "There are no subtitles" in verdict.reason


def test_a_models_description_is_judged_where_there_are_no_subtitles() -> None:
    verdict = judge([], [], "Children laugh happily in the sunshine.", measured=False)
    assert (verdict.label, verdict.read_from) == ("positive", "description")


@pytest.mark.parametrize("language", ["deu", "ger", "zh", None])
def test_other_languages_are_not_judged_by_an_english_lexicon(language: str | None) -> None:
    """German "die" and "war" are in it, as English words."""
    verdict = judge([stream(2, language)], cues(2, _GERMAN))
    assert verdict.label == "no basis"
    assert "the lexicon knows English only" in verdict.reason


def test_a_language_that_is_not_named_is_recognised_as_english() -> None:
    assert judge([stream(2, None)], cues(2, _BAD)).label == "negative"


def test_the_english_stream_is_preferred_and_only_one_counts() -> None:
    both = cues(2, _GERMAN) + cues(3, _GOOD) + cues(4, _GOOD)
    verdict = judge([stream(2, "deu"), stream(3, "en-US"), stream(4, "eng", forced=True)], both)
    assert verdict.label == "positive"
    assert verdict.reason == "Read from subtitle stream 3: 2 sentences."
    assert verdict.score == judge([stream(3)], cues(3, _GOOD)).score


def test_sentences_are_joined_across_cues_and_cleared_of_notes() -> None:
    spoken = cues(2, ["[door slams]", "JOHN: I am not", "happy. (laughs) ♪", "happy. (laughs) ♪", "- Go!"])
    assert sentiment.sentences_of_cues(spoken) == ["I am not happy.", "Go!"]


def test_a_pause_ends_a_sentence() -> None:
    first = SubtitleCue(stream=2, start_s=0, end_s=1, text="good evening")
    later = SubtitleCue(stream=2, start_s=9, end_s=10, text="and good night")
    assert sentiment.sentences_of_cues([first, later]) == ["good evening", "and good night"]


def test_long_sentences_weigh_more_than_exclamations() -> None:
    long = "The whole long evening was a terrible and sad disappointment for every single one of us here."
    assert sentiment.mean_score(["Nice!", long]) < 0


@pytest.mark.timeout(30)
def test_text_without_end_or_punctuation_is_judged_in_good_time() -> None:
    verdict = judge([stream(2)], cues(2, ["good but bad " * 20_000]))
    assert verdict.read_from == "subtitles"


def heard(*texts: tuple[str, str]) -> tuple[SpeechSegment, ...]:
    return tuple(
        SpeechSegment(start_s=n, end_s=n + 0.9, text=text, language=language, confidence=0.9)
        for n, (text, language) in enumerate(texts)
    )


def shown(text: str, kind: Literal["title", "caption", "small"] = "caption", language: str = "") -> TextEntry:
    return TextEntry(text=text, start_s=1, end_s=2, box=(0, 0, 1, 1), confidence=0.9, language=language, kind=kind)


def test_speech_is_judged_by_sentences_joined_across_segments_if_there_are_no_english_subtitles() -> None:
    spoken = heard(*((text, "en") for text in _GOOD), ("Das ist schrecklich.", "de"))
    verdict = judge([], [], speech=spoken, screen=(shown("A horrible disaster!"),))
    assert (verdict.label, verdict.read_from) == ("positive", "speech")
    assert verdict.reason == "Read from speech in English: 2 sentences."
    assert verdict.score == judge([stream(2)], cues(2, _GOOD)).score
    assert judge([stream(2)], cues(2, _BAD), speech=spoken).read_from == "subtitles"
    assert judge([stream(2, "deu")], cues(2, _GERMAN), speech=spoken).read_from == "speech"
    asked = ModelSentiment(label="negative", score=-0.5, reason="Rain.")
    assert judge([], [], speech=spoken, asked=asked).read_from == "frames"


def test_titles_and_captions_come_after_speech_and_small_print_never() -> None:
    captions = (shown("I love this wonderful place, and it is the best of all."), shown("Terrible!", "small"))
    verdict = judge([], [], speech=heard(("Guten Tag.", "de")), screen=captions)
    assert (verdict.label, verdict.read_from) == ("positive", "screen text")
    assert verdict.reason == "Read from screen text in English: 1 sentence."
    assert judge([], [], "A nice day.", measured=False, speech=(), screen=captions).read_from == "screen text"
    assert judge([], [], speech=(), screen=(shown("I hate this terrible place.", "small"),)).label == "no basis"


def test_few_repeated_uncertain_or_foreign_words_are_no_basis() -> None:
    unsure = [part.model_copy(update={"confidence": 0.4}) for part in heard(("I love this wonderful place.", "en"))]
    for spoken in (heard(*[("Thank you.", "en")] * 3), heard(("Das ist heute ein schöner Tag.", "de")), unsure):
        verdict = judge([], [], speech=spoken, screen=(shown("再见", language="zh"),))
        assert (verdict.label, verdict.score, verdict.read_from) == ("no basis", None, "nothing")
        assert verdict.reason == (
            "There are no subtitles, there are too few English words in speech and screen text, and what was measured "
            "of the pictures carries no opinion."
        )
    described = judge([], [], "A nice day.", measured=False, speech=())
    assert described.reason == (
        "There are no subtitles, there are too few English words in speech; the model's description was judged."
    )
