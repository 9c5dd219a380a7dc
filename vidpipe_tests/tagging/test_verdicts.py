"""Verdicts and rules: synonyms, narrower tags, tags that exclude one another, and rules that check tags."""

from __future__ import annotations

import json
from typing import Any

from vidpipe.tagging.evaluation import Tagging, evaluate
from vidpipe.tagging.explanation import tag_effects
from vidpipe.tagging.facts import Judgement
from vidpipe.tagging.rules import RuleSet, parse_rules
from vidpipe_tests.tagging.facts import facts_of


def rule(id: str, *tags: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "tags": list(tags), "selections": {"s": {"description|word": id}}, "condition": "s", **more}


VOCABULARY = {
    "synonyms": {"Car": ["Automobile"]}, "hierarchy": {"Aerial Shot": ["Drone Footage"]},
    "exclusive": [["Indoor", "Outdoor"]],
}  # fmt: skip
RULES: RuleSet = parse_rules(json.dumps({"vocabulary": VOCABULARY, "rules": [
    rule("drone", "Drone Footage"), rule("street", "Outdoor", "Car", priority=1000),
    rule("race", "Race", selections={"s": {"tags": ["Car"]}}),
    rule("dark", "Dark", selections={"s": {"brightness|lt": 0.2}}),
    rule("bright", "Bright", selections={"s": {"brightness|lt": 0.2}}, condition="not s"),
]}))  # fmt: skip


def outcome(text: str = "", **said: bool) -> Tagging:
    verdicts = {name.replace("_", " "): right for name, right in said.items()}
    judged = {key: Judgement(key.title(), right, "ada said so") for key, right in verdicts.items()}
    return evaluate(RULES, facts_of(description=text, verdicts=judged))


def tags(text: str = "", **said: bool) -> dict[str, str]:
    return {tag.tag: tag.given_by for tag in outcome(text, **said).tags}


def test_a_synonym_in_a_verdict_is_its_tag_which_rules_see() -> None:
    assert tags("street") == {"Outdoor": "rule", "Car": "rule", "Race": "rule"}
    assert tags("street", automobile=False) == {"Outdoor": "rule"}
    assert outcome(automobile=False).removed == {"car"}
    assert tags(automobile=True) == {"Car": "person", "Race": "rule"}


def test_the_explanation_of_a_tag_names_a_verdict_on_its_synonym() -> None:
    facts = facts_of(verdicts={"automobile": Judgement("Automobile", False, "ada said so")})
    for tag in ("Car", "Automobile"):
        effects = list(tag_effects(RULES.vocabulary, tag, facts, evaluate(RULES, facts), ()))
        assert "a verdict: no; ada said so" in effects


def test_a_tag_of_a_person_gives_the_broader_one_unless_that_is_wrong() -> None:
    assert tags(drone_footage=True).keys() == {"Drone Footage", "Aerial Shot"}
    assert tags("drone", aerial_shot=False).keys() == {"Drone Footage"}
    assert tags("drone", drone_footage=False) == {}, "what was wrong implies nothing"
    assert tags("drone", drone_footage=False, aerial_shot=True) == {"Aerial Shot": "person"}


def test_a_tag_of_a_person_excludes_that_of_any_rule_and_none_of_a_person() -> None:
    assert "Outdoor" not in tags("street", indoor=True)
    assert tags(indoor=True, outdoor=True) == {"Indoor": "person", "Outdoor": "person"}
    assert tags("street", indoor=False)["Outdoor"] == "rule"


def test_a_verdict_holds_where_rules_do_not_know() -> None:
    assert tags() == {}
    assert tags(dark=True) == {"Dark": "person"}
    assert tags(bright=True, dark=False) == {"Bright": "person"}
