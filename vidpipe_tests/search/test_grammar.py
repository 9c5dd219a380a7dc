"""The query language: what a text asks for, and where its errors are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vidpipe.library.states import STATES
from vidpipe.search.fields import Fields
from vidpipe.search.grammar import DEEPEST, LONGEST_QUERY, MOST_CONDITIONS, parse, quoted
from vidpipe.search.query import EVERYTHING, And, Between, InState, Node, Not, Or, QueryError, Term, Words
from vidpipe.text.stems import tokens
from vidpipe_tests.default_graph import GRAPH

FIELDS = Fields(GRAPH)
SAVED = {
    "night": "tag:night OR said:moon*", "both": "saved:night -drone", "broken": "x (y", "empty": "",
    "loop": "a saved:detour", "detour": "b saved:loop",
}  # fmt: skip
PIECES = [
    "AND", "OR", "NOT", "-", "(", ")", '"', "“", "\\", "*", ":", " ", "a", "Ökonom", "日本", "&",
    "tag:", "title:", "duration:", "added:", "fps:", "state:", "saved:", "nope:", "//", ">", "<=", "..", "1:30", "2m",
    "2026-11", "night", "loop", "failed", "\x00", "\n", "\u202e", "\ud800",
]  # fmt: skip


def query(text: str) -> Node:
    return parse(text, FIELDS, SAVED)


def answer(text: str) -> tuple[Node | None, QueryError | None]:
    """Return what `text` asks for, or why it is no query; any other error is a failure."""
    try:
        return query(text), None
    except QueryError as error:
        position = error.position
        if not (0 <= position <= len(text)):
            raise AssertionError(f"position {position}") from error
        return None, error


def words(node: Node) -> list[Words]:
    if isinstance(node, Words):
        return [node]
    if isinstance(node, And | Or):
        return [found for part in node.parts for found in words(part)]
    return words(node.part) if isinstance(node, Not) else []


def shape(node: Node) -> str:
    """Return a node in a short form, without positions."""
    match node:
        case Words():
            return f"{node.field and node.field + ':'}{node.text}{'*' * node.prefix}"
        case Term():
            return f"{node.field}={node.key}"
        case InState():
            return f"is {node.state}"
        case Not():
            return f"!{shape(node.part)}"
        case And() | Or():
            return f"[{(' & ' if isinstance(node, And) else ' | ').join(map(shape, node.parts))}]"
        case Between():
            low = "" if node.low is None else f"{node.low:g} {'<=' if node.with_low else '<'} "
            high = "" if node.high is None else f" {'<=' if node.with_high else '<'} {node.high:g}"
            return f"{low}{node.field}{high}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sea", "sea"),
        ("  sea\u3000wind\n", "[sea & wind]"),
        ("sea AND wind", "[sea & wind]"),
        ("a b OR c d", "[[a & b] | [c & d]]"),
        ("a AND (b OR c)", "[a & [b | c]]"),
        ("a OR b OR c", "[a | b | c]"),
        ("(a b) c", "[[a & b] & c]"),
        ("a NOT b OR c", "[[a & !b] | c]"),
        ("NOT (a OR b) c", "[![a | b] & c]"),
        ("-a -(b c) -\"d e\"", "[!a & ![b & c] & !d e]"),
        ("NOT -a", "a"),
        ("---a", "!a"),
        ("a or b and not c", "[a & or & b & and & not & c]"),
        ("ORANGE NOTE ANDES", "[ORANGE & NOTE & ANDES]"),
        ('a OR"b c"', "[a | b c]"),
        ("a(b)c", "[a & b & c]"),
        ("close-up", "close-up"),
        ('"close up"', "close up"),
        ('"a \\"b\\" \\\\ \\n" c', '[a "b" \\ \\n & c]'),
        ('"a “b” c"', "a “b” c"),
        ("light*", "light*"),
        ('"the light h"*', "the light h*"),
        ("Tom & Jerry - * 🎬", "[Tom & Jerry]"),
        ("-& NOT * a", "a"),
        ("https://example.org/x?a=b c", "[https://example.org/x?a=b & c]"),
        ("12:30 S01E02:Pilot", "[12:30 & S01E02:Pilot]"),
        ("Alien: Covenant", "[Alien: & Covenant]"),
        ("file:///home/x.mp4", "file:///home/x.mp4"),
        ("file:/home/x.mp4", "file:/home/x.mp4"),
        ("标题：海", "标题：海"),
    ],
)  # fmt: skip
def test_words_and_operators(text: str, expected: str) -> None:
    assert shape(query(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tag:Beach", "tag=beach"),
        ("TAG:beach", "tag=beach"),
        ('tag:"Golden Hour" sea', "[tag=golden hour & sea]"),
        ("tag:(a OR b) c", "[[tag=a | tag=b] & c]"),
        ("tag:(a -b (c OR title:d))", "[tag=a & !tag=b & [tag=c | title:d]]"),
        ("-tag:a NOT tag:(b c)", "[!tag=a & ![tag=b & tag=c]]"),
        ("tag:-1 tag:a:b tag:\"x*\" tag:OR tag:🎬", "[tag=-1 & tag=a:b & tag=x* & tag=or & tag=🎬]"),
        ("codec:H.265 resolution:1080p resolution:1280x720", "[codec=hevc & resolution=full hd & resolution=1280x720]"),
        ("language:English language:de", "[language=eng & language=deu]"),
        ("sentiment:Negative why:night", "[sentiment=negative & why=night]"),
        ("object:dog screen:exit", "[object:dog & screen:exit]"),
        ('said:hello title:"a b" scene:boat*', "[said:hello & title:a b & scene:boat*]"),
        ("source:https://example.org/x", "source:https://example.org/x*"),
        ("description:(sea OR -\"the wind\")", "[description:sea | !description:the wind]"),
        ("state:failed -state:CURRENT state:(due OR blocked)", "[is failed & !is current & [is due | is blocked]]"),
        ("duration:(<60 OR 1:30..2m) fps:>=50", "[[duration < 60 | 90 <= duration <= 120] & 50 <= fps]"),
    ],
)  # fmt: skip
def test_fields(text: str, expected: str) -> None:
    assert shape(query(text)) == expected


def test_every_field_that_stages_declare_is_known() -> None:
    values = {"": "1", "s": "1", "date": "2026"}
    stated = {"resolution": "4k", "sentiment": "neutral"}
    for field in FIELDS:
        node = query(f"{field.name}:{stated.get(field.name, values[field.unit])}")
        assert isinstance(node, {"number": Between, "term": Term}.get(field.kind, Words))
    assert [query(f"state:{state}") for state in STATES] == [InState(state) for state in STATES]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_an_empty_query_asks_for_everything(text: str) -> None:
    assert query(text) == EVERYTHING


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("60", 59.5, 60.5), ("60.0", 59.95, 60.05), ("0", -0.5, 0.5), ("1:30", 89.5, 90.5), ("1:30.5", 90.45, 90.55),
        ("90:00", 5399.5, 5400.5), ("1:02:03", 3722.5, 3723.5), ("1:2:03", 3722.5, 3723.5), ("45s", 44.5, 45.5),
        ("2m", 119.5, 120.5), ("2min", 119.5, 120.5), ("1h", 3599.5, 3600.5), ("1.5h", 5399.95, 5400.05),
        ("1h30m", 5399.5, 5400.5), ("1:75", 134.5, 135.5),
        ("1H30M10S", 5409.5, 5410.5), ("1h5s", 3604.5, 3605.5),
    ],
)  # fmt: skip
def test_a_duration_matches_what_rounds_to_it(text: str, low: float, high: float) -> None:
    assert query(f"duration:{text}") == Between("duration", low, high, with_high=False)
    assert query(f'duration:"{text}"') == query(f"duration:{text}")
    value = (low + high) / 2
    assert query(f"duration:>{text}") == Between("duration", low=pytest.approx(value), with_low=False)
    assert query(f"duration:>={text}") == Between("duration", low=pytest.approx(value))
    assert query(f"duration:<{text}") == Between("duration", high=pytest.approx(value), with_high=False)
    assert query(f"duration:<={text}") == Between("duration", high=pytest.approx(value))
    assert query(f"duration:{text}..2h") == Between("duration", pytest.approx(value), 7200)
    assert query(f"duration:..{text}") == Between("duration", high=pytest.approx(value))


@pytest.mark.parametrize(
    ("text", "low", "high"), [("30", 29.5, 30.5), ("29.97", 29.965, 29.975), ("23.976", 23.9755, 23.9765)]
)
def test_a_number_matches_what_rounds_to_it(text: str, low: float, high: float) -> None:
    assert query(f"fps:{text}") == Between("fps", low, high, with_high=False)


def test_ranges_of_numbers_have_exact_ends() -> None:
    assert query("fps:24..29.97") == Between("fps", 24, 29.97)
    assert query("fps:24..") == query("fps:>=24") == Between("fps", 24)
    assert query("fps:..24") == query("fps:<=24") == Between("fps", high=24)


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026", utc(2026, 1, 1), utc(2027, 1, 1)),
        ("2028", utc(2028, 1, 1), utc(2029, 1, 1)),
        ("2026-11", utc(2026, 11, 1), utc(2026, 12, 1)),
        ("2026-12", utc(2026, 12, 1), utc(2027, 1, 1)),
        ("2028-02", utc(2028, 2, 1), utc(2028, 3, 1)),
        ("2026-11-01", utc(2026, 11, 1), utc(2026, 11, 2)),
        ("2028-02-29", utc(2028, 2, 29), utc(2028, 3, 1)),
        ("1969-12-31", utc(1969, 12, 31), 0.0),
        ("2026-11-01T12:00", utc(2026, 11, 1, 12), utc(2026, 11, 1, 12, 1)),
        ("2026-11-01t12:00:30z", utc(2026, 11, 1, 12, 0, 30), utc(2026, 11, 1, 12, 0, 31)),
    ],
)
def test_a_date_lasts_as_long_as_it_is_written(text: str, begin: float, end: float) -> None:
    assert query(f"added:{text}") == Between("added", begin, end, with_high=False)
    assert query(f"added:>{text}") == Between("added", low=end)
    assert query(f"added:>={text}") == Between("added", low=begin)
    assert query(f"added:<{text}") == Between("added", high=begin, with_high=False)
    assert query(f"added:<={text}") == Between("added", high=end, with_high=False)
    assert query(f"added:{text}..2030") == Between("added", begin, utc(2031, 1, 1), with_high=False)
    assert query(f"added:1960..{text}") == Between("added", utc(1960, 1, 1), end, with_high=False)
    assert query(f"added:{text}..{text}") == query(f"added:{text}")


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ('a "b', 2, "not closed"),
        ('a "b\\"', 2, "not closed"),
        ('tag:"b', 4, "not closed"),
        ("a (b (c)", 2, "not closed"),
        ("a) b", 1, "closes nothing"),
        (")", 0, "missing before )"),
        ("a ( ) b", 2, "nothing between"),
        ("tag:()", 4, "nothing between"),
        ("OR a", 0, "missing before OR"),
        ("a OR", 4, "missing at the end"),
        ("a AND OR b", 6, "missing before OR"),
        ("(a AND ) b", 7, "missing before )"),
        ("a NOT", 5, "missing at the end"),
        ("-OR", 1, "missing before OR"),
        ("& a OR & -", 7, "no letter or digit"),
        ("  …", 2, "no letter or digit"),
        ('"…"', 0, "no letter or digit"),
        ("title:…", 0, "no letter or digit"),
        ("a tga:x", 2, 'no field tga; did you mean "tag"?'),
        ("a (dration:>60)", 3, 'did you mean "duration"?'),
        ("qqqqqq:x", 0, "There is no field qqqqqq."),
        ("a:b", 0, "There is no field a."),
        ("C:\\new", 0, "There is no field c."),
        ("std::move", 0, "There is no field std."),
        ("duration: ", 9, "value of duration is missing"),
        ("tag: x", 4, "value of tag is missing"),
        ("tag:", 4, "value of tag is missing"),
        ("(tag:)", 5, "value of tag is missing"),
        ('tag:" "', 5, "not a valid value of tag"),
        ("li*ht", 2, "only stand at the end"),
        ("title:*.mp4", 6, "only stand at the end"),
        ("tag:bea*", 4, '"bea*" is not a valid value of tag'),
        ('tag:"golden h"*', 5, '"golden h*" is not a valid value of tag'),
        ("saved:nigh*", 6, '"nigh*" is not a valid value of saved'),
        ("state:f*", 6, '"f*" is not a valid value of state'),
        ("saved:nigth", 6, 'There is no saved search "nigth"; did you mean "night"?'),
        ("resolution:77", 11, "not a valid value of resolution"),
        ("a sentiment:(negative OR happy)", 25, "not a valid value of sentiment"),
        ("state:faild", 6, "not a valid value of state"),
        ("state:", 6, "value of state is missing"),
        ("saved:nope", 6, 'no saved search "nope"'),
        ("x saved:broken", 8, 'In the saved search "broken": This bracket is not closed.'),
        ("saved:loop", 6, 'The saved search "loop" contains itself.'),
        ("a\nb (c", 4, "not closed"),
        ("a\ud800", 1, "not valid Unicode"),
    ],
)
def test_errors_point_to_the_position(text: str, position: int, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)) as caught:
        query(text)
    assert (caught.value.position, caught.value.query) == (position, text)
    shown, pointer = caught.value.message.split("\n")[1:]
    assert pointer.endswith("^")
    assert "\x00" not in shown
    caught.value.message.encode()


NO_QUANTITIES = [
    "x", ">", ">=", "..", "1..x", "x..1", ">1..5", "1..>5", "1,5", "1e3", "٣", "--1", ":30", "1:", "1:2:3:4", "1h30",
    "h", "1d", "9" * 400, "2026-13", "2026-02-30", "2026-11-01T25:00", "*", "2..1", "2027-01..2026-11", ">=>2026",
]  # fmt: skip


@pytest.mark.parametrize("field", ["duration", "fps", "added"])
@pytest.mark.parametrize("value", NO_QUANTITIES)
def test_values_that_are_no_quantity(field: str, value: str) -> None:
    with pytest.raises(QueryError, match=f"is not a valid value of {field}") as caught:
        query(f"a {field}:{value}")
    assert caught.value.position == len(f"a {field}:")
    assert caught.value.hint


@pytest.mark.parametrize("value", ["0000", "60", "2026-1x", "9999", "2026-11Z1"])
def test_values_that_are_no_date(value: str) -> None:
    with pytest.raises(QueryError, match="is not a valid value of added"):
        query(f"added:{value}")


def test_the_hint_of_a_wrong_value_says_what_is_allowed() -> None:
    for text, allowed in [("resolution:77", "Full HD"), ("state:x", "quarantined"), ("added:x", "2026-11-01")]:
        with pytest.raises(QueryError) as caught:
            query(text)
        assert allowed in caught.value.hint


def test_the_pointer_is_below_the_fault() -> None:
    with pytest.raises(QueryError) as caught:
        query("日本 \x1b (x")
    assert caught.value.message == "This bracket is not closed.\n日本 \\x1b (x\n          ^"
    with pytest.raises(QueryError) as caught:
        query("word " * 90 + "(x " + "word " * 90)
    line, pointer = caught.value.message.split("\n")[1:]
    assert line[pointer.index("^")] == "("
    assert len(line) <= 40 - len("Error: "), "it fits a narrow terminal"


def test_words_keep_their_positions() -> None:
    text = 'Ligth -title:"two  words" (a* OR tag:(x) said:("ü" b)) "c \\" d"'
    found = words(query(text))
    assert [text[word.start : word.end] for word in found] == ["Ligth", "two  words", "a", "ü", "b", 'c \\" d']
    assert [word.text for word in found] == ["Ligth", "two  words", "a", "ü", "b", 'c " d']


def test_saved_searches_are_part_of_the_query() -> None:
    assert shape(query("sea saved:night")) == "[sea & [tag=night | said:moon*]]"
    assert shape(query("-saved:both saved:(night OR both)")) == (
        "[![[tag=night | said:moon*] & !drone] & [[tag=night | said:moon*] | [[tag=night | said:moon*] & !drone]]]"
    )
    assert query("saved:empty") == EVERYTHING
    assert [(word.start, word.end) for word in words(query("x saved:night"))] == [(0, 1), (0, 0)]


def test_saved_searches_cannot_multiply() -> None:
    doubling = {str(level): f"saved:{level - 1} saved:{level - 1}" if level else "" for level in range(26)}
    assert parse("saved:5", FIELDS, doubling)
    with pytest.raises(QueryError, match="more than 500"):
        parse("saved:25", FIELDS, doubling)
    with pytest.raises(QueryError, match="within each other"):
        parse("saved:99", FIELDS, {str(level): f"saved:{level - 1}" for level in range(100)})


HOSTILE = {
    "brackets": "(" * 100_000,
    "many brackets": "(" * 9_999,
    "closed": "(" * 4_000 + "a" + ")" * 4_000,
    "megabytes": "a " * 2_000_000,
    "negations": "-" * 9_998 + "a",
    "operators": "NOT " * 2_400 + "a",
    "quotation marks": '"' * 9_999,
    "backslashes": '"' + "\\" * 9_998,
    "curly": "“" * 9_999,
    "colons": "a" + ":" * 9_998,
    "field": "tag:" * 2_400,
    "stars": "*" * 9_999 + "a",
    "words": "a " * 4_999,
    "one word": "a" * 10_000,
    "accents": "a" + "\u0301" * 9_999,
    "controls": "".join(map(chr, range(32))) * 300,
    "digits": "duration:" + "9" * 9_000,
    "dots": "duration:" + "." * 9_000,
    "spaces": " " * 9_999 + "a",
    "or": "a" + " OR" * 3_000,
    "groups": "tag:(" * 1_900,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_a_query_or_a_short_error(name: str) -> None:
    node, error = answer(HOSTILE[name])
    assert node or (error and len(str(error)) < 2_000)


def test_limits() -> None:
    assert shape(query("(" * DEEPEST + "a" + ")" * DEEPEST)) == "a"
    with pytest.raises(QueryError) as caught:
        query("(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1))
    assert caught.value.position == DEEPEST
    assert len(words(query("a " * MOST_CONDITIONS))) == MOST_CONDITIONS
    with pytest.raises(QueryError) as caught:
        query("a " * (MOST_CONDITIONS + 1))
    assert caught.value.position == 2 * MOST_CONDITIONS
    with pytest.raises(QueryError, match=r"with \* counts as|more than"):
        query(f"source:({'a ' * 60})")  # the last word of an address may continue
    assert query("a" * LONGEST_QUERY)
    with pytest.raises(QueryError) as caught:
        query("a" * (LONGEST_QUERY + 1))
    assert caught.value.position == LONGEST_QUERY


any_text = st.text(st.characters(exclude_categories=()), max_size=60)
queries = any_text | st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=25).map("".join)


@hypothesis_settings(deadline=None)
@given(queries)
def test_any_text_is_a_query_or_an_error_with_a_position(text: str) -> None:
    node, error = answer(text)
    if node is None:
        str(error).encode()
        return
    for word in words(node):
        assert tokens(word.text)
        if word.end:
            assert re.sub(r'\\(["\\])', r"\1", text[word.start : word.end]) in (
                word.text,
                word.text.replace("\\\\", "\\"),
            )
    if text.strip():
        assert shape(query(f"({text})")) == shape(node)


@hypothesis_settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60), st.sampled_from(["", "title:", "tag:"]))
@example('\\"', "tag:")
@example("\\", "tag:")
@example("“a”*", "")
def test_quoted_text_is_read_as_it_is(text: str, field: str) -> None:
    written = f"b {field}{quoted(text)} c"
    if field == "tag:":
        if not text.strip():
            with pytest.raises(QueryError):
                query(written)
            return
        found: Node = Term("tag", query(f"tag:{quoted(text)}").key, text)  # type: ignore[union-attr]
    elif tokens(text):
        start = len(f"b {field}") + 1
        found = Words(text, field.rstrip(":"), False, start, start + len(quoted(text)) - 2)
    else:
        assert shape(query(written)) == "[b & c]"
        return
    node = query(written)
    assert isinstance(node, And)
    assert node.parts[1] == found


leaf = st.sampled_from(["a", '"b c"', "tag:d", "duration:>5", "e*"])
trees = st.recursive(
    leaf, lambda inner: st.tuples(st.sampled_from(["AND", "OR", " ", "NOT"]), inner, inner), max_leaves=8
)


@hypothesis_settings(deadline=None)
@given(trees)
def test_brackets_state_what_precedence_implies(tree: object) -> None:
    """Written with as few brackets as the precedence needs, and with all of them, a query is true of the same."""

    def write(node: object, above: int, every: bool) -> str:
        if isinstance(node, str):
            return node
        operator, first, second = node  # type: ignore[misc]
        if operator == "NOT":
            return f"NOT {write(first, 3, every)}"
        rank = 1 if operator == "OR" else 2
        text = f"{write(first, rank, every)} {operator} {write(second, rank, every)}"
        return f"({text})" if every or above > rank else text

    def truth(node: Node, facts: frozenset[str]) -> bool:
        match node:
            case And():
                return all(truth(part, facts) for part in node.parts)
            case Or():
                return any(truth(part, facts) for part in node.parts)
            case Not():
                return not truth(node.part, facts)
        return shape(node) in facts

    few, every = query(write(tree, 0, False)), query(write(tree, 0, True))
    facts = [shape(query(text)) for text in ["a", '"b c"', "tag:d", "duration:>5", "e*"]]
    for number in range(2 ** len(facts)):
        true = frozenset(fact for bit, fact in enumerate(facts) if number >> bit & 1)
        assert truth(few, true) == truth(every, true)


def test_the_queries_in_the_documentation_are_queries() -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    found = [line for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found += re.findall(r"^\| `([^|`]+[^|`:])` \|", text, re.MULTILINE)
    assert len(found) > 25
    for example_query in found:
        query(example_query)
    missing = [field.name for field in FIELDS if f"`{field.name}:" not in text]
    assert not missing
