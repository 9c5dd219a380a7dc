"""tags: the rules applied to what the other stages found; every tag has its rule and evidence, every change is told."""

import json
import threading
from pathlib import Path

import pytest

from vidpipe.media.facts import ColorShare, Damage, SceneStats, SubtitleCue
from vidpipe.models.describing_model import MeasuredFacts
from vidpipe.models.statistics import describe_video
from vidpipe.stages.contract import Cancelled
from vidpipe.stages.results import ModelTag, Tag, Tags
from vidpipe.stages.rule_facts import needed_reads, rule_facts
from vidpipe.stages.tags import SCENE_READS, STAGE, give_tags, looks_at
from vidpipe.tagging.categories import classify
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import FIELDS, LIST_FIELDS, TEXT_FIELDS
from vidpipe_tests import clips
from vidpipe_tests.stages.label_items import STATS, label_context, label_item


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.moving(tmp_path / "clip.mp4", audio="sine")


def write_rules(home: Path, *rules: dict[str, object]) -> None:
    (home / "rules").mkdir(exist_ok=True)
    (home / "rules" / "custom_tags.json").write_text(json.dumps({"rules": rules}))


def tags_of(result: object) -> dict[str, Tag]:
    assert isinstance(result, Tags)
    return {tag.tag: tag for tag in result.tags}


def test_source_patterns_see_decoded_paths_and_evidence_shows_them(home: Path, clip: Path) -> None:
    write_rules(
        home,
        {"name": "trip", "source_patterns": ["*/Holiday 2019/*"], "tags": ["Trip"]},
        {"name": "cats", "source_patterns": ["*/My%20Cats/*"], "tags": ["Cats"]},
        {"name": "web", "source_patterns": ["photos.example/My Cats/*"], "tags": ["Web"]},
    )
    urls = ("file:///me/Holiday%202019/a.mp4", "https://photos.example/My%20Cats/a.mp4")
    item = label_item(clip, ingest__urls=urls)
    (outcome,) = give_tags([item], label_context(home, "custom_tags"))
    tags = tags_of(outcome.result)
    assert {"Trip", "Cats", "Web"} <= tags.keys()
    assert 'the address "/me/Holiday 2019/a.mp4" matches' in tags["Trip"].evidence


def test_a_clip_gets_the_default_tags_that_are_true_of_it_each_with_rule_and_evidence(
    home: Path, tmp_path: Path
) -> None:
    portrait = clips.subtitled(tmp_path / "talk.mkv", [(0.2, 1.0, "Hello")])
    tall = clips.rotated(tmp_path / "phone.mp4", 90)
    hectic = clips.moving(tmp_path / "big.mp4", size="1920x1080", fps="50", audio="noise", seconds=0.4)
    dark = STATS.model_copy(update={"brightness": 0.1, "dark_share": 0.9})
    items = [
        label_item(portrait, sha256="1" * 64, scenes__stats=dark),
        label_item(tall, sha256="2" * 64, scenes__damage=Damage(errors=3, sentence="3 packets are damaged")),
        label_item(hectic, sha256="3" * 64, scenes__count=8, scenes__cuts_per_minute=40.0),
    ]
    outcomes = list(give_tags(items, label_context(home, "custom_tags")))
    first, second, third = (tags_of(outcome.result) for outcome in outcomes)
    assert set(first) == {
        "Standard Definition",
        "Short Clip",
        "H.264 Codec",
        "Widescreen",
        "Silent",
        "Subtitled",
        "Dark",
    }
    assert [tag for tag, one in first.items() if not one.facet] == ["Silent", "Subtitled", "Dark"] == list(first)[:3]
    assert set(second) == {"Standard Definition", "Short Clip", "H.264 Codec", "Portrait", "Silent", "Damaged"}
    assert set(third) == {
        "High Resolution",
        "Short Clip",
        "H.264 Codec",
        "Widescreen",
        "High Frame Rate",
        "Fast-paced",
    } | ({"High Bitrate"} if items[2]["metadata.bit_rate"] > 10_000_000 else set())
    assert first["Dark"] == Tag(
        tag="Dark", rule="dark", block="metadata_conditions",
        evidence="brightness is 0.1 (asked: below 0.18), dark share is 0.9 (asked: at least 0.7)",
    )  # fmt: skip
    assert first["Silent"].evidence == "has audio is false (asked: false)"
    assert third["Fast-paced"].evidence == (
        "cuts per minute is 40 (asked: at least 24), scene count is 8 (asked: at least 8)"
    )


