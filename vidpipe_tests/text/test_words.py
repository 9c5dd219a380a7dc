"""Keywords are found as whole words, whatever their case, hyphens or plural."""

import pytest

from vidpipe.tagging.blocks import KeywordBlock
from vidpipe.tagging.facts import RuleFacts
from vidpipe.text.words import label_key, normalize, search_forms


def found(keyword: str, description: str) -> bool:
    said, spoken, titled = (
        RuleFacts(description=description),
        RuleFacts(subtitles=description),
        RuleFacts(title=description),
    )
    block = KeywordBlock.parse("subtitle_keywords", [keyword])
    in_description = KeywordBlock.parse("description_keywords", [keyword]).matches(said)
    assert block.matches(spoken) == block.matches(titled) == in_description
    return in_description


@pytest.mark.parametrize(
    ("keyword", "description"),
    [
        ("sunset", "A SUNSET, seen from the pier."),
        ("beach", "Two beaches at noon"),
        ("city", "Lights of the cities"),
        ("Bird's Eye", "seen from a bird\u2019s eye view"),
        ("close-up", "a close up of a hand"),
        ("slow motion", "In slow\nmotion, a cat jumps"),
        ("café", "the cafe\u0301 on the corner"),
        ("海滩", "孩子们在海滩上玩耍。"),
    ],
)
def test_a_keyword_is_found(keyword: str, description: str) -> None:
    assert found(keyword, description)


@pytest.mark.parametrize(
    ("keyword", "description"),
    [
        ("car", "a carpet and a scarf"),
        ("slow motion", "slow, then a motion"),
        ("action", "satisfaction and reactions"),
        ("sunset", ""),
    ],
)
def test_parts_of_words_are_not(keyword: str, description: str) -> None:
    assert not found(keyword, description)


def test_evidence_names_what_the_description_says_not_what_was_asked() -> None:
    facts = RuleFacts(description="Drones over beaches")
    assert KeywordBlock.parse("description_keywords", ["beach", "drone", "snow"]).evidence(facts) == (
        'the description says "beaches", "drones"'
    )


def test_evidence_names_subtitles_before_the_title() -> None:
    block = KeywordBlock.parse("subtitle_keywords", ["garden", "flower", "slow motion", "winter"])
    both = RuleFacts(subtitles="The garden\nis full of flowers", title="Garden flowers in winter, in slow motion")
    assert block.evidence(both) == 'the subtitles say "flowers", "garden", the title says "slow motion", "winter"'
    assert len(block.hits(both)) == 4
    titled = RuleFacts(title="My garden", description="flowers")
    assert block.evidence(titled) == 'the title says "garden"'
    assert len(block.hits(titled)) == 1


def test_a_block_reads_only_its_own_text() -> None:
    facts = RuleFacts(description="sea", subtitles="hill", title="lake")
    words = ["hill", "lake", "sea"]
    assert KeywordBlock.parse("description_keywords", words).evidence(facts) == 'the description says "sea"'
    assert len(KeywordBlock.parse("subtitle_keywords", words).hits(facts)) == 2


def test_subtitles_are_brought_into_normal_form_once_and_only_if_a_rule_asks_for_them() -> None:
    facts = RuleFacts(description="sea", subtitles="garden", title="garden")
    KeywordBlock.parse("description_keywords", ["sea"]).parts(facts)
    assert "spoken" not in vars(facts)
    KeywordBlock.parse("subtitle_keywords", ["garden"]).matches(facts)
    spoken, title = facts.spoken
    assert "normal" in vars(spoken)
    assert "normal" not in vars(title), "the subtitles were enough"
    assert spoken.normal is facts.spoken[0].normal


def test_a_text_of_nothing_but_combining_marks_costs_no_more_than_its_length() -> None:
    hostile = "\u0301\u0316" * 64_000
    assert found("sunset", f"a{hostile} the sunset, cafe\u0301")
    assert normalize("cafe\u0301 " * 1000) == normalize("caf\u00e9 " * 1000)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("night_watch-2019.mp4", "night watch 2019"),
        ("MyHoliday2019.mp4", "my holiday 2019"),
        ("HTTPServerTest.mkv", "http server test"),
        ("My%20Cats%26Dogs.mov", "my cats dogs"),
        ("1080pTrailer.m2ts", "1080 p trailer"),
        ("iPhone15.mov", "iphone 15"),
        ("\u00c9t\u00e9AuLac.mp4", "\u00e9t\u00e9 au lac"),
    ],
)
def test_the_words_within_a_file_name_are_told_apart(name: str, words: str) -> None:
    assert words in search_forms((), [name])


def test_a_long_text_and_one_without_words_are_searched_by_what_there_is() -> None:
    assert search_forms(["", "\u2605", "\ud800a"], [".mp4", ""]) == ("a",)
    assert sum(map(len, search_forms(["aB1" * 100_000]))) < 20_000


def test_labels_are_one_whatever_their_case_and_what_joins_their_words() -> None:
    assert (
        len({label_key(label) for label in ("Street_Performance", " street-performance", "STREET  performance")}) == 1
    )
    assert len({label_key(label) for label in ("C", "C++", "C#", "1", "-1", "\u2605", "cat", "cats")}) == 8
