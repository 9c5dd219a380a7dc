"""tags and categories from what analyses found: fields and texts reach the rules, and real clips get what they show."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES, Analyses
from vidpipe.stages.analyses.results import ObjectLabel, SpeechSegment, TextEntry
from vidpipe.stages.categories import categorize
from vidpipe.stages.contract import INGEST, Item, StageContext
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.registry import build_graph, build_resource, enabled_analyses
from vidpipe.stages.results import Categories, Tags
from vidpipe.stages.rule_facts import needed_reads, rule_facts
from vidpipe.stages.tags import give_tags
from vidpipe.tagging.category_files import category_sentences
from vidpipe.tagging.fields import FIELDS
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.stages.label_items import label_context, label_item

FOUND: dict[str, Any] = {
    "speech__segments": (SpeechSegment(start_s=12.2, end_s=15.0, text="The space telescope"),
                         SpeechSegment(start_s=15.0, end_s=18.0, text="and the observatory.")),
    "speech__languages": ("en",), "speech__speech_s": 5.8,
    "screen_text__entries": (
        TextEntry(text="NASA", start_s=1, end_s=2, box=(0, 0, 1, 1), confidence=1, kind="caption"),
    ),
    "objects__labels": (ObjectLabel(label="person", count=2, confidence=0.9, share=0.6, first_s=3.25),),
}  # fmt: skip


def test_what_analyses_found_gives_tags_and_categories_with_times(home: Path, tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", seconds=0.2)
    settings = Settings(home=home, analyses=Analyses(enabled=("speech", "screen_text", "objects")))
    names = ("custom_tags", "categories", "analyses")
    context = StageContext(settings, {name: build_resource(name, settings) for name in names})
    item = label_item(clip, **FOUND)
    (outcome,) = give_tags([item], context)
    assert isinstance(outcome.result, Tags)
    evidence = {tag.tag: tag.evidence for tag in outcome.result.tags}
    assert evidence["People"] == "objects were detected: 2 people (confidence 0.90, 60 % of the time, first at 0:03.2)"
    assert evidence.keys() >= {"Speech", "Captions"}
    (outcome,) = categorize([item], context)
    assert isinstance(outcome.result, Categories)
    assert outcome.result.category == "Science"
    assert outcome.result.reason == (
        'someone says "observatory" at 0:15, "telescope" at 0:12, the screen shows "nasa" at 0:01'
    )
    unread = label_context(home, "custom_tags", "categories")
    (outcome,) = give_tags([item], unread)
    assert isinstance(outcome.result, Tags)
    assert {tag.tag for tag in outcome.result.tags if not tag.facet} == {"Silent"}


def test_every_field_of_rules_is_made_from_results(home: Path) -> None:
    enabled = enabled_analyses(Settings(home=home, analyses=Analyses(enabled=ANALYSES)))
    assert [name for name in FIELDS if not needed_reads([name], analyses=enabled)] == []
    assert enabled.rule_fields_by_name.keys() < FIELDS.keys()


def test_sound_like_speech_without_a_word_that_is_understood_is_not_called_speech(home: Path, tmp_path: Path) -> None:
    clip = label_item(clips.moving(tmp_path / "clip.mp4", seconds=0.2), speech__speech_s=25.0, speech__segments=())
    enabled = enabled_analyses(Settings(home=home, analyses=Analyses(enabled=("speech",))))
    assert rule_facts(clip.fields, analyses=enabled).values["speech_s"] == 0
    heard = Item(clip.sha256, {**clip.fields, "speech.segments": FOUND["speech__segments"]})
    assert rule_facts(heard.fields, analyses=enabled).values["speech_s"] == 5.8


def test_a_category_without_words_is_not_suggested(home: Path) -> None:
    assert "Test Footage" in {
        category.name for category in build_resource("categories", Settings(home=home)).categories
    }
    assert {"Science", "Food"} <= category_sentences(Settings(home=home)).keys() - {"Test Footage"}
    assert "Test Footage" not in category_sentences(Settings(home=home))


def test_only_with_analyses_do_tags_and_categories_read_them(home: Path) -> None:
    assert GRAPH["tags"].optional_reads == GRAPH["categories"].optional_reads == ()
    assert "analyses" not in GRAPH["tags"].resources
    graph = build_graph(Settings(home=home, analyses=Analyses(enabled=ANALYSES)))
    read = {"speech.segments", "screen_text.entries", "objects.labels", "faces.share", "moderation.score"}
    assert read <= set(graph["tags"].optional_reads)
    assert {*read, "meaning.suggestion"} <= set(graph["categories"].optional_reads)


#: What each clip shows, seen by eye before anything was run: the tags that would be true of it besides those about
#: picture and sound, and the categories that fit. Clips that show nothing in particular should get none.
FITTING: dict[str, tuple[set[str], set[str]]] = {
    "bikes.mp4": ({"People", "Faces", "Vehicles"}, {"Transport", "Sports", "Travel", "Cinematic"}),
    "bigbuckbunny.mp4": ({"Animation", "Animals"}, {"Animation"}),
    "nasa.mp4": ({"People", "Speech", "Subtitled"}, {"Science", "Documentary", "Educational", "News"}),
    "dj1.mp4": ({"Animation", "Animals", "Captions", "Speech"}, {"Animation"}),
    "dj2.mp4": ({"People", "Captions"}, {"Health", "Vlog", "Educational"}),
    "dj3.mp4": ({"People", "Faces", "Captions", "Speech"}, {"Home", "Educational", "Interview", "Vlog"}),
    "pancake.mkv": ({"People", "Faces", "Food", "Speech"}, {"Food", "Vlog"}),
    "h265.mp4": (set(), {"Test Footage"}),
    "h264_10bit.mp4": (set(), {"Test Footage"}),
    "av1.mkv": (set(), {"Test Footage"}),
    "rotated90.mov": (set(), {"Technology"}),
    "corrupted.mp4": ({"Damaged"}, set()),
}
MEASURED = {"Silent", "Dark", "Colourful", "Static", "Bright", "Loud", "Fast-paced"}
MODELS = ("vad-fireredvad", "whisper-base", "ocr-ppocr-v6-small", "objects-ssd-mobilenet-v2", "faces-centerface",
          "moderation-open-nsfw", "meaning-e5-small")  # fmt: skip


@pytest.mark.soak
def test_real_clips_get_true_tags_and_mostly_a_fitting_category(
    clips_directory: Path, home: Path, with_models: Any
) -> None:
    with_models(*MODELS)
    settings = Settings(home=home, analyses=Analyses(enabled=ANALYSES))
    graph = build_graph(settings)
    wrong, classified = {}, set()
    with ExitStack() as closed:
        resources = {name: build_resource(name, settings) for stage in graph for name in stage.resources}
        for resource in resources.values():
            if hasattr(resource, "close"):
                closed.enter_context(closing(resource))
        for name, (tags, fitting) in FITTING.items():
            fields = results_of(clips_directory / name, graph, StageContext(settings, resources))
            false = {tag.tag for tag in fields["tags.tags"] if not tag.facet} - tags - MEASURED
            category = fields["categories.category"]
            if false or category not in {*fitting, "Unclassified"}:
                wrong[name] = (false, category, fields["categories.reason"])
            classified |= {name} if category in fitting else set()
    assert not wrong
    assert len(classified) >= 7


def results_of(clip: Path, graph: Any, context: StageContext) -> dict[str, Any]:
    """Run all stages on one clip, without a library."""
    stat = clip.stat()
    facts = IngestFacts(path=str(clip), size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns, names=(clip.name,))
    fields = {f"{INGEST}.{name}": value for name, value in facts}
    for stage in graph:
        (outcome,) = stage.function([Item(clip.stem, {name: fields.get(name) for name in stage.all_reads})], context)
        assert outcome.result is not None, (clip.name, stage.name, outcome.error)
        fields |= {f"{stage.name}.{name}": value for name, value in outcome.result}
    return fields