def test_names_addresses_and_descriptions_can_be_asked_for(home: Path, clip: Path) -> None:
    write_rules(
        home,
        {"tags": "Clip", "filename_patterns": "clip.*"},
        {"tags": "Ours", "source_patterns": "videos.example"},
        {"tags": "Sea", "description_keywords": "sea"},
        {"tags": "Harbour", "subtitle_keywords": "harbour"},
        {"tags": "Model", "ai_generated_tags": "sea"},
    )
    item = label_item(clip, descriptions__text="Waves on the sea.", metadata__title="Harbour")
    (outcome,) = give_tags([item], label_context(home, "custom_tags"))
    given = tags_of(outcome.result)
    assert {tag: one.block for tag, one in given.items()} == {
        "Clip": "filename_patterns", "Ours": "source_patterns", "Sea": "description_keywords",
        "Harbour": "subtitle_keywords",
    }  # fmt: skip
    assert given["Sea"].evidence == 'the description says "sea"'


def test_each_change_of_a_tag_is_told_with_its_rule_and_the_version_of_the_rules(home: Path, clip: Path) -> None:
    write_rules(home, {"name": "short", "tags": ["Short"], "metadata_conditions": {"duration_lt": 60}})
    before = label_context(home, "custom_tags")
    (first,) = give_tags([label_item(clip)], before)
    assert [(entry["kind"], entry["tag"], entry["change"], entry["rule"]) for entry in first.lineage] == [
        ("tag", "Short", "added", "short")
    ]
    (same,) = give_tags([label_item(clip, previous=first.result)], before)
    assert (same.result, same.lineage) == (first.result, [])

    write_rules(
        home,
        {"name": "sound", "tags": ["Sound"], "metadata_conditions": {"has_audio": True}},
        {"name": "short", "tags": ["Short"], "metadata_conditions": {"duration_lt": 30}},
    )
    after = label_context(home, "custom_tags")
    (changed,) = give_tags([label_item(clip, previous=first.result)], after)
    version = after.resources["custom_tags"].version
    assert [(entry["tag"], entry["change"], entry["rules_version"]) for entry in changed.lineage] == [
        ("Sound", "added", version),
        ("Short", "evidence changed", version),
    ]
    assert changed.lineage[1]["was"] == "duration is 2 s (asked: below 60 s)"
    json.dumps(changed.lineage)

    write_rules(home)
    (gone,) = give_tags([label_item(clip, previous=changed.result)], label_context(home, "custom_tags"))
    assert [(entry["tag"], entry["change"], entry["rule"]) for entry in gone.lineage] == [
        ("Sound", "removed", "sound"),
        ("Short", "removed", "short"),
    ]


def test_what_was_not_measured_gives_no_tag(home: Path, clip: Path) -> None:
    (outcome,) = give_tags([label_item(clip, scenes__stats=None)], label_context(home, "custom_tags"))
    assert not {"Dark", "Bright", "Static", "Black and White", "Colourful", "Loud"} & set(tags_of(outcome.result))


def test_a_cancelled_run_stops_before_the_next_video(home: Path, clip: Path) -> None:
    context = label_context(home, "custom_tags")
    context.cancelled = threading.Event()
    context.cancelled.set()
    with pytest.raises(Cancelled):
        next(give_tags([label_item(clip)], context))


def test_the_stage_reads_every_field_that_facts_are_made_from_and_no_other() -> None:
    checked = {*FIELDS, *TEXT_FIELDS, *LIST_FIELDS}
    needed = needed_reads(checked, of_scenes=checked)
    optional = {"descriptions.found", "speech.segments", "screen_text.entries", "objects.labels", *SCENE_READS}
    assert needed - optional == {*STAGE.reads} - {"ingest.verdicts", "descriptions.model"}
    assert optional <= needed


@pytest.mark.parametrize("name", [*FIELDS, *TEXT_FIELDS, *LIST_FIELDS])
def test_a_fact_is_made_from_the_fields_that_are_named_for_it(clip: Path, name: str) -> None:
    fields = label_item(clip).fields
    facts = [
        rule_facts({read: fields[read] for read in reads}) for reads in (needed_reads([name]) & fields.keys(), fields)
    ]
    if name in TEXT_FIELDS:
        named, every = (one.texts(name) for one in facts)
    else:
        named, every = (one.value(FIELDS.get(name) or LIST_FIELDS[name]) for one in facts)
    assert named == every


