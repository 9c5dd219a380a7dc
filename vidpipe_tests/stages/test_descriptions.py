"""Descriptions: true sentences, answers kept as cells, and only what is missing is asked again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.media.facts import AudioStream, ColorShare, Scene, SceneStats
from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL
from vidpipe.stages import descriptions
from vidpipe.stages.contract import AnswerCell, Cancelled, Item, Outcome, StageContext
from vidpipe.stages.results import Descriptions
from vidpipe.vlm.model import Reply, Request
from vidpipe.vlm.prompts import build_prompts
from vidpipe.vlm.statistics import StatisticsDescriber


class Observed(StatisticsDescriber):
    """The real describer, which notes what it was asked and can be told to fail for one video."""

    def __init__(self, failing: str = "", fault: Exception | None = None) -> None:
        self.asked: list[Request] = []
        self._failing, self._fault = failing, fault

    def answer(self, requests: Sequence[Request], cancelled: threading.Event) -> Iterator[Reply]:
        self.asked += requests
        for reply in super().answer(requests, cancelled):
            if isinstance(self._fault, UnavailableError):
                raise self._fault
            if self._fault and reply.request.video == self._failing and reply.request.scope == "scene":
                yield Reply(reply.request, error=MediaError("The frames are unreadable.", "Run scenes again."))
            else:
                yield reply


class Cells(dict[str, AnswerCell]):
    def get(self, keys: Iterable[str]) -> dict[str, AnswerCell]:  # type: ignore[override]
        return {key: self[key] for key in keys if key in self}

    def keep(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        kept = list(outcomes)
        self.update({cell.key: cell for outcome in kept for cell in outcome.cells})
        return kept


def stats(brightness: float = 0.2, motion: float = 0.003) -> SceneStats:
    colors = (ColorShare(name="dark blue", share=0.4), ColorShare(name="black", share=0.3))
    return SceneStats(
        brightness=brightness,
        contrast=0.2,
        saturation=0.3,
        motion=motion,
        colors=colors,
        loudness_db=-35,
        silence_share=0,
    )


def item(sha256: str = "a" * 64, cuts: Sequence[float] = (0.0, 2.0, 5.0), brightness: float = 0.2) -> Item:
    edges = [*cuts, 9.7]
    scenes = tuple(
        Scene(
            index=n,
            start_s=start,
            end_s=end,
            start_frame=int(start * 25),
            end_frame=int(end * 25),
            stats=stats(brightness),
        )
        for n, (start, end) in enumerate(itertools.pairwise(edges))
    )
    fields: dict[str, Any] = {
        "metadata.orientation": "portrait", "metadata.resolution": "HD", "metadata.hdr": None,
        "metadata.audio": (AudioStream(index=1, codec="aac"),), "metadata.subtitles": (),
        "scenes.scenes": scenes, "scenes.count": len(scenes), "scenes.duration_s": 9.7,
        "scenes.cuts_per_minute": 12.4, "scenes.stats": stats(brightness), "scenes.pack": None,
    }  # fmt: skip
    return Item(sha256, fields)


def context(model: StatisticsDescriber, cells: Cells | None = None, instruction: str = "") -> StageContext:
    settings = Settings(home=Path("/nowhere"), qwen_vl=QwenVL(default_instruction=instruction))
    return StageContext(settings, {"model": model, "prompts": build_prompts(settings)}, cells)


def test_every_scene_and_the_whole_are_described() -> None:
    (outcome,) = descriptions.describe([item()], context(StatisticsDescriber()))
    result = outcome.result
    assert isinstance(result, Descriptions)
    assert result.text.startswith("A dark portrait HD video of 9.7 seconds in 3 scenes, mostly dark blue and black,")
    assert [scene.index for scene in result.scenes] == [0, 1, 2]
    assert result.scenes[0].description == (
        "A dark scene of 2 seconds, mostly dark blue and black, with little movement. The sound is quiet."
    )
    assert (result.model, result.measured) == ("statistics", True)
    assert {scene.described_by for scene in result.scenes} == {"statistics"}
    assert {cell.key for cell in outcome.cells} == set(result.answers)
    assert len(result.answers) == 4


def test_known_answers_are_not_asked_again() -> None:
    cells, model = Cells(), Observed()
    first = cells.keep(descriptions.describe([item()], context(model, cells)))
    model.asked.clear()
    (second,) = descriptions.describe([item()], context(model, cells))
    assert model.asked == []
    assert second.cells == []
    assert second.result == first[0].result


def test_a_moved_cut_costs_the_scenes_it_touches() -> None:
    cells, model = Cells(), Observed()
    cells.keep(descriptions.describe([item()], context(model, cells)))
    model.asked.clear()
    cells.keep(descriptions.describe([item(cuts=(0.0, 2.0, 6.0))], context(model, cells)))
    assert [(request.scope, request.start_s, request.end_s) for request in model.asked] == [
        ("video", 0.0, 9.7), ("scene", 2.0, 6.0), ("scene", 6.0, 9.7),
    ]  # fmt: skip


def test_another_instruction_asks_everything_anew() -> None:
    cells, model = Cells(), Observed()
    cells.keep(descriptions.describe([item()], context(model, cells)))
    model.asked.clear()
    cells.keep(descriptions.describe([item()], context(model, cells, "Answer in French.")))
    assert len(model.asked) == 4
    assert len(cells) == 8


def test_one_videos_fault_is_its_own_and_its_answers_are_kept() -> None:
    model = Observed(failing="b" * 64, fault=MediaError("x"))
    outcomes = list(descriptions.describe([item("a" * 64), item("b" * 64)], context(model)))
    assert [(outcome.sha256[0], outcome.error is None) for outcome in outcomes] == [("a", True), ("b", False)]
    assert outcomes[1].error
    assert outcomes[1].error.message == "The frames are unreadable."
    assert [cell.scope for cell in outcomes[1].cells] == ["video"]


def test_a_model_out_of_reach_is_a_passing_fault_of_every_video() -> None:
    model = Observed(fault=UnavailableError("The endpoint does not answer."))
    outcomes = list(descriptions.describe([item("a" * 64), item("b" * 64)], context(model)))
    assert [outcome.error.transient for outcome in outcomes if outcome.error] == [True, True]


def test_a_stopped_run_records_nothing() -> None:
    stopped = context(StatisticsDescriber())
    stopped.cancelled.set()
    with pytest.raises(Cancelled):
        list(descriptions.describe([item()], stopped))


def test_progress_reaches_the_end() -> None:
    told: list[float] = []
    watched = context(StatisticsDescriber())
    watched.progress = lambda _, fraction: told.append(fraction)
    list(descriptions.describe([item()], watched))
    assert told == sorted(told)
    assert told[-1] == 1.0
