"""Changed rules are planned and applied by the rules that changed alone, with the same end as if all were evaluated."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.rule_delta import RuleDelta
from vidpipe.runner.rule_preview import RULE_STAGES, RulePreview
from vidpipe.settings import Settings
from vidpipe.stages.events import StageEvent
from vidpipe_tests.library import sample_library
from vidpipe_tests.runner.tagged_library import LONG, NAMES, PLAIN, SHARP, write_rules
from vidpipe_tests.runner.test_sweep import Following, contents, due, opened, run

DARK_SCENES = {
    "id": "dark", "scope": "scene", "selections": {"dark": {"brightness|lt": 0.5}}, "tags": ["Dark"],
    "hold": {"share|gte": 0.3},
}  # fmt: skip
CHANGES: dict[str, list[dict[str, Any]]] = {
    "added": [LONG, SHARP],
    "replaced": [{**LONG, "metadata_conditions": [{"duration_gt": 40}]}],
    "of scenes": [LONG, DARK_SCENES],
    "competing": [LONG, {"id": "no", "selections": {"a": {"resolution": "4K"}}, "remove": ["Long"]}],
}


def counts(library: Library) -> tuple[Counter[str], Counter[str]]:
    """How many videos have each tag and category."""
    rows = list(library.collections["videos"].find({}, {"tags.tag": 1, "category.category": 1}))
    return Counter(tag["tag"] for row in rows for tag in row["tags"]), Counter(
        row["category"]["category"] for row in rows
    )


@pytest.mark.parametrize("rules", CHANGES.values(), ids=CHANGES)
def test_a_plan_says_what_applying_it_does_and_the_end_is_that_of_evaluating_afresh(
    settings: Settings, rules: list[dict[str, Any]]
) -> None:
    with opened(settings) as library:
        before = counts(library)
        write_rules(settings, rules)
        plan = Plan.make(library.graph, library.settings, RULE_STAGES)
        assert RuleDelta.of(library, plan) is not None
        preview = RulePreview.of(library, plan)
        assert (preview.compared, preview.waiting) == (len(NAMES), 0)
        commits = library.collections["lineage"].count_documents({"kind": "commit", "stage": "tags"})
        assert run(library).ok
        made = library.collections["lineage"].count_documents({"kind": "commit", "stage": "tags"}) - commits
        assert made == preview.changed
        after = counts(library)
        for changes, old, new in zip((preview.tags, preview.categories), before, after, strict=True):
            assert {one.name: one.videos for one in changes.values() if one.videos} == dict(new)
            assert {one.name: one.gain - one.lose for one in changes.values()} == {
                name: new[name] - old[name] for name in {**old, **new}
            }
        assert not due(library)
        ended = contents(library)["videos"]
    with opened(settings, PLAIN) as library:
        write_rules(settings, rules)
        assert run(library).ok
        assert contents(library)["videos"] == ended


def test_only_what_the_changed_rules_look_at_is_fetched(settings: Settings) -> None:
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP])
        delta = RuleDelta.of(library, Plan.make(library.graph, library.settings))
        assert delta is not None
        assert delta.keys == {"sharp"}
        documents = delta.fetch([sample_library.sha256_of(name) for name in NAMES])
        assert len(documents) == len(NAMES)
        assert all(document["metadata"].keys() == {"resolution"} for document in documents)
        assert all(set(document["scenes"]) == set() for document in documents if "scenes" in document)


@pytest.mark.parametrize("what", ["order", "text is gone", "nothing"])
def test_without_certainty_about_the_former_rules_all_are_evaluated(settings: Settings, what: str) -> None:
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP])
        assert run(library).ok
        if what == "order":
            write_rules(settings, [SHARP, LONG])
        elif what == "text is gone":
            write_rules(settings, [LONG])
            library.collections["lineage"].delete_many({"kind": "text"})
        assert RuleDelta.of(library, Plan.make(library.graph, library.settings)) is None
        assert run(library).ok
        assert not due(library)


def test_an_edit_during_a_sweep_is_applied_by_the_next(settings: Settings) -> None:
    later = [{**LONG, "metadata_conditions": [{"duration_gt": 20}]}, SHARP]
    with opened(settings) as library:
        write_rules(settings, [LONG, SHARP])

        class Edits(Following):
            def on_event(self, event: StageEvent) -> None:
                write_rules(settings, later)

        assert run(library, Edits()).ok
        assert due(library)["tags"] == len(NAMES)
        assert run(library).ok
        ended = contents(library)["videos"]
    with opened(settings, PLAIN) as library:
        write_rules(settings, later)
        assert run(library).ok
        assert contents(library)["videos"] == ended
