"""Stages that read optionally: nothing waits for an analysis, its results make only its readers due, and processes in
which it is disabled neither lose its results nor leave them outdated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.library.queries.show import overall_state
from vidpipe.runner.due import count_due
from vidpipe.runner.plan import Plan, what_changed
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Outcome, OutOfReach, Stage, StageContext, StageError, StageResult
from vidpipe.stages.graph import ANALYSES_CHANGED, StageGraph
from vidpipe.stages.ingest_facts import IngestFacts


class Length(StageResult):
    letters: int


class Heard(StageResult):
    words: str


class Told(StageResult):
    text: str


def note(context: StageContext, stage: str, item: Item) -> None:
    with (context.settings.home / f"{stage}.calls").open("a") as file:
        file.write(item.sha256 + "\n")


def measure(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in batch:
        note(context, "length", item)
        yield Outcome(item.sha256, result=Length(letters=len(item["ingest.names"][0])))


def hear(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Say what the file `words` in the home says."""
    for item in batch:
        note(context, "heard", item)
        words = context.settings.home / "words"
        if (context.settings.home / "away").exists():
            raise OutOfReach("Its model cannot be loaded.")
        if words.exists():
            yield Outcome(item.sha256, result=Heard(words=f"{words.read_text()} {item['length.letters']}"))
        else:
            yield Outcome(item.sha256, error=StageError("It cannot be heard."))


