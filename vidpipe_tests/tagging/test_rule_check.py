"""`vidpipe rules check` finds what cannot work before it is used."""

import runpy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from vidpipe.settings import init_home, load
from vidpipe.tagging.fields import OWN_VOCABULARY
from vidpipe.tagging.rule_check import RuleFinding, check_rules
from vidpipe.tagging.rules import build_rules

ROOT = Path(__file__).parents[2]
SHIPPED = ("custom_tags.json", "scenes.yaml", "vocabulary.yaml")


def found(text: str, drafts: str = "", **disabled: str) -> list[RuleFinding]:
    return check_rules({"a.yaml": text}, {"draft.yaml": drafts} if drafts else {}, OWN_VOCABULARY, disabled)


def rule(name: str, selections: str, more: str = "tags: [x]") -> str:
    return f"\n- {{id: {name}, selections: {selections}, {more}}}"


def test_errors_of_all_files_and_rules_are_reported_at_once() -> None:
    texts = {
        "a.yaml": "rules:" + rule("a", "{a: {brightnes: 1}}") + rule("b", "{a: {motion|lt: x}}"),
        "b.json": "{",
        "c.yaml": "vocabulary: {hierarchy: {a: [b], b: [a]}}",
        "d.yaml": "exclusions: [{rules: [x], selections: {a: {nothing: 1}}}]",
    }  # fmt: skip
    errors = check_rules(texts, {}, OWN_VOCABULARY, {})
    places = {(one.level, one.file, one.rule) for one in errors}
    of_files = {("error", f"{name}", "") for name in ("b.json", "c.yaml", "d.yaml")}
    assert places == {("error", "a.yaml", "a"), ("error", "a.yaml", "b")} | of_files
    assert any('did you mean "brightness"?' in one.sentence for one in errors)


@pytest.mark.parametrize(
    ("selections", "condition"),
    [
        ("{a: {brightness|lt: 0.1}, b: {brightness|gt: 0.5}}", "a and b"),
        ("{a: {brightness|gt: 18}}", "a"),
        ("{a: {brightness|between: [0.5, 0.1]}}", "a"),
        ("{a: {orientation: portrait}, b: {orientation: landscape}}", "a and b"),
        ("{a: {has_audio: true}, b: {has_audio: false}}", "a and b"),
        ("{a: {title|word: x}}", "a and not a"),
        ("{a: {color: red}, b: {color|not: red}}", "a and b"),
        ("{a: {speech|exists: false}, b: {speech|word: x}}", "a and b"),
        ("{a: {resolution|gt: 4K}, b: {resolution|lt: HD}, c: {year: 1}, d: {year|lt: 1}}", "(a and b) or (c and d)"),
        ("{a: {year|lt: 5}, b: {year|lt: 6}, c: {year|gt: 7}}", "c and (a or b)"),
        ("{a: {answers.mood|gt: 3}, b: {answers.mood: happy}}", "b and a"),
    ],
)
def test_a_condition_that_can_never_be_true_is_found(selections: str, condition: str) -> None:
    (one,) = found("rules:" + rule("a", selections, f"tags: [x], condition: {condition}"))
    assert (one.level, one.rule) == ("warning", "a")
    assert "can never be true" in one.sentence


@pytest.mark.parametrize(
    ("selections", "condition"),
    [
        ("{a: {brightness|lt: 0.1}, b: {brightness|gt: 0.5}}", "a or b"),
        ("{a: {brightness|gte: 0.5}, b: {brightness|lte: 0.5}}", "a and b"),
        ("{a: {color: red}, b: {color: blue}}", "a and b"),
        ("{a: {color: red}, b: {color|not: blue}}", "a and b"),
        ("{a: {hdr: true}, b: {hdr: hdr10}}", "a and b"),
        ("{a: {year|lt: 5}, b: {year|gt: 6}, c: {year|gt: 7}}", "c and (a or b)"),
        ("{a: {title|word: x}, b: {title|phrase: x}}", "a and not b"),
        ("{a: {answers.q: yes}, b: {answers.q: no}}", "a and b"),
        ("{a: {answers.mood: happy}, b: {answers.mood|gt: 3}}", "a and not b"),
    ],
)
def test_a_condition_that_can_be_true_is_not_complained_about(selections: str, condition: str) -> None:
    assert not found("rules:" + rule("a", selections, f"tags: [x], condition: {condition}"))


def test_tags_that_no_rule_gives_duplicates_and_conflicts_are_found() -> None:
    text = (
        "vocabulary: {exclusive: [[One, Two]], hierarchy: {Broad: [One]}}\nrules:"
        + rule("one", "{a: {title|word: x}}", "tags: [One]")
        + rule("two", "{a: {title|word: y}}", "tags: [Two]")
        + rule("same", "{a: {title|word: y}}", "tags: [Three]")
        + rule("removes", "{a: {title|word: z}}", "remove: [Three]")
        + rule("later", "{a: {tags: [Broad]}}", "tags: [Four]")
        + rule("typo", "{a: {tags: [Tow]}}", "tags: [Five]")
    )
    said = {one.rule: one.sentence for one in found(text)}
    assert said.keys() == {"one", "same", "typo"}
    assert "excludes" in said["one"]
    assert 'which "removes" removes' in said["same"]
    assert 'did you mean "two"?' in said["typo"]
    assert any("conditions of" in one.sentence for one in found(text))


