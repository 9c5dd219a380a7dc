"""Objects are what the frames of a scene agree on, with their count, confidence and share of the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import EnabledAnalyses
from vidpipe.stages.analyses.object_agreement import agreed
from vidpipe.stages.analyses.objects import ANALYSIS
from vidpipe.stages.analyses.results import DetectedObject, ObjectsResult
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import portrait_clip, result_of
from vidpipe_tests.stages.scene_items import scenes_of

MODEL = "objects-ssd-mobilenet-v2"
HERE, BESIDE = (0.1, 0.1, 0.4, 0.6), (0.6, 0.1, 0.3, 0.6)


def seen(label: str, confidence: float, box: tuple[float, float, float, float] | None = HERE) -> DetectedObject:
    return DetectedObject(label=label, confidence=confidence, box=box)


def labels(frames: list[list[DetectedObject]]) -> list[list[str]]:
    return [[one.label for one in some] for some in agreed(frames, 0.5)]


def test_a_thing_that_changes_its_name_is_not_reported() -> None:
    rabbit = [
        [seen("cow", 0.87), seen("sheep", 0.74)], [seen("bird", 0.94)], [seen("bird", 0.7), seen("cat", 0.48)],
        [seen("cat", 0.54), seen("bird", 0.45)], [seen("bird", 0.95)],
    ]  # fmt: skip
    assert labels(rabbit) == [[]] * 5


def test_things_at_different_places_keep_their_names() -> None:
    street = [[seen("car", 0.7), seen("person", 0.9, BESIDE)]] * 3
    assert labels(street) == [["car", "person"]] * 3


def test_a_passing_doubt_drops_only_the_second_name() -> None:
    frames = [[seen("person", 0.9), seen("chair", 0.5)], [seen("person", 0.9)], [seen("person", 0.9)]]
    assert labels(frames) == [["person"]] * 3


def test_one_frame_alone_must_be_sure_and_one_of_two() -> None:
    assert labels([[seen("tv", 0.64)], [], []]) == [[], [], []]
    assert labels([[seen("tv", 0.64)], [seen("tv", 0.35, BESIDE)], []]) == [["tv"], [], []]
    assert labels([[seen("keyboard", 0.94)], [], []]) == [[], [], []]
    assert labels([[seen("keyboard", 0.94)], []]) == [["keyboard"], []]
    assert labels([[seen("tv", 0.64)]]) == [["tv"]]


def test_labels_of_a_classifier_have_no_place_to_disagree_about() -> None:
    assert labels([[seen("library", 0.6, None), seen("desk", 0.6, None)]] * 2) == [["library", "desk"]] * 2


def test_a_portrait_shows_a_person_all_the_time(home: Path, models_directory: PackagedModels) -> None:
    models_directory.into(home, MODEL)
    scenes = scenes_of(portrait_clip(home / "a.mp4"), home)
    found = result_of(ANALYSIS, scenes, Settings(home=home))
    assert isinstance(found, ObjectsResult)
    person = next(label for label in found.labels if label.label == "person")
    assert (person.label, person.count, person.share) == ("person", 1, 1.0)
    assert 0.5 < person.confidence < 0.9
    assert found.models[0].name == MODEL
    assert found.frames_examined == len(found.frames) == scenes.pack.frames  # type: ignore[union-attr]
    (evidence,) = EnabledAnalyses((ANALYSIS,)).found({"objects.scenes": found.scenes})
    assert evidence.says == "it shows"
    assert "person" in {moment.text for moment in evidence.moments}
    objects = EnabledAnalyses((ANALYSIS,)).rule_fields_by_name["object"]
    assert objects.reads == "objects.labels"
    assert objects.value(found.labels) == tuple(label.label for label in found.labels)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("clip", "right", "wrong"),
    [
        ("bikes.mp4", {"bicycle", "car", "person"}, {"bus"}), ("dj2.mp4", {"person"}, set()),
        ("bigbuckbunny.mp4", set(), set()), ("corrupted.mp4", set(), set()), ("av1.mkv", set(), set()),
        ("h265.mp4", set(), set()), ("rotated90.mov", set(), {"keyboard"}), ("nasa.mp4", {"person"}, set()),
        ("pancake.mkv", {"person"}, set()), ("dj3.mp4", {"person"}, {"surfboard", "laptop", "cup"}),
    ],
)  # fmt: skip
def test_what_real_clips_show(
    clips_directory: Path,
    home: Path,
    models_directory: PackagedModels,
    *,
    clip: str,
    right: set[str],
    wrong: set[str],
) -> None:
    """`wrong` is found, but not stated: the back of a van is no bus, and few labels are reliable."""
    models_directory.into(home, MODEL)
    found = result_of(ANALYSIS, scenes_of(clips_directory / clip, home), Settings(home=home))
    assert isinstance(found, ObjectsResult)
    assert right <= {label.label for label in found.labels} <= right | wrong
    (*evidence,) = EnabledAnalyses((ANALYSIS,)).found({"objects.scenes": found.scenes})
    stated = {moment.text for text in evidence for moment in text.moments}
    assert stated == {label.label for label in found.labels if label.certain} <= right
    assert (stated == right) == (clip != "nasa.mp4"), "its one person is seen for 0.5 s, with a confidence of 0.56"
