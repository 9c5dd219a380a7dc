"""categories.json: scores, reasons, and "Unclassified" only where nothing matched."""

import pytest

from vidpipe.errors import SettingsError
from vidpipe.models.questions import parse_priority_keywords
from vidpipe.settings.home import DEFAULT_RULES
from vidpipe.tagging.categories import CategorySet, classify, explain_categories
from vidpipe.tagging.facts import RuleFacts
from vidpipe_tests.tagging.facts import facts_of
from vidpipe_tests.tagging.one_file import parse_categories


@pytest.fixture(scope="module")
def defaults() -> CategorySet:
    return parse_categories((DEFAULT_RULES / "categories.json").read_text())


SHORT = '{"Action": ["explosion", "car chase"], "Music": ["concert"]}'


def test_the_short_form_is_enough() -> None:
    categories = parse_categories(SHORT)
    verdict = classify(categories, facts_of(description="An explosion ends the car chase; a concert goes on."))
    assert (verdict.category, verdict.score) == ("Action", 2.0)
    assert verdict.reason == 'the description says "car chase", "explosion"'
    assert verdict.candidates == (("Action", 2.0), ("Music", 1.0))


@pytest.mark.parametrize(
    "text",
    [
        '{"categories": ' + SHORT + "}",
        '[{"name": "Action", "keywords": ["explosion", "car chase"]},'
        ' {"name": "Music", "description_keywords": "concert"}]',
        '{"note": "x", "categories": [{"name": "Action", "keywords": ["car-chase", "explosion"]},'
        ' {"name": "Music", "keywords": ["Concert"]}]}',
        '{"Action": {"keywords": ["explosion", "car chase"], "weights": {"keywords": 1}}, "Music": "concert"}',
    ],
)
def test_every_form_of_the_file_means_the_same(text: str) -> None:
    assert parse_categories(text).version == parse_categories(SHORT).version


def test_equal_scores_go_to_the_first_in_the_file() -> None:
    facts = facts_of(description="a concert in an explosion")
    assert classify(parse_categories('{"B": ["concert"], "A": ["explosion"]}'), facts).category == "B"
    assert classify(parse_categories('{"A": ["explosion"], "B": ["concert"]}'), facts).category == "A"


def test_weights_and_min_score_decide() -> None:
    categories = parse_categories(
        '[{"name": "Weak", "keywords": ["sea"], "min_score": 2},'
        ' {"name": "Tagged", "tags": ["Water"], "weights": {"tags": 1.5}},'
        ' {"name": "Said", "keywords": ["sea"]}]'
    )
    assert classify(categories, facts_of(description="sea", tags=("water",))).candidates == (
        ("Tagged", 1.5),
        ("Said", 1.0),
    )
    assert classify(categories, facts_of()).category == "Unclassified"
    assert [one.matched for one in explain_categories(categories, facts_of(description="sea"))] == [False, False, True]


def test_unclassified_is_said_only_where_nothing_matched(defaults: CategorySet) -> None:
    verdict = classify(defaults, facts_of(description="A grey wall.", aspect_ratio=1.78, frame_rate=30.0))
    assert (verdict.category, verdict.score, verdict.candidates) == ("Unclassified", 0.0, ())
    assert verdict.reason == f"none of the {len(defaults.categories)} categories matched"


def test_measurements_alone_are_called_a_hint() -> None:
    categories = parse_categories('{"Wide": {"metadata_conditions": {"aspect_ratio_gte": 2, "fps_lte": 25}}}')
    assert classify(categories, facts_of(aspect_ratio=2.35, frame_rate=24.0)).reason == (
        "a hint from measurements: aspect ratio is 2.35 (asked: at least 2), "
        "frame rate is 24 frames/s (asked: at most 25 frames/s)"
    )


def test_no_default_category_is_made_of_measurements(defaults: CategorySet) -> None:
    blocks = {block.name for one in defaults.categories for block in one.blocks}
    assert not blocks & {"metadata_conditions", "source_patterns"}


