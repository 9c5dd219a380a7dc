"""Changed rules are applied by one sweep, at once or when the schedule says so: real rules files, real runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.rule_changes import ProposedRules
from vidpipe.settings import Settings, load
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.library import sample_library
from vidpipe_tests.pipeline.sensors.ticks import Ticks, config
from vidpipe_tests.runner.small_graph import LENGTH, PARTS, REPORT, calls

#: `report` of the small graph, with the rules of the home in its spec.
GRAPH = StageGraph(
    (
        LENGTH,
        PARTS,
        Stage(
            name="report", job="label", description=REPORT.description, result=REPORT.result, function=REPORT.function,
            reads=REPORT.reads, resources=("custom_tags",), batch_size=8,
        ),
    )
)  # fmt: skip
Add = Callable[..., list[str]]


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def rules(library: Library, dagster: dg.DagsterInstance) -> Ticks:
    return Ticks(library, dagster, GRAPH, "changed_rules")


@pytest.fixture
def labelled(library: Library, dagster: dg.DagsterInstance, add: Add) -> list[str]:
    """Three videos, up to date."""
    ids = add("a", "bb", "ccc")
    due = Ticks(library, dagster, GRAPH, "due_videos")
    for _ in range(2):
        for request in due.requests():
            assert due.run(request).success
    return ids


def change_rules(settings: Settings, tag: str) -> None:
    file = settings.home / "rules" / "custom_tags.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps({"rules": [*found["rules"], {**found["rules"][0], "name": tag, "tags": [tag]}]}))


def reported(settings: Settings) -> int:
    return len(calls(settings, "report"))


def test_changed_rules_are_applied_in_one_run_and_by_nobody_else(
    rules: Ticks, labelled: list[str], settings: Settings, dagster: dg.DagsterInstance, add: Add
) -> None:
    assert rules.skipped() == "The library is labelled with today's rules."
    change_rules(settings, "New")
    due = Ticks(rules.library, dagster, GRAPH, "due_videos")
    assert due.skipped() == "Nothing is due.", "what changed rules made due is the sweep's"
    (sweep,) = rules.requests()
    assert (sweep.job_name, config(sweep)) == ("label_list", {"keys": []})
    assert sweep.tags["vidpipe/by"] == "sensor"
    assert sweep.tags["vidpipe/step"] == "label"
    queued = rules.queue(sweep)
    assert rules.skipped().startswith("Changed rules are being applied")
    change_rules(settings, "Newer")
    assert rules.skipped().startswith("Changed rules are being applied"), "never two sweeps at once"
    dagster.report_run_canceled(queued)
    (again,) = rules.requests()
    assert rules.run(again).success
    assert reported(settings) == 2 * len(labelled)
    assert rules.skipped() == "The library is labelled with today's rules."
    add("dddd")
    assert rules.skipped() == "The library is labelled with today's rules.", "new videos are no sweep's business"


def test_rules_that_are_half_written_wait_until_they_are_whole(
    rules: Ticks, labelled: list[str], settings: Settings
) -> None:
    file = settings.home / "rules" / "custom_tags.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    assert "custom_tags.json" in rules.skipped()
    file.write_text("")
    assert "custom_tags.json" in rules.skipped()
    file.write_text(whole)
    assert rules.skipped() == "The library is labelled with today's rules."


def test_a_sweep_that_changes_nothing_is_not_repeated_on_and_on(
    rules: Ticks, labelled: list[str], settings: Settings, dagster: dg.DagsterInstance
) -> None:
    change_rules(settings, "New")
    for _ in range(2):
        (sweep,) = rules.requests()
        dagster.report_run_failed(rules.queue(sweep))
    assert "2 sweeps with today's rules left videos" in rules.skipped()
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("vidpipe.pipeline.sensors.rule_sweep.time.time", lambda: now + 61)
        assert len(rules.requests()) == 1
    change_rules(settings, "Newer")
    assert len(rules.requests()) == 1, "other rules are tried at once"


def test_with_a_schedule_the_sensor_leaves_new_rules_to_it(
    rules: Ticks, labelled: list[str], settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> None:
    without = build_definitions(GRAPH, load(settings.home).settings).get_repository_def()
    assert not without.has_schedule_def("changed_rules_schedule")
    file = settings.home / "config.ini"
    file.write_text(file.read_text().replace("\nSchedule =\n", "\nSchedule = 15 3 * * *\n", 1))
    assert load(settings.home).settings.rules.schedule == "15 3 * * *"
    scheduled = Ticks(library, dagster, GRAPH, "changed_rules_schedule")
    assert scheduled.skipped() == "The library is labelled with today's rules."
    change_rules(settings, "New")
    assert rules.skipped() == "Changed rules wait for Schedule of [Rules]: 15 3 * * *."
    (sweep,) = scheduled.requests()
    dagster.report_run_failed(scheduled.queue(sweep))
    (again,) = rules.requests()
    assert rules.run(again).success, "what the schedule began is gone on with"
    assert rules.skipped() == "The library is labelled with today's rules."
    assert reported(settings) == 2 * len(labelled)


def test_a_schedule_that_was_changed_while_the_servers_run_is_told(settings: Settings, rules: Ticks) -> None:
    repository: Any = build_definitions(GRAPH, load(settings.home).settings).get_repository_def()
    file = settings.home / "config.ini"
    file.write_text(file.read_text().replace("\nSchedule =\n", "\nSchedule = 15 3 * * *\n", 1))
    resources = {"library": LibraryResource(home=str(settings.home))}
    with dg.build_sensor_context(rules.dagster, resources=resources, repository_def=repository) as context:
        ticked = repository.get_sensor_def("changed_rules").evaluate_tick(context)
    assert "restart `vidpipe up`" in str(ticked.skip_message)


def test_a_new_file_in_rules_is_noticed_and_an_invalid_one_leaves_the_library_as_it_is(
    rules: Ticks, labelled: list[str], settings: Settings
) -> None:
    more = settings.home / "rules" / "more.yaml"
    more.write_text("rules: [")
    assert "more.yaml" in rules.skipped()
    assert reported(settings) == len(labelled)
    more.write_text("rules:\n- {id: new, selections: {s: {width|gt: 1}}, tags: [New]}\n")
    (sweep,) = rules.requests()
    assert rules.run(sweep).success
    assert reported(settings) == 2 * len(labelled)


def test_edited_rules_wait_for_approval_and_the_sensor_says_so(
    rules: Ticks, labelled: list[str], settings: Settings, library: Library
) -> None:
    ProposedRules.of(settings, {}).put(library, "command", changed={})
    file = settings.home / "config.ini"
    file.write_text(file.read_text().replace("\nApply = automatic\n", "\nApply = approve\n", 1))
    assert load(settings.home).settings.rules.apply == "approve"
    change_rules(settings, "New")
    assert rules.skipped() == "Edited rules wait for `vidpipe rules apply` ([Rules] Apply = approve)."
    ProposedRules.of(load(settings.home).settings, {}).put(library, "page", changed={})
    assert len(rules.requests()) == 1


def test_an_invalid_file_turns_the_check_red_until_it_is_mended(library: Library, dagster: dg.DagsterInstance) -> None:
    home = library.settings.home
    ticks = Ticks(library, dagster, sample_library.GRAPH, "changed_rules")

    def evaluations() -> list[tuple[bool | None, str | None]]:
        """What the tick reports; a daemon keeps its cursor."""
        return [(event.passed, event.description) for event in ticks.tick().asset_events]

    (home / "rules" / "more.yaml").write_text("rules:\n- {id: x}\n")
    ((passed, said),) = evaluations()
    assert not passed
    assert said is not None
    assert "rules/more.yaml, rule 1" in said
    (home / "rules" / "more.yaml").unlink()
    assert evaluations() == [], "the first tick of a home without a fault reports nothing"
