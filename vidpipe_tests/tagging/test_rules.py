"""custom_tags.json: the format its users know, and what is said of a file that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.models.questions import build_priority_keywords
from vidpipe.settings import Settings
from vidpipe.settings.home import DEFAULT_RULES
from vidpipe.settings.schema import Rules
from vidpipe.stages.results import Tag
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.rule_files import read_text
from vidpipe.tagging.rules import build_rules, parse_rules
from vidpipe_tests.tagging.facts import facts_of

#: The example that the older script's users have.
KNOWN = """{
    "rules": [
        {"description_keywords": ["Aerial", "Drone", "Bird's Eye"], "tags": ["Aerial Shot", "Drone Footage"]},
        {"metadata_conditions": {"resolution": "4K", "duration_gt": 600}, "tags": ["High Resolution", "Extended Play"]},
        {"ai_generated_tags": ["Action", "Explosive"], "tags": ["High-Intensity", "Action-Packed"]},
        {"metadata_conditions": {"codec": "h264", "bit_rate_gt": 2000000}, "tags": ["High Bitrate", "H.264 Codec"]}
    ]
}"""


def tags_of(rules: Any, **facts: Any) -> list[str]:
    return [match.tag for match in evaluate(parse_rules(json.dumps(rules)), facts_of(**facts)).tags]


def test_the_known_file_gives_the_tags_its_users_expect() -> None:
    rules = parse_rules(KNOWN)
    long_film = facts_of(resolution="4K", duration_s=601.0, video_codec="h264", bit_rate=2_000_001)
    given = {match.tag: match for match in evaluate(rules, long_film).tags}
    assert list(given) == ["High Resolution", "Extended Play", "High Bitrate", "H.264 Codec"]
    assert given["Extended Play"].rule == "High Resolution + Extended Play"
    assert given["Extended Play"].evidence == ("duration is 601 s (asked: above 600 s), resolution is 4K (asked: 4K)")
    short_film = facts_of(resolution="4K", duration_s=600.0, video_codec="hevc", bit_rate=9_000_000)
    assert evaluate(rules, short_film).tags == ()
    flight = facts_of(description="A drone circles a tower.", model_tags=("explosive",))
    assert [match.tag for match in evaluate(rules, flight).tags] == [
        "Aerial Shot", "Drone Footage", "High-Intensity", "Action-Packed",
    ]  # fmt: skip


def test_the_blocks_of_a_rule_are_alternatives_unless_it_asks_for_all() -> None:
    rule = {"tags": ["x"], "description_keywords": ["sea"], "metadata_conditions": {"duration_lt": 10}}
    assert tags_of([rule], description="the sea", duration_s=60.0) == ["x"]
    assert tags_of([rule], description="a hill", duration_s=5.0) == ["x"]
    assert tags_of([rule], description="a hill", duration_s=60.0) == []
    both = rule | {"match": "all"}
    assert tags_of([both], description="the sea", duration_s=60.0) == []
    assert tags_of([both], description="the sea", duration_s=5.0) == ["x"]


def test_conditions_in_one_object_must_all_hold_and_objects_in_a_list_are_alternatives() -> None:
    rule = {"tags": "x", "metadata_conditions": [{"has_audio": False}, {"width_gt": 10, "height_gt": 10}]}
    assert tags_of([rule], has_audio=False) == ["x"]
    assert tags_of([rule], has_audio=True, width=20, height=20) == ["x"]
    assert tags_of([rule], has_audio=True, width=20, height=5) == []


def test_a_tag_is_given_once_and_the_first_rule_gets_the_credit() -> None:
    rules = parse_rules(
        '[{"name": "a", "description_keywords": "sea", "tags": "Water"},'
        ' {"name": "b", "description_keywords": "sea", "tags": ["water", "Sea"]}]'
    )
    assert [(match.tag, match.rule) for match in evaluate(rules, facts_of(description="sea")).tags] == [
        ("Water", "a"),
        ("Sea", "b"),
    ]


def test_a_disabled_rule_is_as_good_as_none() -> None:
    on = {"tags": "x", "description_keywords": "sea"}
    off = {"tags": "y", "description_keywords": "sea", "enabled": False}
    assert tags_of([on, off], description="sea") == ["x"]
    assert parse_rules(json.dumps([on, off])).version == parse_rules(json.dumps([on])).version


def test_layout_notes_aliases_and_order_of_keys_and_keywords_leave_the_version_alone() -> None:
    one = parse_rules('[{"name":"r","tags":["T"],"description_keywords":["sea","Sun-set"],"metadata_conditions":{"codec":"H.264","duration_gt":60}}]')  # fmt: skip  # noqa: E501
    other = parse_rules("""{"note": "a remark", "rules": [{
        "metadata_conditions": {"duration_s_gt": 60.0, "video_codec": ["avc"]},
        "description_keywords": ["SUN SET", "sea"], "note": "another", "tags": "T", "name": "r"}]}""")
    assert one.version == other.version
    assert one.texts() == {one.version: one.text}


@pytest.mark.parametrize(
    "changed",
    [
        '[{"name":"r","tags":["T"],"metadata_conditions":{"duration_gt":61}}]',
        '[{"name":"r","tags":["T"],"metadata_conditions":{"duration_gte":60}}]',
        '[{"name":"r","tags":["U"],"metadata_conditions":{"duration_gt":60}}]',
        '[{"name":"s","tags":["T"],"metadata_conditions":{"duration_gt":60}}]',
        "[]",
    ],
)
def test_whatever_can_change_a_result_changes_the_version(changed: str) -> None:
    before = parse_rules('[{"name":"r","tags":["T"],"metadata_conditions":{"duration_gt":60}}]')
    assert parse_rules(changed).version != before.version


def test_the_name_of_an_unnamed_rule_stays_when_rules_above_it_come_and_go() -> None:
    last = {"tags": ["Sea"], "description_keywords": "sea"}
    other = {"tags": ["Hill"], "description_keywords": "hill"}
    names = [rule.name for rule in parse_rules(json.dumps([other, last, last])).rules]
    assert names == ["Hill", "Sea", "Sea (2)"]
    assert parse_rules(json.dumps([last])).rules[0].name == "Sea"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"rules": [{"tags": ["a"], "descripton_keywords": ["x"]}]}',
            ["rule 1", "descripton_keywords", 'did you mean "description_keywords"'],
        ),
        (
            '[{"name": "n", "tags": ["a"], "metadata_conditions": {"durration_gt": 5}}]',
            ['rule 1 ("n"), metadata_conditions', 'did you mean "duration_gt"?'],
        ),
        (
            '[{"tags": ["a"], "description_keywords": ["x"]}, {"tags": [], "description_keywords": [3]}]',
            ["rule 2", "at least one entry", "should be text; found 3"],
        ),
        ('[{"description_keywords": ["x"]}]', ['"tags" is missing']),
        ('[{"tags": ["a"]}]', ["has no conditions"]),
        ('[{"tags": ["a"], "metadata_conditions": {}}]', ["has no conditions"]),
        ('[{"tags": ["a"], "filename_patterns": [""]}]', ["filename_patterns", "1 to 500 characters"]),
        ('[{"tags": ["a\\u001b[2J"], "description_keywords": ["x"]}]', ['"tags", entry 1', "printable"]),
        ('[{"tags": ["a"], "description_keywords": ["!!"]}]', ["contains no word"]),
        ('[{"tags": ["a"], "match": "some", "description_keywords": ["x"]}]', ["'any' or 'all'", 'found "some"']),
        (
            '[{"name": "N", "tags": "a", "description_keywords": "x"},'
            ' {"name": "n", "tags": "a", "description_keywords": "x"}]',
            ['rule 1 ("N")', 'rule 2 ("n")', 'have the same name "n"'],
        ),
        ('[{"tags": ["a"], "tags": ["b"]}]', ['duplicate key "tags"']),
        ('[{"tags": ["a"], "metadata_conditions": {"width": NaN}}]', ["NaN"]),
        ('{"rulez": []}', ['the key "rules"', '"rulez" is not a known key']),
        ('{"rules": {}}', ["a list of rules"]),
        ("[1]", ["rule 1", "found 1, expected an object"]),
        ('[\n{"tags": ["a"],}]', ["line 2, column 1", "no comma after the last entry"]),  # 15 or 16, by Python
        ("[" * 100_000, ["cannot be read as JSON"]),
    ],
)
def test_a_wrong_file_is_refused_with_place_finding_and_advice(text: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        parse_rules(text, "rules/custom_tags.json")
    assert str(error.value).startswith("rules/custom_tags.json")
    for part in said:
        assert part in str(error.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file.*vidpipe init.*CustomTagRules"):
        read_text(tmp_path / "none.json", "rules/none.json", "CustomTagRules")
    (tmp_path / "binary.json").write_bytes(b"[\xff]")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_text(tmp_path / "binary.json", "binary.json", "CustomTagRules")


def test_a_home_without_rules_uses_the_defaults_but_a_named_file_must_be_there(tmp_path: Path) -> None:
    default = parse_rules((DEFAULT_RULES / "custom_tags.json").read_text(encoding="utf-8"))
    assert build_rules(Settings(home=tmp_path)).version == default.version
    assert build_categories(Settings(home=tmp_path)).categories
    assert "Drone Footage" in build_priority_keywords(Settings(home=tmp_path)).keywords
    with pytest.raises(SettingsError, match=r"mine\.json"):
        build_rules(Settings(home=tmp_path, rules=Rules(custom_tag_rules=Path("mine.json"))))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "custom_tags.json").write_text('\ufeff[{"tags": "T", "description_keywords": "x"}]')
    assert [rule.name for rule in build_rules(Settings(home=tmp_path)).rules] == ["T"]


def test_labels_match_as_wholes_and_the_evidence_says_who_gave_them() -> None:
    rules = parse_rules(
        '[{"labels": ["street-performance", "no"], "tags": ["Busker"]}, {"labels": "street", "tags": ["Street"]},'
        ' {"metadata_conditions": {"label_in": ["CATS"], "label_not": "dogs"}, "tags": ["Cats"]},'
        ' {"subtitle_keywords": "harbour", "tags": ["Sea"]}]'
    )
    found = evaluate(rules, facts_of(labels=("cats", "Street_Performance"), source_titles=("Old harbour",))).tags
    assert {match.tag: match.evidence for match in found} == {
        "Busker": 'the list or user that added it labels it "Street_Performance"',
        "Cats": "label is cats and street performance (asked: cats and not dogs)",
        "Sea": 'the title from its list or user says "harbour"',
    }
    assert evaluate(rules, facts_of()).tags == ()


def test_a_facet_is_marked_and_changes_the_version_only_where_it_is_set() -> None:
    rule = {"tags": ["SD"], "metadata_conditions": {"resolution": "SD"}}
    plain, no_facet, facet = (
        parse_rules(json.dumps([rule | more])) for more in ({}, {"facet": False}, {"facet": True})
    )
    assert plain.version == no_facet.version != facet.version == parse_rules(facet.text).version
    assert [evaluate(rules, facts_of(resolution="SD")).tags[0].facet for rules in (plain, facet)] == [False, True]
    assert not Tag.model_validate({"tag": "SD", "rule": "stored before there were facets"}).facet