def tell(stage: str) -> Any:
    def function(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in batch:
            note(context, stage, item)
            heard = item.fields.get("heard.words", "disabled")
            yield Outcome(item.sha256, result=Told(text=f"{item['length.letters']}, {heard}"))

    return function


LENGTH = Stage("length", "prepare", "measures", Length, measure, ("ingest.names",))
HEARD = Stage("heard", "prepare", "hears", Heard, hear, ("length.letters",), optional=True)
COSTLY = Stage("costly", "describe", "tells", Told, tell("costly"), ("length.letters",), ("heard.words",), costly=True)
CHEAP = Stage("cheap", "label", "tells", Told, tell("cheap"), ("length.letters",), ("heard.words",), quick=True)
ENABLED, DISABLED = StageGraph((LENGTH, HEARD, COSTLY, CHEAP)), StageGraph((LENGTH, COSTLY, CHEAP))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    (settings.home / "words").write_text("hello")
    return settings


def add(library: Library, name: str) -> str:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    library.videos.add(sha256, IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
    return sha256


def run(library: Library, graph: StageGraph, **options: Any) -> RunReport:
    return Runner(library, Plan.make(graph, library.settings)).run(RunRequest(**options))


def process(settings: Settings, graph: StageGraph, *names: str) -> None:
    """Add videos and run, like a command in a process of its own."""
    with Library.open(settings, graph) as library:
        for name in names:
            add(library, name)
        assert run(library, graph).ok


def states(settings: Settings, graph: StageGraph) -> dict[str, dict[str, int]]:
    with Library.open(settings, graph) as library:
        counts = library.states.counts(Plan.make(graph, settings).specs)
        return {stage: {state: n for state, n in of_stage.items() if n} for stage, of_stage in counts.items()}


def texts(settings: Settings, stage: str = "cheap") -> set[str]:
    with Library.open(settings, ENABLED) as library:
        return {row[stage]["text"] for row in library.collections["videos"].find()}


def calls(settings: Settings, stage: str) -> int:
    path = settings.home / f"{stage}.calls"
    return len(path.read_text().split()) if path.exists() else 0


def test_a_graph_leaves_out_optional_reads_of_stages_that_it_lacks() -> None:
    assert ENABLED["cheap"].all_reads == ("length.letters", "heard.words")
    assert DISABLED["cheap"].all_reads == ("length.letters",)
    assert (ENABLED.upstream("cheap"), ENABLED.sources("cheap")) == (("length",), ("length", "heard"))
    assert ENABLED.direct_downstream("heard") == ()
    assert ENABLED.downstream("heard") == ("costly", "cheap")
    assert ENABLED.outdated("heard", ["words"]) == {"cheap.stale": True, "costly.spec": ANALYSES_CHANGED}
    assert ENABLED.outdated("length", ["letters"]) == {f"{n}.stale": True for n in ("heard", "costly", "cheap")}
    with pytest.raises(ValueError, match=r"heard\.pitch, which heard does not give"):
        StageGraph((LENGTH, HEARD, Stage("x", "label", "", Told, tell("x"), (), ("heard.pitch",))))


def test_a_new_video_is_described_once_with_what_was_heard(settings: Settings) -> None:
    process(settings, ENABLED, "ab")
    assert texts(settings) == texts(settings, "costly") == {"2, hello 2"}
    assert (calls(settings, "costly"), calls(settings, "cheap")) == (1, 1)
    assert states(settings, ENABLED) == {name: {"current": 1} for name in ENABLED.names}


def test_nothing_waits_for_a_failed_analysis(settings: Settings) -> None:
    (settings.home / "words").unlink()
    with Library.open(settings, ENABLED) as library:
        sha256 = add(library, "ab")
        report = run(library, ENABLED)
        assert (report.total("failed"), report.total("computed"), report.total("blocked")) == (1, 3, 0)
        entry = library.videos.get(sha256)["stages"]["cheap"]  # type: ignore[index]
        assert entry["inputs"]["heard"] == {"words": ""}
        assert texts(settings) == {"2, None"}
        (settings.home / "words").write_text("hello")
        run(library, ENABLED, retry=True)
        assert texts(settings) == {"2, hello 2"}


def test_nothing_waits_for_an_analysis_whose_model_is_out_of_reach(settings: Settings) -> None:
    (settings.home / "away").touch()
    with Library.open(settings, ENABLED) as library:
        add(library, "ab")
        add(library, "abc")
        report = run(library, ENABLED)
        assert (report.total("computed"), report.total("failed"), list(report.problems)) == (6, 0, ["heard"])
    assert states(settings, ENABLED)["heard"] == {"due": 2}
    (settings.home / "away").unlink()
    process(settings, ENABLED)
    assert texts(settings) == {"2, hello 2", "3, hello 3"}


def test_what_an_analysis_finds_later_makes_cheap_readers_stale_and_costly_ones_wait(settings: Settings) -> None:
    process(settings, ENABLED, "ab", "abc")
    (settings.home / "words").write_text("bye")
    with Library.open(settings, ENABLED) as library:
        plan = Plan.make(ENABLED, settings, ["heard"])
        Runner(library, plan).run(RunRequest(stages=["heard"], force=("heard",)))
        whole = Plan.make(ENABLED, settings)
        found = count_due(library, whole, RunRequest()).stages
        assert (dict(found["costly"].why), dict(found["cheap"].why)) == ({"spec": 2}, {"inputs": 2})
        assert what_changed(library, whole, ENABLED["costly"], ANALYSES_CHANGED) == "what heard found"
    process(settings, ENABLED)
    assert texts(settings, "costly") == {"2, bye 2", "3, bye 3"}
    with Library.open(settings, ENABLED) as library:  # the same again
        Runner(library, plan).run(RunRequest(stages=["heard"], force=("heard",)))
    assert states(settings, ENABLED) == {name: {"current": 2} for name in ENABLED.names}


def test_enabling_and_disabling_keep_results_and_change_only_the_readers(settings: Settings) -> None:
    process(settings, DISABLED, "ab")
    assert states(settings, ENABLED)["heard"] == {"due": 1}
    process(settings, ENABLED)
    assert texts(settings) == {"2, hello 2"}
    process(settings, DISABLED)
    assert texts(settings) == {"2, disabled"}
    process(settings, ENABLED)
    assert texts(settings) == {"2, hello 2"}
    assert (calls(settings, "length"), calls(settings, "heard")) == (1, 1)


def test_a_video_that_was_added_elsewhere_gets_the_analysis(settings: Settings) -> None:
    with Library.open(settings, ENABLED) as library:
        process(settings, DISABLED, "ab")
        (row,) = library.collections["videos"].find()
        assert "status" not in row["stages"].get("heard", {})
        assert overall_state(row, Plan.make(ENABLED, settings).specs) == "due"
        assert run(library, ENABLED).ok
        assert texts(settings) == {"2, hello 2"}
    process(settings, DISABLED, "abc")
    assert states(settings, ENABLED)["heard"] == {"current": 1, "due": 1}
    process(settings, ENABLED)
    assert texts(settings) == {"2, hello 2", "3, hello 3"}


def test_results_become_outdated_while_their_analysis_is_disabled(settings: Settings) -> None:
    process(settings, ENABLED, "ab")
    with Library.open(settings, DISABLED) as library:
        (sha256,) = (row["_id"] for row in library.collections["videos"].find({}, {"_id": 1}))
        library.videos.add(sha256, IngestFacts(path="ab", size_bytes=1, modified_ns=1, names=("aaaa",)))
        run(library, DISABLED)
    assert states(settings, ENABLED)["heard"] == {"due": 1}
    process(settings, ENABLED)
    assert texts(settings) == {"4, hello 4"}
    assert texts(settings, "costly") == {"4, hello 4"}


def test_two_processes_with_other_analyses_agree_in_the_end(settings: Settings) -> None:
    with Library.open(settings, ENABLED) as with_it, Library.open(settings, DISABLED) as without:
        add(without, "ab")
        add(with_it, "abc")
        run(without, DISABLED)
        run(with_it, ENABLED)
        run(without, DISABLED)
        assert states(settings, DISABLED) == {name: {"current": 2} for name in DISABLED.names}
        process(settings, ENABLED)
        assert states(settings, ENABLED) == {name: {"current": 2} for name in ENABLED.names}
        assert texts(settings) == {"2, hello 2", "3, hello 3"}
        assert calls(settings, "length") == 2


def test_the_sweep_confirms_readers_whose_text_stays_the_same(settings: Settings) -> None:
    process(settings, ENABLED, *("x" * n for n in range(1, 30)))
    changed = StageGraph([LENGTH, HEARD, COSTLY, replace(CHEAP, code_version="2")])
    with Library.open(settings, changed) as library:
        before = library.collections["lineage"].count_documents({"stage": "cheap"})
        report = run(library, changed)
        assert (report.total("computed"), report.ok) == (29, True)
        assert library.collections["lineage"].count_documents({"stage": "cheap"}) == before
    assert len(texts(settings)) == 29
