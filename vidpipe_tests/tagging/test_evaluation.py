"""Rules give what they mean, however they are matched, and a change concerns only the tags it says it does."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from vidpipe.errors import SettingsError
from vidpipe.tagging.changed_rules import ChangedRules
from vidpipe.tagging.evaluation import Tagging, evaluate
from vidpipe.tagging.facts import Judgement, RuleFacts
from vidpipe.tagging.rules import RuleSet, parse_rules
from vidpipe.text.words import TimedText, tag_key
from vidpipe_tests.tagging.facts import facts_of
from vidpipe_tests.tagging.reference import reference

_TAGS = ("Sea", "Ship", "Night", "Road", "Dog", "Drone")
_WORDS = ("sea", "ships", "driving", "car", "park", "night", "the")
_PHRASES = (*_WORDS[:6], "car park", "drive", "driv", "the sea")
_tags = st.lists(st.sampled_from(_TAGS), min_size=1, max_size=2, unique=True)
_phrases = st.lists(st.sampled_from(_PHRASES), min_size=1, max_size=3)
_conditions = st.one_of(
    st.tuples(st.sampled_from([f"{name}|{how}{extra}" for name in ("description", "speech", "said", "title")
                               for how in ("word", "phrase", "prefix") for extra in ("", "|all", "|not")]), _phrases),
    st.tuples(st.sampled_from(("brightness|lt", "brightness|not|gt")), st.sampled_from((0.2, 0.5))),
    st.tuples(st.just("speech|exists"), st.booleans()),
    st.tuples(st.sampled_from(("tags", "tags|not")), _tags),
)  # fmt: skip


@st.composite
def _full_rule(draw: st.DrawFn) -> dict[str, Any]:
    selections = draw(st.dictionaries(st.sampled_from("abc"), st.lists(_conditions, min_size=1, max_size=2).map(dict),
                                      min_size=1, max_size=3))  # fmt: skip
    names = sorted(selections)
    joined = [f" {word} ".join(names) for word in ("and", "or")]
    choices = ["1 of them", "all of them", *joined, f"not {names[0]}", f"{names[-1]} and not ({joined[1]})"]
    rule: dict[str, Any] = {"selections": selections, "condition": draw(st.sampled_from(choices))}
    rule[draw(st.sampled_from(("tags", "tags", "remove")))] = draw(_tags)
    rule["priority"] = draw(st.sampled_from((0, 0, 1)))
    if draw(st.booleans()):
        rule["scope"] = "scene"
        holds: list[dict[str, Any]] = [{"share|gte": 0.5}, {"count|gte": 2}, {"then": [names[0], names[-1]]}]
        rule |= {"hold": draw(st.sampled_from(holds))} if draw(st.booleans()) else {}
    return rule


_short_rule = st.fixed_dictionaries(
    {"tags": _tags, "description_keywords": _phrases, "match": st.sampled_from(("any", "all"))},
    optional={"subtitle_keywords": _phrases, "metadata_conditions": st.just({"brightness_lt": 0.3})},
)
_rules = st.lists(st.one_of(_full_rule(), _short_rule), min_size=1, max_size=5)
_vocabulary = st.sampled_from(
    ({}, {"hierarchy": {"Sea": ["Ship"], "Road": ["Night"]}},
     {"exclusive": [["Sea", "Road"]], "synonyms": {"Dog": ["Ship"]}},
     {"hierarchy": {"Sea": ["Drone"]}, "exclusive": [["Night", "Drone"]]})
)  # fmt: skip
_text = st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join)


@st.composite
def _facts(draw: st.DrawFn, of_scene: int | None = None) -> RuleFacts:
    known: dict[str, Any] = {"description": draw(_text), "subtitles": draw(_text), "title": draw(_text)}
    if draw(st.booleans()):
        known |= {"examined": ("speech",), "found": (TimedText.of("speech", "someone says", [(1.0, draw(_text))]),)}
    if draw(st.booleans()):
        known["brightness"] = draw(st.sampled_from((0.1, 0.3, 0.9)))
    judged = draw(st.dictionaries(st.sampled_from(_TAGS), st.booleans(), max_size=1))
    known["verdicts"] = {tag_key(tag): Judgement(tag, right, "somebody said so") for tag, right in judged.items()}
    if of_scene is not None:
        return facts_of(**known, start_s=float(of_scene), end_s=float(of_scene + 1))
    return facts_of(**known, scenes=tuple(draw(_facts(of_scene=number)) for number in range(draw(st.integers(0, 3)))))


def parsed(rules: list[dict[str, Any]], vocabulary: dict[str, Any]) -> RuleSet:
    """The rules, named in their order; cycles of tags are left out."""
    named = [{"id" if "selections" in rule else "name": rule.get("id", f"r{number}"), **rule}
             for number, rule in enumerate(rules)]  # fmt: skip
    try:
        return parse_rules(json.dumps({"rules": named, "vocabulary": vocabulary}))
    except SettingsError as error:
        assume("cycle" not in error.message)
        raise


@settings(max_examples=60, deadline=None)
@given(_rules, _vocabulary, _facts())
def test_what_rules_give_is_what_they_mean(
    rules: list[dict[str, Any]], vocabulary: dict[str, Any], facts: RuleFacts
) -> None:
    rule_set = parsed(rules, vocabulary)
    found = evaluate(rule_set, facts)
    event(f"tags: {len(found.tags)}, of scenes: {len(found.scenes) > 0}")
    assert found == reference(rule_set, facts)


def only(tagging: Tagging, keys: frozenset[str], *, inside: bool) -> list[list[Any]]:
    return [[one for one in found if (tag_key(one.tag) in keys) is inside] for found in (tagging.tags, tagging.scenes)]


@settings(max_examples=40, deadline=None)
@given(_rules, _vocabulary, _facts(), st.data())
def test_changed_rules_concern_only_the_tags_that_they_share(
    rules: list[dict[str, Any]], vocabulary: dict[str, Any], facts: RuleFacts, data: st.DataObject
) -> None:
    """A rule is added, removed or replaced."""
    ids = [{**rule, "id" if "selections" in rule else "name": f"r{number}"} for number, rule in enumerate(rules)]
    place = data.draw(st.integers(0, len(ids)))
    new = data.draw(st.lists(st.one_of(_full_rule(), _short_rule), max_size=1))
    new = [{**rule, "id" if "selections" in rule else "name": data.draw(st.sampled_from(("new", f"r{place}")))}
           for rule in new]  # fmt: skip
    replaces = data.draw(st.booleans()) or any(rule.get("id", rule.get("name")) != "new" for rule in new)
    changed = [*ids[:place], *new, *ids[place + replaces :]]
    assume(changed)
    former, rule_set = parsed(ids, vocabulary), parsed(changed, vocabulary)
    concerned = ChangedRules.between(former, rule_set)
    assert concerned is not None
    event(f"evaluated {len(concerned.rules.rules)} of {len(rule_set.rules)}")
    before, after, part = (evaluate(one, facts) for one in (former, rule_set, concerned.rules))
    assert only(part, concerned.keys, inside=True) == only(after, concerned.keys, inside=True)
    assert only(before, concerned.keys, inside=False) == only(after, concerned.keys, inside=False)
    assert part.removed & concerned.keys == after.removed & concerned.keys
    assert before.removed - concerned.keys == after.removed - concerned.keys
