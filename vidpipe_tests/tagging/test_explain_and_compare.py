"""Every tag can be explained, under the rules of today and of then; two rule sets can be compared."""

import json
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.stages.tags import tag_changes
from vidpipe.tagging.comparison import compare
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.explanation import explain
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.rules import parse_rules
from vidpipe.text.words import tag_key
from vidpipe_tests.tagging.facts import facts_of

#: A busy machine is no failure.
unhurried = settings(deadline=None)
WORDS = ("sea", "seas", "city", "dog", "close-up", "slow motion", "night")
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "duration_gt": st.integers(0, 20),
    "duration_lte": st.floats(0, 20),
    "resolution": st.sampled_from(["HD", "4K", "2160p"]),
    "resolution_gte": st.sampled_from(["HD", "4K"]),
    "codec": st.sampled_from(["h264", "avc", "hevc"]),
    "codec_not": st.lists(st.sampled_from(["h264", "h265"]), min_size=1),
    "has_audio": st.booleans(),
    "hdr": st.booleans(),
    "audio_language_not": st.sampled_from(["eng", "de"]),
}
RULE = st.fixed_dictionaries(
    {
        "tags": st.lists(st.sampled_from(["A", "b", "B", "c-d"]), min_size=1),
        "description_keywords": st.lists(st.sampled_from(WORDS), min_size=1),
    },
    optional={
        "metadata_conditions": st.fixed_dictionaries({}, optional=CONDITIONS),
        "subtitle_keywords": st.lists(st.sampled_from(WORDS)),
        "ai_generated_tags": st.lists(st.sampled_from(WORDS)),
        "labels": st.lists(st.sampled_from(WORDS)),
        "filename_patterns": st.lists(st.sampled_from(["*.mp4", "re:^a", "b*"])),
        "source_patterns": st.lists(st.sampled_from(["x.org", "*/a*"])),
        "match": st.sampled_from(["any", "all"]),
    },
)
RULES = st.lists(RULE, max_size=4)
FACTS = st.builds(
    facts_of,
    duration_s=st.none() | st.floats(0, 20),
    resolution=st.none() | st.sampled_from(["SD", "HD", "4K"]),
    video_codec=st.none() | st.sampled_from(["h264", "hevc"]),
    has_audio=st.none() | st.booleans(),
    hdr=st.none() | st.sampled_from(["none", "hdr10"]),
    audio_language=st.none() | st.lists(st.sampled_from(["eng", "deu"])).map(tuple),
    description=st.lists(st.sampled_from((*WORDS, "the", "motion", "seaside")), max_size=6).map(" ".join),
    subtitles=st.lists(st.sampled_from((*WORDS, "the", "motion")), max_size=6).map("\n".join),
    title=st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join),
    model_tags=st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
    labels=st.lists(st.sampled_from(WORDS), max_size=2, unique=True).map(tuple),
    names=st.lists(st.sampled_from(["a.mp4", "b.mkv", "c.avi"]), max_size=2).map(tuple),
    urls=st.lists(st.sampled_from(["https://x.org/b", "http://y.org/a.mp4"]), max_size=2).map(tuple),
)


@unhurried
@given(RULES, FACTS)
def test_evaluate_agrees_with_explain(source: list[dict[str, Any]], facts: RuleFacts) -> None:
    rules = parse_rules(json.dumps(source))
    given_tags = {tag_key(match.tag): match for match in evaluate(rules, facts).tags}
    explained = explain(rules, facts)
    for rule in explained:
        enough = all if rule.match == "all" else any
        assert rule.matched == enough(block.matched for block in rule.blocks)
        for block in rule.blocks:
            if block.block != "metadata_conditions":
                assert block.matched == any(part.matched for part in block.parts)
            else:
                assert block.matched == all(part.matched for part in block.parts)
    assert set(given_tags) == {tag_key(tag) for rule in explained if rule.matched for tag in rule.gives}
    for match in given_tags.values():
        assert next(rule for rule in explained if rule.rule == match.rule).matched
        assert match.evidence


