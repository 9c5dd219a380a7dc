"""Categories in two levels, with weighted signals and exclusions."""

import json
from pathlib import Path

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.settings.home import DEFAULT_RULES
from vidpipe.tagging.categories import CategorySet, build_categories, classify, explain_categories, parse_category_set
from vidpipe.tagging.facts import RuleFacts, SeenObject
from vidpipe.tagging.rule_files import RuleFile
from vidpipe.text.words import TimedText
from vidpipe_tests.tagging.facts import facts_of
from vidpipe_tests.tagging.one_file import parse_categories

NIGHT = """{
  "Sports": {
    "keywords": ["match"],
    "subcategories": {
      "Football": {"keywords": ["goalkeeper"], "excludes": [{"description|phrase": "american football"}]},
      "Tennis": {"signals": [{"weight": 2, "name": "racket", "objects|any": ["tennis racket"]},
                             {"speech|word": "backhand"}]}
    }
  },
  "Night": {
    "signals": [{"weight": 1.5, "selections": {"dark": {"brightness|lt": 0.18}, "bright": {"brightness|gt": 0.9}},
                 "condition": "dark and not bright"}]
  }
}"""


@pytest.fixture(scope="module")
def categories() -> CategorySet:
    return parse_categories(NIGHT)


@pytest.fixture(scope="module")
def defaults() -> CategorySet:
    return parse_categories((DEFAULT_RULES / "categories.json").read_text())


def racket(**more: object) -> RuleFacts:
    return facts_of(objects=(SeenObject("tennis racket", 1, 0.9, 0.5),), **more)


def test_the_score_of_a_category_includes_its_best_subcategory_which_is_named(categories: CategorySet) -> None:
    verdict = classify(categories, racket(description="a match with a goalkeeper", brightness=0.1))
    assert (verdict.category, verdict.subcategory, verdict.score) == ("Sports", "Tennis", 3.0)
    assert verdict.candidates == (("Sports", 3.0), ("Night", 1.5))
    assert verdict.reason == 'the description says "match"; Tennis: objects is tennis racket (asked: tennis racket)'
    assert verdict.other_reasons == ("a hint from measurements: brightness is 0.1 (asked: below 0.18)",)


def test_a_category_without_evidence_for_a_subcategory_has_none(categories: CategorySet) -> None:
    assert classify(categories, facts_of(description="a match")).subcategory is None


def test_what_is_excluded_has_no_score(categories: CategorySet) -> None:
    assert classify(categories, facts_of(description="a goalkeeper")).subcategory == "Football"
    other = classify(categories, facts_of(description="the goalkeeper explains American football"))
    assert (other.category, other.candidates) == ("Unclassified", ())


def test_equal_scores_go_to_the_first_subcategory_in_the_file() -> None:
    text = '{"A": {"subcategories": {"Y": ["sea"], "X": ["sea"]}}}'
    assert classify(parse_categories(text), facts_of(description="sea")).subcategory == "Y"


def test_min_score_of_a_subcategory_decides_whether_it_is_named_not_what_it_adds() -> None:
    one = parse_categories(
        '{"A": {"keywords": ["sun"], "subcategories": {"B": {"keywords": ["sea"], "min_score": 2}}}}'
    )
    verdict = classify(one, facts_of(description="sun, sea"))
    assert (verdict.score, verdict.subcategory) == (2.0, None)


def test_the_model_may_choose_a_subcategory(categories: CategorySet) -> None:
    verdict = classify(categories, facts_of(model_category="football"))
    assert (verdict.category, verdict.subcategory, verdict.score) == ("Sports", "Football", 2.0)


def test_the_normal_form_means_the_same(categories: CategorySet, defaults: CategorySet) -> None:
    for one in (categories, defaults):
        again = parse_categories(one.text)
        assert again.version == one.version
    facts = racket(description="match, goalkeeper", brightness=0.1)
    assert classify(parse_categories(categories.text), facts) == classify(categories, facts)


def test_a_file_of_blocks_only_has_the_version_and_results_that_it_always_had() -> None:
    old = parse_categories('{"A": {"keywords": ["sea"], "min_score": 1}, "B": ["sea"]}')
    assert old.version == "d338c0113c435868"
    verdict = classify(old, facts_of(description="sea"))
    assert (verdict.subcategory, verdict.other_reasons) == (None, ())
    assert json.loads(old.text) == {
        "categories": [
            {"name": "A", "description_keywords": ["sea"], "min_score": 1.0},
            {"name": "B", "description_keywords": ["sea"]},
        ]
    }


def test_an_unknown_signal_counts_nothing_and_the_explanation_says_so(categories: CategorySet) -> None:
    tennis = next(one for one in explain_categories(categories, facts_of()) if one.category == "Tennis")
    assert (tennis.parent, tennis.score, tennis.matched) == ("Sports", 0.0, False)
    objects, speech = (one for one in tennis.blocks if one.block.startswith("signal"))
    assert (objects.matched, objects.weight, objects.contribution, objects.parts[0].found) == (None, 2, 0, "not known")
    assert (speech.matched, speech.parts[0].found) == (None, "not known")