def test_the_stage_looks_only_at_what_its_rules_check(home: Path) -> None:
    write_rules(home, {"name": "dark", "tags": ["Dark"], "metadata_conditions": {"brightness_lt": 0.1}})
    resources = label_context(home, "custom_tags").resources
    always = {"descriptions.tags", "descriptions.model", "ingest.verdicts"}
    assert looks_at(resources, judged_scenes=False) == {"scenes.stats", *always}
    assert looks_at(resources, judged_scenes=True) == {"scenes.stats", "scenes.scenes", *always}
    scene = {"id": "dark", "scope": "scene", "selections": {"a": {"brightness|lt": 0.1}}, "tags": ["Dark"]}
    write_rules(home, scene)
    resources = label_context(home, "custom_tags").resources
    assert looks_at(resources, judged_scenes=False) == {"scenes.stats", "scenes.scenes", *always}


def test_every_cue_is_heard_once_whatever_its_stream(clip: Path) -> None:
    texts = [(2, "The wave\nbreaks"), (2, "of a lake"), (2, "of a lake"), (5, "of a lake"), (5, "ein See")]
    cues = tuple(SubtitleCue(stream=stream, start_s=0, end_s=1, text=text) for stream, text in texts)
    facts = rule_facts(label_item(clip, metadata__cues=cues, metadata__title=None).fields)
    assert (facts.subtitles, facts.title) == ("The wave\nbreaks\nof a lake\nein See", "")


def test_languages_colours_and_dates_are_known_or_not_known(clip: Path, tmp_path: Path) -> None:
    spoken = clips.subtitled(tmp_path / "a.mkv", [(0.0, 1.0, "Ja")], language="ger")
    colors = (
        ColorShare(name="blue", share=0.6),
        ColorShare(name="gray", share=0.25),
        ColorShare(name="red", share=0.1),
    )
    stats = STATS.model_copy(update={"colors": colors})
    known = rule_facts(label_item(spoken, scenes__stats=stats, metadata__created="2019-05-01T10:00:00Z").fields).values
    assert (known["subtitle_language"], known["audio_language"]) == (("deu",), ())
    assert (known["color"], known["year"]) == (("blue", "grey"), 2019)
    known = rule_facts(label_item(clip, metadata__created="1904-01-01T00:00:00Z").fields).values
    assert (known["audio_language"], known["subtitle_language"], known["year"]) == (None, (), None)


@pytest.mark.parametrize("brightness", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("motion", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("sound", [False, True])
def test_the_default_keywords_read_nothing_into_a_description_made_of_measurements(
    home: Path, brightness: float, motion: float, sound: bool
) -> None:
    stats = SceneStats(
        brightness=brightness, contrast=0.2, saturation=0.6, motion=motion, dark_share=1.0,
        colored_share=motion, loudness_db=-20.0 if sound else None,
        silence_share=0.5 if sound else None, colors=(ColorShare(name="orange", share=0.9),),
    )  # fmt: skip
    text = describe_video(
        MeasuredFacts(
            duration_s=90.0, scenes=30, cuts_per_minute=19.0, stats=stats, orientation="portrait", resolution="HD",
            has_sound=sound, subtitle_languages=("eng",), hdr="HDR10", scene_stats=((0.0, stats), (3.0, stats)),
        )
    )  # fmt: skip
    context = label_context(home, "custom_tags", "categories")
    facts = RuleFacts(description=text)
    assert evaluate(context.resources["custom_tags"], facts).tags == ()
    assert classify(context.resources["categories"], facts).category == "Unclassified"


def test_the_models_tags_stand_beside_the_rules_each_with_who_gave_it(home: Path, clip: Path) -> None:
    write_rules(home, {"name": "dogs", "tags": ["Dog"], "ai_generated_tags": ["dog"]})
    suggested = (ModelTag(tag="dog", confidence=0.9), ModelTag(tag="lawn", confidence=0.55), ModelTag(tag="Lawn"))
    (outcome,) = give_tags([label_item(clip, descriptions__tags=suggested)], label_context(home, "custom_tags"))
    tags = tags_of(outcome.result)
    assert set(tags) == {"Dog", "lawn"}
    assert (tags["Dog"].given_by, tags["Dog"].rule) == ("rule", "dogs")
    assert "dog" in tags["Dog"].evidence
    assert tags["Dog"].model_tags == ("dog",)
    assert (tags["lawn"].given_by, tags["lawn"].rule, tags["lawn"].confidence) == ("model", "ai_generated_tags", 0.55)
    assert tags["lawn"].evidence == "Qwen2-VL saw it in the frames, with confidence 0.55."