def test_a_tag_of_the_models_counts_once_in_a_category(defaults: CategorySet) -> None:
    sources = {"high intensity": frozenset({"action"}), "action packed": frozenset({"action"})}
    tags = ("High-Intensity", "Action-Packed")
    once = facts_of(model_tags=("Action",), tags=tags, tag_sources=sources)
    assert classify(defaults, once).candidates == (("Action", 1.0),)
    parts = next(one for one in explain_categories(defaults, once) if one.category == "Action").blocks[0].parts
    assert not any(part.matched for part in parts)
    assert "already counted" in parts[1].found
    # a category that does not ask for the model's tag itself counts what a rule made of it, once
    both = parse_categories('{"A": {"tags": ["High-Intensity", "Action-Packed"]}}')
    assert classify(both, once).candidates == (("A", 1.0),)
    # words of the description are evidence of their own, the same tag is not
    assert classify(both, facts_of(tags=tags)).candidates == (("A", 2.0),)
    same = parse_categories('{"M": {"tags": ["Music"], "ai_generated_tags": ["Music"]}}')
    assert classify(same, facts_of(model_tags=("music",), tags=("Music",))).candidates == (("M", 1.0),)


def test_the_models_category_is_a_candidate_that_can_win() -> None:
    proposed = facts_of(model_category="music", model_confidence=0.8, description="a concert and an explosion")
    categories = parse_categories('{"Action": ["explosion"], "Music": ["concert"], "Sea": ["wave"]}')
    verdict = classify(categories, proposed)
    assert verdict.candidates == (("Music", 3.0), ("Action", 1.0))
    assert verdict.reason == 'the description says "concert"; the model proposed it, with confidence 0.8'
    assert classify(categories, facts_of(model_category="Elsewhere")).category == "Unclassified"
    weighed = parse_categories('{"Music": {"keywords": ["concert"], "weights": {"model_category": 0.5}}}')
    assert classify(weighed, proposed).score == 1.5
    assert parse_categories(weighed.text).version == weighed.version


@pytest.mark.parametrize(
    ("facts", "category"),
    [
        (facts_of(tags=("High-Intensity",)), "Action"),
        (facts_of(tags=("Documentary Footage",)), "Documentary"),
        (facts_of(description="a documentary on the ice age"), "Documentary"),
        (facts_of(description="a cinematic film scene"), "Cinematic"),
        (facts_of(description="A goalkeeper dives in a packed stadium"), "Sports"),
        (facts_of(description="A news anchor in a news studio"), "News"),
        (facts_of(names=("python tutorial 3.mp4",)), "Educational"),
    ],
)
def test_the_default_categories_know_their_own(defaults: CategorySet, facts: RuleFacts, category: str) -> None:
    assert classify(defaults, facts).category == category


@pytest.mark.parametrize(
    ("words", "category"),
    [
        ("Breaking news from the capital. Our correspondent\nis there.", "News"),
        ("Straight from the free kick, and the goalkeeper had no chance!", "Sports"),
        ("The melody returns in the second verse, over the same chords.", "Music"),
        ("In this lecture we prove\nthe theorem step by step.", "Educational"),
        ("My guest today has written a novel. - Thanks for having me.", "Interview"),
        ("Preheat the oven, then add two tablespoons of flour.", "Food"),
        ("In today's vlog: a day in my life.", "Vlog"),
        ("Archaeologists found it near the temple of an ancient town.", "Documentary"),
        ("The garden is full of beautiful flowers.", "Nature"),
        ("Our tour guide knows the best street food.", "Travel"),
        ("I am lost. This is a terrible, frightening place. The ship is broken.", "Unclassified"),
        ("You left me in the garden, and I went home.", "Unclassified"),
    ],
)
def test_two_spoken_words_of_a_subject_decide_where_nothing_else_speaks(
    defaults: CategorySet, words: str, category: str
) -> None:
    assert classify(defaults, facts_of(subtitles=words)).category == category


