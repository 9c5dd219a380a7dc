"""Rules are planned, applied and undone over a real library; whatever happens, it ends as its rules say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.rule_history import record_version, rule_versions, texts_of
from vidpipe.runner.plan import Plan
from vidpipe.runner.rule_changes import ProposedRules, edits_wait, parsed_rules, record_in_force, rules_problem
from vidpipe.settings import Settings
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.rule_files import rule_texts
from vidpipe.tagging.rules import build_rules
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, NAMES, SHARP, write_rules
from vidpipe_tests.runner.test_sweep import opened, run

BOTH: list[dict[str, object]] = [{**LONG}, {**SHARP}]
SHARP_DRAFT = {"sharp.yaml": json.dumps({"rules": [
    {"id": "sharp", "selections": {"s": {"resolution": "4K"}}, "tags": ["Sharp"]}
]})}  # fmt: skip


def labels(library: Library) -> dict[str, Any]:
    """Tags and category of each video."""
    rows = library.collections["videos"].find({}, {"tags": 1, "category.category": 1})
    return {row["_id"]: (sorted(tag["tag"] for tag in row["tags"]), row["category"]["category"]) for row in rows}


def everything(library: Library) -> list[Any]:
    """The same, with evidence and the tags of scenes."""
    wanted = {"tags": 1, "scene_tags": 1, "category": 1, "ingest.verdicts": 1}
    return list(library.collections["videos"].find({}, wanted).sort("_id", 1))


def apply(library: Library, settings: Settings, drafts: dict[str, str]) -> dict[str, Any]:
    proposed = ProposedRules.of(settings, drafts)
    planned = proposed.preview(library, GRAPH)
    proposed.put(library, "command", changed=planned)
    assert run(library).ok
    return planned


def return_to(library: Library, settings: Settings, number: int) -> None:
    ProposedRules.returning(library, settings, number).put(library, "command", changed={})
    assert run(library).ok


def test_what_was_planned_is_what_applying_does_and_undo_restores_it(settings: Settings) -> None:
    with opened(settings) as library:
        settings = library.settings
        record_in_force(library, Plan.make(GRAPH, settings), "command")
        before, files = labels(library), rule_texts(settings)
        planned = apply(library, settings, SHARP_DRAFT)
        after = labels(library)
        gained = {sha256 for sha256 in after if after[sha256] != before[sha256]}
        assert (planned["changed"], planned["compared"]) == (len(gained), len(NAMES))
        assert planned["tags"]["Sharp"]["gain"] == len(gained) == 6
        assert planned["categories"]["Sports"]["gain"] == 6
        assert planned["rules"]["sharp"] == {"before": 0, "after": 6}
        assert set(planned["names"]) <= gained
        return_to(library, settings, 1)
        assert labels(library) == before
        assert rule_texts(settings) == files
        return_to(library, settings, 2)
        assert labels(library) == after, "every version can be applied again"
        kept = list(rule_versions(library.collections["lineage"]))
        assert [version.number for version in kept] == [4, 3, 2, 1]
        assert kept[2].changed["changed"] == 6


def test_categories_of_further_files_are_planned_as_a_run_applies_them(settings: Settings) -> None:
    write_rules(settings, BOTH)
    (settings.home / "rules" / "own.yaml").write_text("categories: [{name: Curling, keywords: curling}]")
    planned, applied = parsed_rules(rule_texts(settings), settings)["categories"], build_categories(settings)
    assert "Curling" in {category.name for category in planned.categories}
    assert planned.version == applied.version


def test_undo_restores_the_very_bytes_of_files_with_other_line_ends(settings: Settings) -> None:
    with opened(settings) as library:
        settings = library.settings
        files = [settings.home / "rules" / name for name in ("custom_tags.json", "mine.yaml")]
        files[0].write_bytes(files[0].read_bytes().replace(b"{", b"\r\n{"))
        files[1].write_bytes(b"\xef\xbb\xbfrules:\r\n  # mine\r\n  - id: sharp\r\n    selections:\r\n"
                             b"      s: {resolution: 8K}\r\n    tags: [Sharp]\r\n")  # fmt: skip
        before = [path.read_bytes() for path in files]
        record_in_force(library, Plan.make(GRAPH, settings), "command")
        draft = {"rules": [{**LONG, "tags": ["Longest"]}, *json.loads(SHARP_DRAFT["sharp.yaml"])["rules"]]}
        ProposedRules.of(settings, {"d.json": json.dumps(draft)}).put(library, "command", changed={})
        assert all(path.read_bytes() != old for path, old in zip(files, before, strict=True))
        ProposedRules.returning(library, settings).put(library, "command", changed={})
        assert [path.read_bytes() for path in files] == before


def test_of_two_applied_at_once_one_is_refused_and_the_other_is_in_force(settings: Settings) -> None:
    drafts = [{f"{name}.yaml": SHARP_DRAFT["sharp.yaml"].replace('"sharp"', f'"{name}"')} for name in ("one", "two")]
    with opened(settings) as library:
        record_in_force(library, Plan.make(GRAPH, library.settings), "command")
        proposed = [ProposedRules.of(library.settings, draft) for draft in drafts]
        with ThreadPoolExecutor(2) as pool:
            begun = [pool.submit(one.put, library, "command", changed={}) for one in proposed]
        refused = [one.exception() for one in begun]
        assert [type(one) for one in refused if one] == [SettingsError]
        latest = next(rule_versions(library.collections["lineage"]))
        assert texts_of(library.collections["lineage"], latest) == rule_texts(library.settings)
        assert rule_texts(library.settings) == proposed[0 if refused[1] else 1].texts


def test_versions_are_recorded_in_order_though_the_clock_goes_back(settings: Settings) -> None:
    with opened(settings) as library:
        lineage = library.collections["lineage"]
        for number in range(1, 4):
            assert record_version(lineage, {"a.yaml": f"rules: [] # {number}"}, {"custom_tags": "x"}, "command")
            lineage.update_one({"_id": f"rules:{number}"}, {"$set": {"at": datetime(2100, 1, 1, tzinfo=UTC)}})
        assert [one.number for one in rule_versions(lineage)] == [3, 2, 1]


def test_a_plan_holds_only_for_the_rules_and_the_library_that_it_was_made_for(settings: Settings) -> None:
    with opened(settings) as library:
        proposed = ProposedRules.of(library.settings, SHARP_DRAFT)
        planned = json.loads(json.dumps(proposed.preview(library, GRAPH)))
        proposed.check(planned, library)
        library.changes.take()
        with pytest.raises(SettingsError, match="have changed since"):
            proposed.check(planned, library)
        planned = proposed.preview(library, GRAPH)
        write_rules(settings, BOTH)
        with pytest.raises(SettingsError, match="have changed since"):
            proposed.put(library, "command", changed=planned)
        with pytest.raises(SettingsError, match="have changed since"):
            ProposedRules.of(library.settings, {}).check(planned, library)


def test_edited_rules_wait_for_approval_in_every_process(settings: Settings) -> None:
    with opened(settings) as library:
        record_in_force(library, Plan.make(GRAPH, library.settings), "command")
        rules = library.settings.rules.model_copy(update={"apply": "approve"})
        waiting = library.settings.model_copy(update={"rules": rules})
        write_rules(settings, BOTH, sports=["Long"])
        (settings.home / "rules" / "more.yaml").write_text("rules: [")
        assert [rule.name for rule in build_rules(waiting).rules] == ["long"]
        assert edits_wait(waiting)
        assert "more.yaml" in rules_problem(waiting)
        with pytest.raises(SettingsError, match=r"more\.yaml"):
            ProposedRules.of(waiting, {}).preview(library, GRAPH)
        (settings.home / "rules" / "more.yaml").unlink()
        proposed = ProposedRules.of(waiting, {})
        assert proposed.preview(library, GRAPH)["tags"]["Sharp"]["gain"] == 6
        proposed.put(library, "page", changed={})
        assert [rule.name for rule in build_rules(waiting).rules] == ["long", "sharp"]
        assert not edits_wait(waiting)


def test_a_run_that_began_before_an_edit_neither_records_nor_approves_it(settings: Settings) -> None:
    with opened(settings) as library:
        lineage = library.collections["lineage"]
        plan = Plan.make(GRAPH, library.settings)
        write_rules(settings, BOTH)
        record_in_force(library, plan, "command")
        assert not list(rule_versions(lineage))
        write_rules(settings, BOTH[:1])
        record_in_force(library, plan, "command")
        lineage.update_one({"_id": "rules:1"}, {"$set": {"at": datetime(2099, 1, 1, tzinfo=UTC)}})
        ProposedRules.of(library.settings, SHARP_DRAFT).put(library, "command", changed={})
        assert [one.number for one in rule_versions(lineage)] == [2, 1], "though the clock was set back"


def test_texts_from_elsewhere_write_no_file_outside_the_folder_of_rules(settings: Settings) -> None:
    with opened(settings) as library:
        base = rule_texts(library.settings, edited=True)
        for name in ("../evil.yaml", "rules/../../evil.yaml", "/nowhere/evil.yaml", "rules/prompts/evil.yaml"):
            with pytest.raises(SettingsError, match="not in the folder of rules"):
                ProposedRules(library.settings, base, base | {name: "rules: []"}).put(library, "page", changed={})


def _any_order(settings: Settings, seed: int, steps: int) -> None:
    """Edits, applies, undos, runs and kills between writing and running, in any order."""
    chance = random.Random(seed)
    with opened(settings) as library:
        record_in_force(library, Plan.make(GRAPH, library.settings), "command")
        for _ in range(steps):
            today = library.settings
            match chance.randrange(4):
                case 0:
                    rules = [rule for rule in BOTH if chance.random() < 0.7] or BOTH[:1]
                    write_rules(settings, rules, chance.choice([["Sharp"], ["Long"]]))
                case 1:
                    value = chance.choice([20, 30, 40])
                    rule = {"id": "longer", "selections": {"s": {"duration|gt": value}}, "tags": ["Longer", "Long"]}
                    ProposedRules.of(today, {"l.yaml": json.dumps({"rules": [rule]})}).put(library, "a", changed={})
                case 2:
                    versions = list(rule_versions(library.collections["lineage"]))
                    number = chance.choice(versions).number
                    ProposedRules.returning(library, today, number, discard_edits=True).put(library, "b", changed={})
                case _:
                    run(library)
        run(library)
        swept = labels(library)
        for stage in ("tags", "categories"):
            library.collections["videos"].update_many({}, {"$set": {f"stages.{stage}.spec": ""}})
        assert run(library).ok
        assert labels(library) == swept


@pytest.mark.parametrize("seed", [1, 2])
def test_edits_applies_and_kills_in_any_order_end_as_a_fresh_evaluation(settings: Settings, seed: int) -> None:
    _any_order(settings, seed, 6)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 40))
def test_many_orders_of_edits_applies_and_kills_end_as_a_fresh_evaluation(settings: Settings, seed: int) -> None:
    _any_order(settings, seed, 25)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_processes_that_change_rules_and_verdicts_can_be_killed_at_any_moment(
    settings: Settings, mongod_uri: str, seed: int
) -> None:
    chance = random.Random(seed)
    module = "vidpipe_tests.runner.changes_at_random"
    environment = {**os.environ, "SMALL_RUN_URI": mongod_uri}
    with opened(settings) as library:
        record_in_force(library, Plan.make(GRAPH, library.settings), "command")
        database = library.settings.mongodb.database_name
        for kill in range(3):
            commands = [[sys.executable, "-m", module, str(settings.home), database, f"{seed}{kill}{number}"]
                        for number in range(2)]  # fmt: skip
            processes = [subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2],
                                          stdout=subprocess.PIPE) for command in commands]  # fmt: skip
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == b"begun\n"
            for process in processes:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.05, 3))
                process.kill()
                process.communicate()
        library.verdicts.repair()
        assert run(library).ok
        swept = everything(library)
        for stage in ("tags", "categories"):
            library.collections["videos"].update_many({}, {"$set": {f"stages.{stage}.spec": ""}})
        assert run(library).ok
        assert everything(library) == swept
        for row in library.collections["videos"].find():
            said = [(one["name"], one["right"], one["kind"], one["start_s"]) for one in row["ingest"]["verdicts"]]
            given = [(one["tag"], one["verdict"] == "yes", one["kind"], one["start_s"])
                     for one in library.collections["verdicts"].find({"video": row["_id"]})]  # fmt: skip
            assert sorted(said, key=str) == sorted(given, key=str)
        texts = [texts_of(library.collections["lineage"], one) for one in rule_versions(library.collections["lineage"])]
        for one in texts:
            parsed_rules(one, library.settings)
