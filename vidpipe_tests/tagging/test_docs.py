"""docs/rules.md says what the code does."""

import json
import re
from pathlib import Path

import pytest

from vidpipe.models.questions import parse_priority_keywords
from vidpipe.tagging.blocks import BLOCKS
from vidpipe.tagging.categories import parse_categories
from vidpipe.tagging.facts import FIELDS
from vidpipe.tagging.rules import parse_rules

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("an installed package has no docs/ beside it")
    return PAGE.read_text(encoding="utf-8")


def test_every_field_alias_and_block_is_in_the_tables(page: str) -> None:
    documented = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert documented >= {name for spec in FIELDS.values() for name in (spec.name, *spec.aliases)} | set(BLOCKS)


def test_the_examples_are_valid(page: str) -> None:
    rules, categories, keywords = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(parse_rules(rules).rules) == len(json.loads(rules)["rules"])
    assert len(parse_categories(categories).categories) == len(json.loads(categories))
    assert parse_priority_keywords(keywords).keywords
