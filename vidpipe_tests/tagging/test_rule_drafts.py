"""Drafts in the files of rules: entries change in place, and everything around them stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.parsing import parse_document
from vidpipe.tagging.rule_drafts import with_draft
from vidpipe.tagging.rule_files import RuleFile

SETTINGS = Settings(home=Path("/nowhere"))
TAGS, CATEGORIES, MORE = "rules/custom_tags.json", "rules/categories.json", "rules/more.yaml"
BASE = {
    TAGS: '{"note": "mine",\n  "rules": [\n    {"name": "long",  "tags": ["Long"], "labels": ["x"]},\n'
    '\t{"name": "a [b] {c}", "tags": ["\\u00e9"], "labels": ["x"]}\n  ]\n}\n',
    CATEGORIES: '{"categories": [\n  {"name": "Sports", "tags": ["Sharp"]}\n]}\n',
    MORE: "# shared rules\nrules:\n  # the first\n  - id: dark\n    selections: {s: {brightness|lt: 0.2}}\n"
    "    tags: [Dark]\n    title: |\n      Two\n      lines\n\n  # the second\n  - id: bright   # and so on\n"
    "    selections:\n      s: {brightness|gt: 0.8}\n    tags: [Bright]\n"
    "  # the end\nvocabulary:\n  synonyms: {Dark: [Gloomy]}\n",
}  # fmt: skip


def draft(text: str, name: str = "drafts/night.yaml") -> dict[str, str]:
    return with_draft(BASE, RuleFile.parse(text, name), SETTINGS)


def full(id: str, tag: str) -> dict[str, Any]:
    return {"id": id, "selections": {"s": {"brightness|lt": 0.5}}, "tags": [tag]}


@pytest.mark.parametrize("id", ["dark", "bright"])
def test_a_rule_in_yaml_is_replaced_in_place_and_comments_stay(id: str) -> None:
    found = draft(json.dumps({"rules": [full(id, "New é")]}), "night.json")
    assert {name: text for name, text in found.items() if name != MORE} == {
        TAGS: BASE[TAGS],
        CATEGORIES: BASE[CATEGORIES],
    }
    document = parse_document(found[MORE], MORE)
    expected = parse_document(BASE[MORE], MORE)
    expected["rules"][["dark", "bright"].index(id)] = full(id, "New é")
    assert document == expected
    for comment in ("# shared rules", "  # the first\n", "\n\n  # the second\n", "  # the end\n"):
        assert comment in found[MORE]


def test_a_rule_in_json_is_replaced_in_place_by_its_name_whatever_its_case() -> None:
    found = draft(
        'rules:\n- {name: LONG, tags: [Longer], labels: [a]}\n- {name: "A [B] {c}", tags: [B], labels: [b]}\n'
    )
    before, after = BASE[TAGS].splitlines(), found[TAGS].splitlines()
    assert after[:2] == before[:2]
    assert after[-2:] == before[-2:]
    assert [rule["tags"] for rule in json.loads(found[TAGS])["rules"]] == [["Longer"], ["B"]]


def test_new_rules_become_a_file_that_is_called_like_the_draft_and_is_replaced_by_its_next_version() -> None:
    text = "# mine\nrules:\n- id: night\n  selections: {s: {brightness|lt: 0.1}}\n  tags: [Night]\n"
    found = draft(text)
    assert found["rules/night.yaml"] == text
    longer = text + "exclusions:\n- rules: [night]\n  selections: {s: {tags: [Game]}}\n"
    again = with_draft(found, RuleFile.parse(longer, "elsewhere/night.yaml"), SETTINGS)
    assert again == found | {"rules/night.yaml": longer}
    other = with_draft(found, RuleFile.parse(json.dumps([full("dusk", "Dusk")]), "night.yaml"), SETTINGS)
    assert other["rules/night.yaml"] == text
    assert "dusk" in other["rules/night-draft.yaml"]


def test_what_is_not_new_is_left_out_of_the_new_file() -> None:
    found = draft(json.dumps({"rules": [full("dark", "Darker"), full("dusk", "Dusk")]}), "x.json")
    assert [rule["id"] for rule in parse_document(found["rules/x.json"], "x.json")["rules"]] == ["dusk"]
    assert "Darker" in found[MORE]


def test_categories_are_replaced_by_name_and_added_to_their_file() -> None:
    found = draft("categories:\n- {name: sports, keywords: [ball]}\n- {name: Art, keywords: [paint]}\n")
    assert set(found) == set(BASE)
    assert [one["name"] for one in json.loads(found[CATEGORIES])["categories"]] == ["sports", "Art"]
    short = with_draft(BASE | {CATEGORIES: '{"Sports": ["ball"]}'},
                       RuleFile.parse("categories: [{name: Art, keywords: [paint]}]", "a.yaml"), SETTINGS)  # fmt: skip
    assert json.loads(short[CATEGORIES]) == {"Sports": ["ball"], "Art": {"keywords": ["paint"]}}


def test_a_category_of_another_file_is_replaced_there_and_not_taken_for_a_rule() -> None:
    art = "categories: [{name: Art, keywords: [paint]}]"
    base = BASE | {
        MORE: "categories:\n- {name: art, keywords: [x]}  # mine\n",
        TAGS: '[{"name": "Art", "tags": ["A"]}]',
    }
    found = with_draft(base, RuleFile.parse(art, "a.yaml"), SETTINGS)
    assert parse_document(found[MORE], MORE) == {"categories": [{"name": "Art", "keywords": ["paint"]}]}
    assert "# mine" in found[MORE]
    assert (found[TAGS], found[CATEGORIES]) == (base[TAGS], base[CATEGORIES])


def test_short_rules_in_a_json_draft_become_yaml_because_json_of_the_short_form_does_not_count_in_rules() -> None:
    found = draft('[{"name": "b", "tags": ["B"], "labels": ["b"]}]', "b.json")
    assert parse_document(found["rules/b.yaml"], "b.yaml")["rules"][0]["name"] == "b"


def test_a_draft_that_is_no_list_of_categories_is_an_error() -> None:
    with pytest.raises(SettingsError, match='"categories" should be a list'):
        draft("categories: {Art: [paint]}")
