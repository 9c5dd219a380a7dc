"""docs/rules.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from vidpipe.models.questions import parse_priority_keywords
from vidpipe.settings.home import DEFAULT_RULES
from vidpipe.tagging.blocks import BLOCKS
from vidpipe.tagging.categories import parse_category_set
from vidpipe.tagging.category_files import category_file
from vidpipe.tagging.field_conditions import MODIFIERS
from vidpipe.tagging.fields import FIELDS, LIST_FIELDS, OWN_VOCABULARY, TEXT_FIELDS
from vidpipe.tagging.rule import FullRuleSource
from vidpipe.tagging.rule_check import check_rules
from vidpipe.tagging.rule_files import RuleFile
from vidpipe.tagging.rules import parse_rules
from vidpipe_tests.tagging.one_file import parse_categories

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("an installed package has no docs/ beside it")
    return PAGE.read_text(encoding="utf-8")


def test_every_field_alias_and_block_is_in_the_tables(page: str) -> None:
    documented = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert documented >= {name for spec in FIELDS.values() for name in (spec.name, *spec.aliases)} | set(BLOCKS)
    assert documented >= {*TEXT_FIELDS, *LIST_FIELDS, *MODIFIERS, *FullRuleSource.model_fields}


def test_the_examples_of_the_full_form_have_no_errors_and_pass_their_tests(page: str) -> None:
    first, more, *others = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    examples = [first, first.replace("    tags:", f"{more}    tags:"), *others]
    assert len(examples) >= 4
    for number, text in enumerate(examples):
        assert [
            one for one in check_rules({f"{number}.yaml": text}, {}, OWN_VOCABULARY, {}) if one.level != "note"
        ] == []


def test_the_example_of_subcategories_is_valid(page: str) -> None:
    (example,) = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if text.startswith("categories:"))
    files = [category_file((DEFAULT_RULES / "categories.json").read_text(), "categories.json")]
    found = parse_category_set([*files, RuleFile.parse(example, "rules/own.yaml")])
    assert {"Curling": "Sports", "Night": "", "City": "Night", "Sky": "Night"}.items() <= {
        one.name: one.parent for one in found.categories
    }.items()


def test_the_examples_are_valid(page: str) -> None:
    rules, categories, keywords = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(parse_rules(rules).rules) == len(json.loads(rules)["rules"])
    assert len(parse_categories(categories).categories) == len(json.loads(categories))
    assert parse_priority_keywords(keywords).keywords
