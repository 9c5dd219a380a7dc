"""A draft of a rule asks for the same as the query; what rules cannot ask for is refused."""

from __future__ import annotations

from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.search.fields import Fields
from vidpipe.search.rule_draft import draft_rule
from vidpipe_tests.default_graph import GRAPH

FIELDS = Fields(GRAPH)


@pytest.mark.parametrize(
    ("query", "selections", "condition"),
    [
        ("object:cat", {"s1": {"objects": "cat"}}, "s1"),
        ("file:holi*", {"s1": {"file_name|prefix": "holi"}}, "s1"),
        ("-duration:1m..2m", {"s1": {"duration|gte": 60.0, "duration|lte": 120.0}}, "not s1"),
        ("codec:h264 OR tag:Night", {"s1": {"codec": "h264"}, "s2": {"tags": "Night"}}, "(s1 or s2)"),
    ],
)
def test_a_draft_asks_for_the_same(query: str, selections: dict[str, Any], condition: str) -> None:
    drafted = draft_rule(query, FIELDS)
    assert (drafted["selections"], drafted["condition"]) == (selections, condition)


def test_queries_without_latin_letters_give_different_rules() -> None:
    """A draft replaces the rule that has its id."""
    assert draft_rule("猫", FIELDS)["id"] != draft_rule("犬", FIELDS)["id"]


@pytest.mark.parametrize("query", ["object:ca*", "state:due", "category:Sports", "added:>2026", ""])
def test_what_rules_cannot_ask_for_is_refused(query: str) -> None:
    with pytest.raises(SettingsError):
        draft_rule(query, FIELDS)
