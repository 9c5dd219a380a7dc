"""meaning: embeddings of real texts by the real small model, their language, and suggested categories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidpipe.media.facts import Scene, SubtitleCue
from vidpipe.models.embeddings import directions, elements
from vidpipe.settings import Settings
from vidpipe.settings.analyses import Analyses
from vidpipe.stages.analyses import meaning
from vidpipe.stages.analyses.declaration import Analysis, EnabledAnalyses, EvidenceText
from vidpipe.stages.analyses.results import MeaningResult
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.registry import build_resource
from vidpipe.stages.results import SceneDescription
from vidpipe.stages.search_fields import Moment
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.label_items import STATS

TEXTS: dict[str, list[str]] = json.loads((Path(__file__).parent / "category_texts.json").read_text(encoding="utf-8"))
_HEARD = EvidenceText("speech", "someone says", "speech.segments", lambda segments: segments)
_SEEN = EvidenceText("objects", "it shows", "objects.scenes", lambda scenes: scenes)


@pytest.fixture(scope="module")
def context(models_directory: PackagedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageContext]:
    home = tmp_path_factory.mktemp("meaning")
    models_directory.into(home, "meaning-e5-small")
    settings = Settings(home=home, analyses=Analyses(enabled=("meaning",), threads=1))
    resources = {name: build_resource(name, settings) for name in meaning.ANALYSIS.resources}
    analysis = Analysis(meaning.ANALYSIS.stage, evidence=(_HEARD, _SEEN))
    yield StageContext(settings, {**resources, "analyses": EnabledAnalyses((analysis,))})
    resources["text_model"].close()  # type: ignore[attr-defined]


def item(*lengths_s: float, **changed: Any) -> Item:
    """A video of scenes of these lengths; `changed` is `stage__field=value`."""
    scenes, start_s = [], 0.0
    for index, length_s in enumerate(lengths_s or (10.0,)):
        end_s = start_s + length_s
        scenes.append(Scene(index=index, start_s=start_s, end_s=end_s, start_frame=0, end_frame=1, stats=STATS))
        start_s = end_s
    fields = {
        "ingest.titles": (), "metadata.cues": (), "metadata.title": None, "descriptions.text": "A dark video.",
        "descriptions.measured": True, "descriptions.scenes": (), "scenes.scenes": tuple(scenes), "scenes.pack": None,
        "scenes.frames_version": "", "scenes.duration_s": start_s, "speech.segments": None, "objects.scenes": None,
    }  # fmt: skip
    return Item("a" * 64, {**fields, **{name.replace("__", "."): value for name, value in changed.items()}})


def made(one: Item, context: StageContext) -> MeaningResult:
    (outcome,) = meaning.embed([one], context)
    assert isinstance(outcome.result, MeaningResult), outcome.error
    return outcome.result


def test_measurements_and_nothing_say_nothing(context: StageContext) -> None:
    result = made(item(metadata__title="  "), context)
    assert (result.vector, result.parts, result.read_from, result.language) == ("", (), (), "")
    assert result.suggestion is None


def test_each_source_is_named_and_each_part_lands_on_its_second(context: StageContext) -> None:
    result = made(
        item(
            8.0, 1.0, 50.0,
            ingest__titles=("Evening programme",),
            metadata__cues=(SubtitleCue(stream=2, start_s=9.5, end_s=12.0, text="Whisk the eggs for the pancakes."),),
            speech__segments=(
                Moment(1.0, 3.0, "The home team scores a goal in the last minute."),
                Moment(40.0, 44.0, "Elephants walk to the water hole."),
            ),
        ),
        context,
    )  # fmt: skip
    assert result.read_from == ("title", "subtitles", "speech")
    assert result.language == "en"
    assert [(part.start_s, part.end_s) for part in result.parts] == [(1.0, 3.0), (9.5, 12.0), (40.0, 44.0)]
    assert [part.text for part in result.parts][1:] == [
        "Whisk the eggs for the pancakes.",
        "Elephants walk to the water hole.",
    ]
    assert result.models[0].name == "meaning-e5-small"
    parts = directions([part.vector for part in result.parts])
    texts = ["football", "breakfast recipe", "wild animals in Africa"]
    model = context.resources["text_model"]
    queries = directions(model.call({"texts": texts, "query": True}, context.cancelled))
    assert (queries @ parts.T).argmax(axis=1).tolist() == [0, 1, 2]
    assert max(map(abs, elements(result.vector))) == 127


def test_descriptions_of_a_model_that_sees_are_read(context: StageContext) -> None:
    said = (SceneDescription(index=1, description="A cook fries onions.", described_by="Qwen2-VL"),)
    result = made(
        item(5.0, 5.0, descriptions__measured=False, descriptions__text="Cooking.", descriptions__scenes=said), context
    )
    assert result.read_from == ("description",)
    assert [(part.start_s, part.end_s) for part in result.parts] == [(5.0, 10.0)]
    assert result.language == "", "the description is in our words, not the video's"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Heute zeige ich euch, wie man eine Wand streicht und die Farbe mischt.", "de"),
        ("大家好,今天我们来装修客厅,先把墙面刷成白色,再换地板。", "zh"),
        ("x9 \x00 12:44", ""),
    ],
)
def test_the_language_is_that_of_the_video_not_of_object_labels(
    context: StageContext, text: str, language: str
) -> None:
    seen = (Moment(0.0, 10.0, "person", "en"), Moment(0.0, 10.0, "dining table", "en"))
    result = made(item(speech__segments=(Moment(1.0, 2.0, text),), objects__scenes=seen), context)
    assert result.language == language


def test_a_text_of_hours_is_bounded(context: StageContext) -> None:
    spoken = tuple(Moment(float(second), second + 1.0, f"Sentence {second} of it.") for second in range(0, 7200, 2))
    texts = list(meaning._texts(item(*[3.0] * 2400, speech__segments=spoken), context))
    whole = meaning._joined((text.lines for text in texts), 6000)
    assert 5500 < len(whole) <= 6000
    assert "Sentence 0 " in whole
    assert "Sentence 71" in whole
    parts = list(meaning._parts(texts, item(*[3.0] * 2400)["scenes.scenes"]))
    assert 50 < len(parts) < 130
    assert sum(text.count("Sentence") for _, _, text in parts) == len(spoken)


@pytest.mark.parametrize("category", ["Sports", "Food", "Travel", "News", ""])
def test_a_category_is_suggested_with_runner_up_and_margin(context: StageContext, category: str) -> None:
    for text in TEXTS[category]:
        suggestion = made(item(speech__segments=(Moment(0.0, 5.0, text),)), context).suggestion
        if category:
            assert suggestion
            assert suggestion.category == category
            assert suggestion.runner_up not in ("", category)
            assert suggestion.chosen == (suggestion.margin >= context.settings.meaning.category_margin)
        else:
            assert not (suggestion and suggestion.chosen), text


def test_a_word_or_two_suggest_nothing(context: StageContext) -> None:
    assert made(item(metadata__title="Football match"), context).suggestion is None


@pytest.mark.soak
def test_what_is_chosen_is_right(context: StageContext) -> None:
    """51 of 52 texts in two languages are nearest to their own category; of 33 that are chosen, none is wrong."""
    nearest = chosen = 0
    for category, texts in TEXTS.items():
        for text in texts:
            suggestion = made(item(speech__segments=(Moment(0.0, 5.0, text),)), context).suggestion
            if suggestion and suggestion.chosen:
                assert suggestion.category == category, text
                chosen += 1
            nearest += bool(category and suggestion and suggestion.category == category)
    assert nearest >= 50
    assert chosen >= 31