def shuffled(value: Any, draw: Any) -> Any:
    """`value` with its keys, and the order of what is a set, in another order."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: value[key] if key == "tags" else shuffled(value[key], draw) for key in keys}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return draw(st.permutations(value))
    return value


@unhurried
@given(st.data(), RULES, FACTS)
def test_version_and_outcome_do_not_depend_on_layout(data: st.DataObject, source: list[Any], facts: RuleFacts) -> None:
    space = data.draw(st.text(" \n\t", max_size=5))
    other = [shuffled(rule, data.draw) for rule in source]
    one, two = parse_rules(json.dumps(source)), parse_rules(space + json.dumps({"rules": other}, indent=3) + space)
    assert one.version == two.version
    assert evaluate(one, facts).tags == evaluate(two, facts).tags


@unhurried
@given(RULES, FACTS)
def test_the_text_kept_in_the_lineage_explains_as_the_rules_did(source: list[dict[str, Any]], facts: RuleFacts) -> None:
    rules = parse_rules(json.dumps(source))
    again = parse_rules(rules.texts()[rules.version])
    assert again.version == rules.version
    assert evaluate(again, facts).tags == evaluate(rules, facts).tags
    assert explain(again, facts) == explain(rules, facts)


@unhurried
@given(RULES, RULES, FACTS)
def test_compare_is_silent_just_where_the_versions_are_equal(old: list[Any], new: list[Any], facts: RuleFacts) -> None:
    before, after = parse_rules(json.dumps(old)), parse_rules(json.dumps(new))
    assert bool(compare(before, after)) == (before.version != after.version)
    if before.version == after.version:
        assert tag_changes(evaluate(before, facts).tags, evaluate(after, facts).tags) == []


@unhurried
@given(st.text(alphabet=string.printable + "äß海\u0301", max_size=60))
def test_any_description_can_be_judged(description: str) -> None:
    rules = parse_rules('[{"tags": "T", "description_keywords": ["a"]}]')
    assert len(evaluate(rules, facts_of(description=description)).tags) <= 1


def test_an_explanation_says_what_was_asked_and_found_also_where_it_did_not_match() -> None:
    rules = parse_rules(
        '[{"name": "long", "tags": "Long", "metadata_conditions": {"duration_gt": 600, "loudness_db_lt": -30},'
        ' "description_keywords": ["film"]}]'
    )
    (rule,) = explain(rules, facts_of(duration_s=12.25, description="a short clip"))
    assert not rule.matched
    assert [(part.asks, part.found, part.matched) for block in rule.blocks for part in block.parts] == [
        ("duration: above 600 s", "12.25 s", False),
        ("loudness: below -30 dBFS", "not known", False),
        ('"film"', "not in the description", False),
    ]


def test_what_a_rule_lacks_is_only_what_does_not_hold() -> None:
    rules = parse_rules(
        '[{"name": "short", "tags": "Short", "metadata_conditions": {"duration_lt": 60, "loudness_db_lt": -30}}]'
    )
    (rule,) = explain(rules, facts_of(duration_s=12.25))
    assert [(part.asks, part.matched) for part in rule.lacking] == [("loudness: below -30 dBFS", False)]


def test_an_explanation_says_where_the_spoken_words_were_looked_for() -> None:
    (rule,) = parse_rules('[{"tags": "Garden", "subtitle_keywords": ["flower", "lake"]}]').rules
    (block,) = rule.blocks()

    def found(facts: RuleFacts) -> list[tuple[str, str]]:
        return [(part.asks, part.found) for part in block.parts(facts)]

    assert found(facts_of(subtitles="Flowers!", title="May")) == [
        ('"flower"', '"flowers"'),
        ('"lake"', "not in the subtitles or the title"),
    ]
    assert found(facts_of(title="May"))[0][1] == "not in the title"
    assert found(facts_of(description="a lake"))[1][1] == "no subtitles and no title"


def test_a_change_of_the_spoken_keywords_is_another_version_and_is_told() -> None:
    one = parse_rules('[{"name": "r", "tags": "T", "subtitle_keywords": ["Close-up", "lake"]}]')
    same = parse_rules('[{"name": "r", "tags": "T", "subtitle_keywords": ["lake", "close up", "lakes"]}]')
    other = parse_rules('[{"name": "r", "tags": "T", "description_keywords": ["close up", "lake"]}]')
    assert one.version == same.version != other.version
    assert [change.keys for change in compare(one, other).changed] == [("description_keywords", "subtitle_keywords")]
    facts = facts_of(subtitles="the lake")
    (change,) = tag_changes(evaluate(one, facts).tags, evaluate(other, facts).tags)
    assert (change.change, change.was) == ("removed", 'the subtitles say "lake"')


def test_compare_tells_added_removed_renamed_changed_and_reordered_apart() -> None:
    def rule(name: str, limit: int) -> dict[str, Any]:
        return {"name": name, "tags": name.upper(), "metadata_conditions": {"duration_gt": limit}}

    old = parse_rules(json.dumps([rule("a", 1), rule("b", 2), rule("c", 3), rule("d", 4)]))
    new = parse_rules(json.dumps([rule("b", 2), rule("a", 10), rule("c", 3) | {"name": "sea"}, rule("e", 5)]))
    change = compare(old, new)
    assert (change.added, change.removed, change.renamed, change.reordered) == (("e",), ("d",), (("c", "sea"),), True)
    assert [(one.rule, one.keys) for one in change.changed] == [("a", ("metadata_conditions",))]
    facts = facts_of(duration_s=4.5)
    outcome = tag_changes(evaluate(old, facts).tags, evaluate(new, facts).tags)
    assert [(one.tag, one.change, one.rule) for one in outcome] == [
        ("A", "removed", "a"),
        ("D", "removed", "d"),
        ("C", "rule changed", "sea"),
    ]