def test_no_single_spoken_word_decides(defaults: CategorySet) -> None:
    blocks = [block for one in defaults.categories for block in one.blocks if block.name == "text_keywords"]
    assert len(blocks) > 5
    for keyword in (keyword for block in blocks for keyword in block.normal()):
        for facts in (facts_of(subtitles=keyword), facts_of(subtitles=f"{keyword}, {keyword}", title=keyword)):
            assert classify(defaults, facts).category == "Unclassified", keyword


def test_what_a_model_saw_outweighs_what_is_said(defaults: CategorySet) -> None:
    facts = facts_of(subtitles="the garden, the lake and the river", description="Two people play tennis.")
    verdict = classify(defaults, facts)
    assert verdict.candidates == (("Sports", 1.0), ("Nature", 0.75))


def test_a_spoken_word_is_worth_half_unless_weights_say_otherwise() -> None:
    categories = parse_categories(
        '{"Half": {"subtitle_keywords": "sea"},'
        ' "More": {"subtitle_keywords": "sea", "weights": {"subtitle_keywords": 2}}}'
    )
    assert classify(categories, facts_of(subtitles="sea, sea, seas")).candidates == (("More", 2.0), ("Half", 0.5))
    assert parse_categories(categories.text).version == categories.version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"Action": {"keyword": ["x"]}}', ['category "Action"', 'did you mean "keywords"']),
        ('{"Action": []}', ["has no conditions"]),
        ('{"unclassified": ["x"]}', ["reserved for videos without a category"]),
        ('{"A": {"keywords": ["x"], "weights": {"keywordz": 2}}}', ["weights", "keywordz"]),
        ('{"A": {"keywords": ["x"], "weights": {"tags": -1}}}', ['"tags" should be greater than 0', "found -1"]),
        ('{"A": {"metadata_conditions": {"widht": 5}}}', ['did you mean "width"?']),
        ('{"categories": {"A": ["x"]}, "Action": ["y"]}', ['"Action" is not allowed beside "categories"']),
        ('{"A": ["x"], "a": ["y"]}', ['have the same name "a"']),
        ("3", ["expected an object of name and keywords"]),
    ],
)
def test_a_wrong_file_is_refused_with_place_finding_and_advice(text: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        parse_categories(text, "rules/categories.json")
    assert str(error.value).startswith("rules/categories.json")
    for part in said:
        assert part in str(error.value)


def test_priority_keywords_are_a_list_or_groups_of_lists() -> None:
    flat = parse_priority_keywords('{"priority_keywords": ["Close-up", "Time-lapse", "Close-up"]}')
    assert flat.keywords == ("Close-up", "Time-lapse")
    assert parse_priority_keywords('["Close-up", "Time-lapse"]').version == flat.version
    groups = parse_priority_keywords('{"shots": ["Close-up"], "action": ["explosion"]}')
    assert groups.groups == {"action": ("explosion",), "shots": ("Close-up",)}
    assert parse_priority_keywords(groups.text).version == groups.version
    for wrong in (
        '{"priority_keywords": 3}',
        '{"a": [3]}',
        '{"priority_keywords": [], "more": []}',
        '{"a": {"b": []}}',
    ):
        with pytest.raises(SettingsError, match=r"^priority_keywords\.json"):
            parse_priority_keywords(wrong)


def test_each_label_counts_as_much_as_a_tag() -> None:
    categories = parse_categories('{"Animals": {"labels": ["cats", "dogs"]}, "Sea": ["harbour"]}')
    verdict = classify(categories, facts_of(labels=("Cats", "dogs"), description="a harbour"))
    assert (verdict.category, verdict.score) == ("Animals", 2.0)
    assert verdict.reason == 'the list or user that added it labels it "Cats", "dogs"'
