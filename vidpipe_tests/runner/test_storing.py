"""What a stage gives is stored whole, or its video has a failure that says why it is not; never neither."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.runner.video_state import RunStamp, VideoState
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, StageResult
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.runner.small_graph import GRAPH as SMALL
from vidpipe_tests.runner.small_graph import PARTS, REPORT, Parts, Report, Said
from vidpipe_tests.runner.test_runner import add, library, run

__all__ = ["library"]  # the fixture


#: Threads of a run.
_OURS = ("committer", "lease-renewer", *(f"{stage.pool}-{number}" for stage in SMALL for number in range(8)))


class Anything(StageResult):
    value: Any


_VALUES: dict[str, Any] = {
    "large": "x" * 17_000_000,
    "large-with-the-rest": "x" * 16_776_500,
    "huge-number": 1 << 70,
    "not-a-number": float("nan"),
    "half-a-character": "\ud83d",
    "good": "fine",
}


def _give(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in items:
        yield Outcome(item.sha256, Anything(value=_VALUES[item["ingest.names"][0]]))


def _copy(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in items:
        yield Outcome(item.sha256, Anything(value=len(item["give.value"])))


GRAPH = StageGraph(
    (
        Stage(name="give", job="label", description="-", result=Anything, function=_give, reads=("ingest.names",),
              batch_size=8),
        Stage(name="copy", job="label", description="-", result=Anything, function=_copy, reads=("give.value",)),
    )
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [name for name in _VALUES if name != "good"])
def test_a_result_that_mongodb_cannot_hold_fails_its_video_alone_and_only_once(settings: Settings, name: str) -> None:
    with Library.open(settings, GRAPH) as opened:
        bad, good = add(opened, name, "good")
        report = Runner(opened, Plan.make(GRAPH, settings)).run()
        assert [event.sha256 for event in report.failures if event.stage == "give"] == [bad]
        assert "cannot be stored" in str(report.failures[0].error)
        stages = opened.videos.get(bad)["stages"]  # type: ignore[index]
        assert (stages["give"]["status"], stages["copy"]["status"]) == ("failed", "new")
        assert opened.videos.get(good)["copy"] == {"value": 4}  # type: ignore[index]
        assert opened.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
        kept = list(opened.collections["lineage"].find({"video": bad, "kind": "commit"}))
        assert [(entry["stage"], entry["status"]) for entry in kept] == [("give", "failed")]
        assert Runner(opened, Plan.make(GRAPH, settings)).run().videos == 0, "it would be tried again for ever"


def test_scenes_keep_what_another_stage_said_when_they_are_replaced_and_come_back(library: Library) -> None:
    """The scenes of another threshold come and go before the stage that speaks about scenes has run."""
    (sha256,) = add(library, "ab")
    assert run(library).ok
    before = _said(library, sha256)
    assert before == ["PART 0", "PART 1"]
    _cut_anew(library, ["other 0", "other 1", "other 2"])
    _cut_anew(library, ["part 0", "part 1"])
    assert run(library).ok
    assert _said(library, sha256) == before


def test_scenes_that_changed_get_a_description_that_did_not(library: Library) -> None:
    (sha256,) = add(library, "ab")
    assert run(library).ok
    _cut_anew(library, ["Part 0", "Part 1"])
    assert _said(library, sha256) == [None, None]
    assert run(library).ok
    assert _said(library, sha256) == ["PART 0", "PART 1"]


def _said(library: Library, sha256: str) -> list[str | None]:
    return [row.get("said") for row in library.videos.scenes([sha256])[sha256]]


def _cut_anew(library: Library, texts: list[str]) -> RunReport:
    """The stage `parts` is run alone, and finds `texts`."""

    def cut(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in items:
            parts = [{"index": number, "text": text} for number, text in enumerate(texts)]
            yield Outcome(item.sha256, result=Parts.model_validate({"parts": parts, "count": len(parts)}))

    changed = replace(PARTS, function=cut)
    graph = StageGraph(changed if stage is PARTS else stage for stage in SMALL)
    plan = Plan.make(graph, library.settings, ["parts"])
    return Runner(library, plan).run(RunRequest(force=frozenset({"parts"})))


def test_a_server_that_refuses_to_write_ends_the_run_with_a_sentence_and_blames_no_video(library: Library) -> None:
    """As a full disk or a right that is missing does; a validator is what a test can have without root."""
    add(library, "aa", "bb")
    videos = library.collections["videos"]
    library.connection.database.command(
        {"collMod": videos.name, "validator": {"stages.length.status": {"$ne": "ok"}}, "validationLevel": "strict"}
    )
    threads = set(threading.enumerate())
    with pytest.raises(UnavailableError, match="refused an operation"):
        run(library)
    assert {thread for thread in threading.enumerate() if thread.name in _OURS} <= threads
    assert videos.count_documents({"lease": {"$exists": True}}) == 0
    assert videos.count_documents({"stages.length.status": "new"}) == 2
    library.connection.database.command({"collMod": videos.name, "validator": {}})
    assert run(library).total("computed") == 6


@pytest.mark.timeout(30)
@pytest.mark.parametrize("state", ["started", "computed", "current"])
def test_a_fault_of_whoever_watches_ends_the_run_instead_of_hanging_it(library: Library, state: str) -> None:
    add(library, "aa", "bb")

    class Faulty:
        def on_event(self, event: StageEvent) -> None:
            if event.state == state:
                raise RuntimeError("the display broke")

        def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...

    if state == "current":
        run(library, stages=["length"])
    threads = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="the display broke"):
        Runner(library, Plan.make(SMALL, library.settings), Faulty()).run()
    assert {thread for thread in threading.enumerate() if thread.name in _OURS} <= threads
    assert library.collections["videos"].count_documents({"lease": {"$exists": True}}) == 0
    assert run(library).ok


def test_a_stage_sees_the_scenes_of_an_earlier_run_before_what_this_run_adds_to_them_is_stored(
    library: Library,
) -> None:
    (video,) = add(library, "ab")
    run(library)
    document = library.videos.get(video)
    assert document
    state = VideoState(
        document, SMALL, lambda sha256, generation: library.videos.scenes_of({sha256: generation})[sha256]
    )
    louder = Report(text="loud", said=tuple(Said(index=index, said="!") for index in range(2)))
    state.prepare(REPORT, "other", RunStamp("later", datetime.now(UTC)), Outcome(video, louder), 0.0)
    fields = state.item(REPORT, ("parts.parts", "report.said")).fields
    assert [part.text for part in fields["parts.parts"]] == ["part 0", "part 1"]
    assert [one.said for one in fields["report.said"]] == ["!", "!"]
