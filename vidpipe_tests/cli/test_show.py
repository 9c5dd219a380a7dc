"""`vidpipe show` tells what the analyses found, bounded and harmless, and nothing of those that are disabled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vidpipe.cli.show import analysis_facts, show_moments
from vidpipe.library.library import Library
from vidpipe.library.queries.show import view
from vidpipe.settings import Settings
from vidpipe.stages.analyses.results import (
    CategorySuggestion,
    FacesResult,
    MeaningResult,
    ModerationResult,
    ObjectLabel,
    ObjectsResult,
    ScreenTextResult,
    SpeechResult,
    SpeechSegment,
)
from vidpipe_tests.library import sample_library

RESULTS = {
    "speech": SpeechResult(
        segments=tuple(SpeechSegment(start_s=n, end_s=n + 1, text=f"Line {n} [red]\x1b[2J") for n in range(40)),
        languages=("en",), speech_s=40.0, source="recognition",
    ),
    "screen_text": ScreenTextResult(),
    "objects": ObjectsResult(
        labels=(ObjectLabel(label="car", count=2, confidence=0.9, share=0.25),), frames_examined=4,
    ),
    "faces": FacesResult(count=3, share=0.5, largest=0.2, frames_examined=4),
    "moderation": ModerationResult(score=0.1234),
    "meaning": MeaningResult(
        vector="AAAA", read_from=("speech", "objects"), language="en",
        suggestion=CategorySuggestion(category="Science", runner_up="News", margin=0.031),
    ),
}  # fmt: skip


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        yield opened


def shown(library: Library, **results: Any) -> dict[str, Any]:
    specs = sample_library.fill(library).specs
    sha256 = sample_library.sha256_of("harbour.mp4")
    stored = {name: result.model_dump(mode="python") for name, result in results.items()}
    if stored:
        library.collections["videos"].update_one({"_id": sha256}, {"$set": stored})
    return view(library, sha256, specs)


def test_results_are_part_of_the_view_without_vectors_even_if_their_analysis_is_disabled(library: Library) -> None:
    assert {name: shown(library)[name] for name in RESULTS} == dict.fromkeys(RESULTS)
    found = shown(library, **RESULTS)
    assert found["speech"]["segments"][1]["start_s"] == 1.0
    assert found["speech"]["segments"][1]["text"].startswith("Line 1")
    assert (found["faces"]["count"], found["moderation"]["score"]) == (3, 0.1234)
    assert found["meaning"]["suggestion"]["category"] == "Science"
    assert "vector" not in found["meaning"]


def test_each_analysis_is_a_line_and_what_is_said_has_times(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analysis_facts(shown(library)) == []
    found = shown(library, **RESULTS)
    assert analysis_facts(found) == [
        ("speech", "English, 0:40.0"),
        ("on screen", "none"),
        ("objects", "car 25%"),
        ("faces", "up to 3, 50% of the time"),
        ("moderation", "score 0.12, a hint rather than a verdict"),
        ("suggestion", "Science, before News by 0.031"),
    ]
    show_moments(found, 30)
    text = capsys.readouterr().out
    assert "Line 29 [red]" in text
    assert "Line 30" not in text
    assert "… and 10 more" in text
    assert "\x1b[2J" not in text
    show_moments(found, 0)
    assert "Line 39" in capsys.readouterr().out