def test_the_contributions_of_an_explanation_add_up_and_the_margin_is_to_the_runner_up(categories: CategorySet) -> None:
    said = TimedText.of("speech", "someone says", [(12.0, "a fine backhand")])
    facts = racket(description="a match", brightness=0.1, found=(said,), examined=("speech",))
    for one in explain_categories(categories, facts):
        assert one.score == sum(block.contribution for block in one.blocks)
    sports, football, tennis, night = explain_categories(categories, facts)
    assert (sports.score, sports.rival, sports.margin) == (4.0, "Night", 2.5)
    assert (night.rival, night.margin) == ("Sports", -2.5)
    assert (tennis.score, tennis.rival, football.margin) == (3.0, "", -3.0)


def test_further_files_add_subcategories_and_categories(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "own.yaml").write_text(
        "categories:\n"
        "  - {name: Curling, parent: sports, keywords: [curling stone]}\n"
        "  - {name: Aquarium, signals: [{description|word: [fish, aquarium]}]}\n"
    )
    found = build_categories(Settings(home=tmp_path))
    verdict = classify(found, facts_of(description="A curling stone slides."))
    assert (verdict.category, verdict.subcategory) == ("Sports", "Curling")
    assert classify(found, facts_of(description="Fishes in an aquarium.")).category == "Aquarium"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"name": "A", "keywords": "x", "parent": "Sport"}, {"name": "Sports", "keywords": "y"}]',
         ['category "A": the parent "Sport" is not a category of the upper level', 'did you mean "Sports"?']),
        ('{"A": {"keywords": "x", "parent": "A"}}', ['the parent "A" is not a category of the upper level']),
        ('{"A": {"keywords": "x", "parent": "B"}, "B": {"keywords": "x", "parent": "A"}}', ["upper level"]),
        ('{"A": {"subcategories": {"B": {"subcategories": {"C": "x"}}}}}', ['category "C"', 'the parent "B"']),
        ('{"A": {"keywords": "x", "subcategories": {"a": "x"}}}', ["have the same name"]),
        ('{"A": {"subcategories": {"B": {}}}}', ['category "A", category "B" has no conditions']),
        ('{"A": {"subcategories": 3}}', ["subcategories"]),
        ('{"A": {"signals": [{"weight": 0, "brightness|lt": 1}]}}', ["signals, entry 1", '"weight"']),
        ('{"A": {"signals": [{"brigthness|lt": 1}]}}', ['no field "brigthness"', 'did you mean "brightness"?']),
        ('{"A": {"signals": [{"weight": 2}]}}', ["signals, entry 1", "is empty"]),
        ('{"A": {"signals": [{"selections": {"a": {"fps|gt": 1}}, "condition": "b"}]}}', ['"b", which is']),
        ('{"A": {"signals": 3}}', ['"signals" should be a list']),
        ('{"A": {"keywords": "x", "exclude": []}}', ['"exclude" is not a known key; did you mean "excludes"?']),
        ('{"A": {"keywords": "x", "excludes": ["B"]}}', ["excludes"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(text: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_categories(text, "rules/categories.json")
    message = f"{raised.value.message} {raised.value.hint}"
    assert message.startswith("rules/categories.json")
    for part in said:
        assert part in message


def test_names_are_unique_in_all_files_together() -> None:
    files = [RuleFile.parse('{"categories": [{"name": "A", "keywords": "x"}]}', name) for name in ("a.json", "b.json")]
    with pytest.raises(SettingsError, match=r"a\.json, category .* and b\.json, category .* have the same name"):
        parse_category_set(files)


@pytest.mark.parametrize(
    ("facts", "category", "subcategory"),
    [
        (facts_of(description="Two teams play soccer; the goalkeeper jumps."), "Sports", "Football"),
        (facts_of(description="A game of American football."), "Sports", "American Football"),
        (facts_of(description="A football game.", subtitles="touchdown by the quarterback"), "Sports",
         "American Football"),
        (facts_of(description="Two women play tennis."), "Sports", "Tennis"),
        (facts_of(description="Two women play table tennis."), "Sports", None),
        (facts_of(subtitles="The referee stops the game at halftime."), "Sports", None),
        (facts_of(description="Wildlife in a forest by a river."), "Nature", "Wildlife"),
        (facts_of(description="A river runs through a forest in the mountains."), "Nature", "Landscape"),
        (facts_of(description="A river."), "Nature", None),
        (facts_of(description="A singer on stage at a concert."), "Music", "Concert"),
        (facts_of(names=("Band - Song (Official Video).mp4",)), "Music", "Music Video"),
        (facts_of(names=("Python tutorial 3.mp4",)), "Educational", "Tutorial"),
        (facts_of(description="A teacher gives a lecture."), "Educational", "Lecture"),
    ],
)  # fmt: skip
def test_the_default_subcategories_claim_what_was_found(
    defaults: CategorySet, facts: RuleFacts, category: str, subcategory: str | None
) -> None:
    verdict = classify(defaults, facts)
    assert (verdict.category, verdict.subcategory) == (category, subcategory)
