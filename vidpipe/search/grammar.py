"""The query language: text to a tree of conditions.

    either  = all {"OR" all}
    all     = one {["AND"] one}
    one     = {"NOT" | "-"} [field ":"] operand
    operand = "(" either ")" | phrase ["*"] | word

A field before a bracket applies to everything in it that states none. Punctuation alone is no word: it is ignored.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NoReturn

from vidpipe.library.states import STATES
from vidpipe.search.analysis import tokens
from vidpipe.search.fields import SAVED, STATE, Fields, term_key
from vidpipe.search.quantities import between
from vidpipe.search.query import EVERYTHING, And, InState, Node, Not, Or, QueryError, Term, Words
from vidpipe.text.messages import did_you_mean, single_line

LONGEST_QUERY = 10_000
#: Brackets and saved searches within each other.
DEEPEST = 30
#: Including those of saved searches.
MOST_CONDITIONS = 500
_COST_OF_PREFIX = 9

#: Characters that may be written for others.
_ALIKE = {"（": "(", "）": ")", "“": '"', "”": '"', "„": '"'}
_SPACE = re.compile(r"\s*")
_NEXT = re.compile(r"(?:AND|OR|NOT)(?![^\s()（）\"“”„])|.?", re.DOTALL)
_WORD = re.compile(r"[^\s()（）\"“”„]+")
_FIELD = re.compile(r"([A-Za-z][A-Za-z_]*)([:：])")
_NO_VALUE = re.compile(r"[\s)）]|\Z")
#: After a colon: the word before it is not meant as a field; nor is an unknown one ("C:\\", "std::move").
_URL = re.compile("//")
_UNLIKELY_VALUE = re.compile(r"[\s)）/\\:]|\Z")
_STRAIGHT_PHRASE = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_CURLY_PHRASE = re.compile(r"[“”„]((?:[^“”\\]|\\.)*+)[“”]", re.DOTALL)
_ESCAPED = re.compile(r'\\(["“”\\])')
_SURROGATE = re.compile("[\ud800-\udfff]")

_QUOTE = 'To search for it as text, put it in quotation marks: "…".'

Saved = Callable[[str], str | None]


def parse(text: str, fields: Fields, saved: Saved = lambda name: None) -> Node:
    """Return what `text` asks for; an empty text asks for everything.

    Args:
        text: The query.
        fields: The fields of the library.
        saved: Name of a saved search -> its query; None, or a ValueError that says more, if there is none.

    Raises:
        QueryError: The text is not a query.
    """
    return _Parser(text, fields, cache(saved)).query()


def quoted(text: str) -> str:
    """Return the phrase that stands for exactly `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Parser:
    def __init__(self, text: str, fields: Fields, saved: Saved, outer: "_Parser | None" = None, name: str = "") -> None:
        self._text = text
        self._fields = fields
        self._saved = saved
        self._at = 0
        self._depth: int = outer._depth if outer else 0
        self._conditions: int = outer._conditions if outer else 0
        self._names: tuple[str, ...] = (*outer._names, name) if outer else ()

    def query(self) -> Node:
        """Parse the whole text."""
        if len(self._text) > LONGEST_QUERY:
            self._fail(f"The query has more than {LONGEST_QUERY:,} characters.", LONGEST_QUERY)
        if half := _SURROGATE.search(self._text):
            self._fail("The query contains a character that is not valid Unicode.", half.start())
        if not self._next():
            return EVERYTHING
        node = self._either("")
        if self._next():
            self._fail("This bracket closes nothing.", self._at, _QUOTE)
        return node

    def _either(self, field: str) -> Node:
        parts = [self._all(field)]
        while self._takes("OR"):
            parts.append(self._all(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, field: str) -> Node:
        self._next()
        start = self._at
        found = [self._one(field)]
        while self._takes("AND") or self._next() not in ("", ")", "OR"):
            found.append(self._one(field))
        parts = tuple(part for part in found if part is not None)
        if not parts:
            self._fail("There is no letter or digit to search for.", start)
        return parts[0] if len(parts) == 1 else And(parts)

    def _one(self, field: str) -> Node | None:
        """Parse a condition; None: it is punctuation only."""
        negative = False
        while self._takes("NOT") or (
            self._next() == "-" and not _NO_VALUE.match(self._text, self._at + 1) and self._takes("-")
        ):
            negative = not negative
        name = self._field_name()
        node = self._operand(name or field, after_field=bool(name))
        return Not(node) if negative and node is not None else node

    def _field_name(self) -> str:
        """Pass `name:` and return the name; "": there is none here."""
        self._next()
        found = _FIELD.match(self._text, self._at)
        if found is None or _URL.match(self._text, found.end()):
            return ""
        name = found[1].lower()
        known = [STATE, SAVED, *(field.name for field in self._fields)]
        if name not in known:
            if found[2] != ":" or _UNLIKELY_VALUE.match(self._text, found.end()):
                return ""
            hint = f"Fields: {', '.join(sorted(known))}. {_QUOTE}"
            self._fail(f"There is no field {single_line(name, 50)}{did_you_mean(name, known) or '.'}", self._at, hint)
        if _NO_VALUE.match(self._text, found.end()):
            self._fail(f"The value of {name} is missing.", found.end(), f"Write {name}:VALUE without a space. {_QUOTE}")
        self._at = found.end()
        return name

    def _operand(self, field: str, *, after_field: bool) -> Node | None:
        start, ahead = self._at, self._next()
        if ahead == "(":
            return self._brackets(field)
        if ahead == '"':
            phrase = (_STRAIGHT_PHRASE if self._text[start] == '"' else _CURLY_PHRASE).match(self._text, start)
            if phrase is None:
                self._fail("This quotation mark is not closed.", start, 'Within quotation marks, write \\" for one.')
            self._at = phrase.end()
            prefix = self._text.startswith("*", self._at) and self._takes("*")
            return self._condition(field, _ESCAPED.sub(r"\1", phrase[1]), phrase.start(1), phrase.end(1), prefix)
        word = _WORD.match(self._text, start)
        if word is None or (ahead in ("AND", "OR") and not after_field):
            self._fail(
                f"A word is missing before {ahead}." if ahead else "A word is missing at the end.", start, _QUOTE
            )
        self._at = word.end()
        return self._condition(field, word[0], start, word.end())

    def _brackets(self, field: str) -> Node:
        opened = self._at
        self._takes("(")
        if self._next() == ")":
            self._fail("There is nothing between these brackets.", opened, _QUOTE)
        self._deeper(opened)
        node = self._either(field)
        self._depth -= 1
        if not self._takes(")"):
            self._fail("This bracket is not closed.", opened, _QUOTE)
        return node

    def _condition(self, name: str, text: str, start: int, end: int, prefix: bool | None = None) -> Node | None:
        """Return the condition that a value states.

        Args:
            name: The field; "": none.
            text: The value.
            start: Where it is in the query.
            end: Where it ends.
            prefix: Of a phrase: whether `*` follows.
        """
        self._count(1, start)
        field = self._fields.get(name)
        if name == SAVED:
            return self._expanded(text, start)
        try:
            if name == STATE:
                if text.lower() not in STATES:
                    raise ValueError(f"Allowed: {', '.join(STATES)}.")
                return InState(text.lower())
            if field and field.kind == "number":
                return between(field, text)
            if field and field.kind == "term":
                if not text.strip():
                    raise ValueError("Write a name.")
                return Term(name, term_key(field, text), text)
        except ValueError as error:
            self._fail(f'"{single_line(text, 50)}" is not a valid value of {name}.', start, str(error))
        if prefix is None:
            bare = text.rstrip("*")
            prefix, text, end = bare != text, bare, start + len(bare)
            if "*" in text:
                hint = "Without it, or in quotation marks, it is ignored."
                self._fail("A * can only stand at the end of a word.", start + text.index("*"), hint)
        if not (found := tokens(text)):
            return None
        # So many terms are looked up in each text, or, for each that begins like it, many more.
        self._count(len(found) - 1 + prefix * _COST_OF_PREFIX, start)
        start, end = (start, end) if not self._names else (0, 0)
        # Of an address a part is enough: source:example.com/holi
        return Words(text, name, prefix or name == "source", start, end)

    def _expanded(self, name: str, start: int) -> Node:
        """Return the conditions of a saved search."""
        if name in self._names:
            self._fail(f'The saved search "{name}" contains itself.', start)
        try:
            text = self._saved(name)
        except ValueError as error:
            self._fail(f'There is no saved search "{single_line(name, 50)}".', start, str(error))
        if text is None:
            self._fail(f'There is no saved search "{single_line(name, 50)}".', start)
        self._deeper(start)
        inner = _Parser(text, self._fields, self._saved, self, name)
        try:
            node = inner.query()
        except QueryError as error:
            self._fail(f'In the saved search "{name}": {error.problem}', start, error.hint)
        self._conditions = inner._conditions
        self._depth -= 1
        return node

    def _count(self, conditions: int, position: int) -> None:
        self._conditions += conditions
        if self._conditions > MOST_CONDITIONS:
            hint = f"A word with * counts as {_COST_OF_PREFIX + 1}."
            self._fail(f"The query has more than {MOST_CONDITIONS} words and conditions.", position, hint)

    def _deeper(self, position: int) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"More than {DEEPEST} brackets or saved searches are within each other.", position)

    def _next(self) -> str:
        """Pass spaces and return the operator or the character that follows; "": the end."""
        if spaces := _SPACE.match(self._text, self._at):
            self._at = spaces.end()
        found = _NEXT.match(self._text, self._at)
        token = found[0] if found else ""
        return _ALIKE.get(token, token)

    def _takes(self, token: str) -> bool:
        """Pass `token` if it follows."""
        if self._next() != token:
            return False
        self._at += len(token)
        return True

    def _fail(self, problem: str, position: int, hint: str = "") -> NoReturn:
        raise QueryError(problem, hint, self._text, position)
