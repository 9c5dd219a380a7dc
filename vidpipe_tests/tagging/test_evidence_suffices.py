"""An explanation alone suffices to derive whether its rule applies: three-valued, by the parts that it lists."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.explanation import BlockExplanation, RuleExplanation, explain
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.rules import parse_rules
from vidpipe.text.words import TimedText, tag_key
from vidpipe_tests.tagging.facts import facts_of

WORDS = ("sea", "dogs", "night ride", "dog")


class Kleene:
    """A truth value with the operators of three-valued logic: false is 0, unknown 1, true 2."""

    def __init__(self, truth: bool | None) -> None:
        self.rank = {False: 0, None: 1, True: 2}[truth]

    @property
    def truth(self) -> bool | None:
        return (False, None, True)[self.rank]

    def __and__(self, other: Kleene) -> Kleene:
        return min(self, other, key=lambda one: one.rank)

    def __or__(self, other: Kleene) -> Kleene:
        return max(self, other, key=lambda one: one.rank)

    def __invert__(self) -> Kleene:
        return Kleene((True, None, False)[self.rank])


def derived(text: str, named: dict[str, bool | None]) -> bool | None:
    """What a condition in words comes to, given the truth of what it names."""
    values = {f"v{number}": Kleene(truth) for number, truth in enumerate(named.values())}
    place = {name: f"v{number}" for number, name in enumerate(named)}

    def some(match: re.Match[str]) -> str:
        chosen = [place[name] for name in named if match[2] == "them" or name.startswith(match[2].rstrip("*"))]
        least = {"all": len(chosen), "any": 1}.get(match[1]) or int(match[1])
        assert least in (1, len(chosen))
        return f"({(' | ' if least == 1 else ' & ').join(chosen)})"

    text = re.sub(r"(all|any|\d+) of ([\w*]+)", some, text)
    names = {"and": "&", "or": "|", "not": "~"} | place
    text = re.sub(r"[\w-]+", lambda word: names.get(word[0], word[0]), text)
    result = eval(text, {}, values)  # noqa: S307 - of a rule of this test
    assert isinstance(result, Kleene)
    return result.truth


def of_block(block: BlockExplanation) -> bool | None:
    return derived(block.needs, {str(number): part.matched for number, part in enumerate(block.parts, 1)})


def of_condition(rule: RuleExplanation, selections: dict[str, bool | None]) -> bool | None:
    text = {"any": "1 of them", "all": "all of them"}.get(rule.match, rule.match)
    excluded = {block.block: of_block(block) for block in rule.exclusions}
    return (Kleene(derived(text, selections)) & ~Kleene(derived("any of them", excluded) if excluded else False)).truth


def of_rule(rule: RuleExplanation) -> bool | None:
    if rule.hold is None:
        return of_condition(rule, {block.block: of_block(block) for block in rule.blocks})
    if not rule.exclusions:
        for scene in rule.scenes:
            assert of_condition(rule, scene.selections) == scene.matched
    total_s = sum(scene.end_s - scene.start_s for scene in rule.scenes)

    def enough(wanted: tuple[bool | None, ...]) -> bool:
        chosen = [scene for scene in rule.scenes if scene.matched in wanted]
        share = (rule.hold or {}).get("share|gte") or 0.0
        enough_s = sum(scene.end_s - scene.start_s for scene in chosen) >= share * total_s
        return enough_s and len(chosen) >= ((rule.hold or {}).get("count|gte") or 1)

    return True if enough((True,)) else None if enough((True, None)) else False


ENTRIES: st.SearchStrategy[dict[str, Any]] = st.sampled_from([
    {"description|word": ["sea", "dog"]}, {"description|phrase": "night ride"}, {"said|word|all": ["dog", "sea"]},
    {"speech|phrase": "night ride"}, {"text|prefix|not": "ni"}, {"brightness|lt": 0.3},
    {"brightness|between": [0.1, 0.5]},
    {"loudness_db|gt": -20}, {"objects|any": ["car", "truck"]}, {"objects.car|count|gte": 2}, {"speech|exists": True},
    {"tags": ["First"]}, {"file_name|glob": "*.mp4"}, {"audio_language|not": "eng"}, {"answers.indoors": True},
])  # fmt: skip
GROUP = st.lists(ENTRIES, min_size=1, max_size=2).map(lambda found: {key: one[key] for one in found for key in one})
GROUPS = st.lists(GROUP, min_size=1, max_size=2)
CONDITIONS = st.sampled_from([
    "", "a and b", "a or not b", "not (a and b)", "1 of them", "all of sel_*", "a and (b or not 1 of sel_*)",
    "any of them",
])  # fmt: skip
FULL = st.fixed_dictionaries(
    {
        "selections": st.fixed_dictionaries({"a": GROUPS, "b": GROUPS, "sel_1": GROUPS, "sel_2": GROUPS}),
        "condition": CONDITIONS,
    },
    optional={"exclusions": st.just(True)},
)
SHORT = st.fixed_dictionaries(
    {"description_keywords": st.lists(st.sampled_from(WORDS), min_size=1)},
    optional={
        "text_keywords": st.lists(st.sampled_from(WORDS), min_size=1),
        "metadata_conditions": st.just([{"brightness_lt": 0.3, "loudness_db_gt": -20}, {"brightness_gt": 0.6}]),
        "objects": st.just(["car", {"object": "truck", "min_count": 2}]),
        "match": st.sampled_from(["any", "all"]),
    },
)
HOLDS = st.sampled_from([None, {"share|gte": 0.5}, {"count|gte": 2}])
OBJECTS = st.sampled_from([None, (), (SeenObject("car", 2, 0.9, 0.5),), (SeenObject("truck", 1, 0.9, 0.5),)])
TEXTS = st.lists(st.sampled_from((*WORDS, "the", "rides")), max_size=5).map(" ".join)


@st.composite
def some_facts(draw: Any, start_s: float | None = None) -> RuleFacts:
    said = draw(st.none() | TEXTS)
    return facts_of(
        description=draw(TEXTS), brightness=draw(st.none() | st.sampled_from([0.05, 0.2, 0.7])),
        loudness_db=draw(st.none() | st.just(-10.0)), audio_language=draw(st.none() | st.just(("eng",))),
        objects=draw(OBJECTS), names=draw(st.sampled_from([(), ("a.mp4",)])),
        examined=() if said is None else ("speech",), answers=draw(st.sampled_from([{}, {"indoors": True}])),
        found=(TimedText.of("speech", "someone says", [(1.0, said)]),) if said else (),
        start_s=start_s, end_s=None if start_s is None else start_s + draw(st.sampled_from([1.0, 5.0])),
    )  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(FULL | SHORT, min_size=1, max_size=3), some_facts(), st.data())
def test_the_truth_of_every_rule_follows_from_its_explanation(
    sources: list[dict[str, Any]], facts: RuleFacts, data: st.DataObject
) -> None:
    facts.scenes = tuple(data.draw(some_facts(start_s=10.0 * number)) for number in range(data.draw(st.integers(0, 3))))
    rules, excluded = [{"id": "first", "selections": {"it": {"brightness|lt": 0.3}}, "tags": ["First"]}], []
    for number, source in enumerate(sources):
        name = f"rule-{number}"
        if "selections" not in source:
            rules.append({"name": name, "tags": [f"T{number}"], **source})
            continue
        hold = data.draw(HOLDS)
        body = {key: value for key, value in source.items() if key != "exclusions" and value}
        scope = {"scope": "scene", **({"hold": hold} if hold else {})} if data.draw(st.booleans()) else {}
        rules.append({"id": name, "tags": [f"T{number}"], **body, **scope})
        excluded += [name] if "exclusions" in source else []
    document: dict[str, Any] = {"rules": rules}
    if excluded:
        document["exclusions"] = [{"rules": excluded, "selections": {"x": {"objects|any": ["truck"]}}}]
    found = parse_rules(json.dumps(document))
    tags = {tag_key(match.tag) for match in evaluate(found, facts).tags}
    explained = explain(found, facts)
    for rule in explained:
        for block in (*rule.blocks, *rule.exclusions):
            assert of_block(block) == block.matched
        assert of_rule(rule) == rule.matched
        assert 0 <= rule.closeness <= 1
        assert bool(rule.lacking) <= (rule.matched is not True)
        assert all(part.unknown for block in rule.blocks for part in block.parts if part.matched is None)
    assert tags == {tag_key(tag) for rule in explained if of_rule(rule) for tag in rule.gives}