def test_a_priority_or_conditions_that_exclude_one_another_end_a_conflict() -> None:
    more = "rules:" + rule("a", "{a: {brightness|lt: 0.2}}") + rule("b", "{a: {brightness|gt: 0.2}}", "remove: [x]")
    assert not found(more + rule("c", "{a: {title|word: x}}", "remove: [x], priority: 1"))


def test_a_rule_whose_analysis_is_off_is_noted_unless_it_has_another_way() -> None:
    text = (
        "rules:"
        + rule("a", "{a: {speech|word: x}}")
        + rule("b", "{a: {speech|word: x}, b: {title|word: x}}", "tags: [y], condition: a or b")
    )
    (one,) = found(text, speech="speech")
    assert (one.level, one.rule) == ("note", "a")
    assert "the analysis speech" in one.sentence


def test_the_tests_in_a_file_are_run() -> None:
    dog = "{facts: {title: a dog}, expect: "
    tests = f"{dog}[x]}}, {dog}[]}}, {{facts: {{titel: 1}}, expect: []}}"
    one, two = found("rules:" + rule("a", "{a: {title|word: dog}}", f"tags: [x], tests: [{tests}]"))
    assert (one.level, one.sentence) == ("error", "Its test 2 fails: not expected: x.")
    assert 'did you mean "title"?' in two.sentence
    (skipped,) = found("rules:" + rule("a", "{a: {title|word: dog}}", "tags: [x], tests: [{video: abc, expect: [x]}]"))
    assert skipped.level == "note"
    assert "skipped" in skipped.sentence


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        ("{objects: {car: {share: half}}}", "objects.car.share"),
        ("{model_tags: {car: sure}}", "model_tags.car"),
    ],
)
def test_a_made_up_fact_of_another_type_fails_its_test(facts: str, key: str) -> None:
    selections = "{a: {objects.car|share|gte: 0.5}, b: {model_tags.car|confidence|gte: 0.5}}"
    more = f"tags: [x], condition: a or b, tests: [{{facts: {facts}, expect: [x]}}]"
    (one,) = found("rules:" + rule("a", selections, more))
    assert one.sentence.startswith(f'Its test 1 fails: "{key}" takes a number')


def test_a_draft_replaces_the_rule_of_the_same_id_and_is_checked_alone() -> None:
    wrong = "rules:" + rule("a", "{a: {brightness|gt: 18}}") + rule("b", "{a: {brightness|gt: 19}}")
    assert not found(wrong, "rules:" + rule("a", "{a: {brightness|gt: 0.5}}"))
    (one,) = found(wrong, "rules:" + rule("a", "{a: {brightness|gt: 20}}"))
    assert one.file == "draft.yaml"


def test_a_draft_replaces_a_rule_whose_name_differs_in_case_as_applying_it_does() -> None:
    short = '[{{"name": "{name}", "tags": ["x"], "metadata_conditions": {{"brightness_gt": {value}}}}}]'
    assert not check_rules({"a.json": short.format(name="Night", value=18)},
                           {"b.json": short.format(name="night ", value=0.5)}, OWN_VOCABULARY, {})  # fmt: skip


def test_the_default_rules_pass_their_tests_and_have_no_findings() -> None:
    texts = {name: (ROOT / "rules" / name).read_text(encoding="utf-8") for name in SHIPPED}
    assert check_rules(texts, {}, OWN_VOCABULARY, {}) == []
    rules = yaml.safe_load(texts["scenes.yaml"])["rules"]
    assert all({bool(test["expect"]) for test in one["tests"]} == {True, False} or one.get("remove") for one in rules)


def test_the_published_schema_is_that_of_the_code_and_accepts_the_default_files() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "rules_schema.py"))
    published = yaml.safe_load((ROOT / "rules" / "rules.schema.json").read_text(encoding="utf-8"))
    assert published == made["schema"](), "run `python scripts/rules_schema.py`"
    validator = jsonschema_rs.validator_for(published)
    for name in (*SHIPPED, "categories.json"):
        validator.validate(yaml.safe_load((ROOT / "rules" / name).read_text(encoding="utf-8")))
    for wrong in ("a|lower", "description|word|twice"):
        assert not validator.is_valid({"rules": [{"id": "a", "selections": {"a": {wrong: 1}}, "tags": ["x"]}]})
    assert not validator.is_valid({"rules": [{"id": "a", "selektions": {}, "tags": ["x"]}]})


def test_a_new_home_has_all_default_rules_and_an_existing_one_keeps_its_own(tmp_path: Path) -> None:
    new = init_home(tmp_path / "new").home
    assert {path.name for path in (new / "rules").iterdir()} >= {*SHIPPED, "rules.schema.json"}
    assert "night-driving" in {one.name for one in build_rules(load(new, {}).settings).rules}
    old = tmp_path / "old"
    (old / "rules").mkdir(parents=True)
    (old / "rules" / "custom_tags.json").write_text("[]")
    init_home(old)
    assert not build_rules(load(old, {}).settings).rules
