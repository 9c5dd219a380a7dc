"""The query language: text to a tree of conditions.

    either  = all {"OR" all}
    all     = one {["AND"] one}
    one     = {"NOT" | "-"} [field ":"] operand
    operand = "(" either ")" | (phrase | word) ["*"]

A field before a bracket applies to everything in it that states none. Punctuation alone is no word: it is ignored.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from vidpipe.library.states import STATES
from vidpipe.search.fields import SAVED, STATE, Fields, term_key
from vidpipe.search.quantities import between
from vidpipe.search.query import EVERYTHING, And, InState, Node, Not, Or, QueryError, Term, Words
from vidpipe.text.messages import did_you_mean, single_line
from vidpipe.text.stems import tokens

LONGEST_QUERY = 10_000
#: Brackets and saved searches within each other.
DEEPEST = 30
#: Including those of saved searches.
MOST_CONDITIONS = 500
_COST_OF_PREFIX = 9

#: An operator, or an operand with its field: what begins with `name://` has none. A quotation mark that is not closed
#: extends to the end.
_TOKEN = re.compile(
    r"""(?: (?P<operator> (?:AND|OR|NOT)(?![^\s()"]) | \) | -(?=[^\s)]) )
          | (?: (?P<field>[A-Za-z_]+) :(?!//) )?
            (?: (?P<bracket>\() | "(?P<phrase>(?:[^"\\]|\\.)*+)(?P<closed>"\**)? | (?P<word>[^\s()"]+) )
        ) \s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r'\\(["\\])')
_SURROGATE = re.compile("[\ud800-\udfff]")

_QUOTE = 'To search for it as text, put it in quotation marks: "…".'


def parse(text: str, fields: Fields, saved: Mapping[str, str] = {}) -> Node:
    """Return what `text` asks for; an empty text asks for everything.

    Args:
        text: The query.
        fields: The fields of the library.
        saved: Name of a saved search -> its query.

    Raises:
        QueryError: The text is not a query.
    """
    return _Parser(text, fields, saved).query()


def quoted(text: str) -> str:
    """Return the phrase that stands for exactly `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Unfinished(NamedTuple):
    """The end of a query that is being written.

    Attributes:
        field: Field of the value; "": none, or not yet.
        text: The word or value as written so far.
        start: Where it begins in the query, with field and quotation mark.
        text_start: Where `text` begins.
    """

    field: str
    text: str
    start: int
    text_start: int


def unfinished(text: str, fields: Fields) -> Unfinished | None:
    """Return the last word or value of a query; None if it is finished, or there is something that cannot follow."""
    at, of_brackets = len(text) - len(text.lstrip()), [""]
    while match := _TOKEN.match(text, at):
        start, at = match.start(), match.end()
        field = (match["field"] or "").lower() or of_brackets[-1]
        if match["bracket"]:
            of_brackets.append(field)
        elif match["operator"] == ")":
            of_brackets = of_brackets[:-1] or [""]
        elif at == len(text) and match["phrase"] is not None:
            return None if match["closed"] else Unfinished(field, match["phrase"], start, match.start("phrase"))
        elif at == len(text) and match["word"] and not text[-1].isspace():
            name = match["word"][:-1].lower()
            if match["word"].endswith(":") and (name in (STATE, SAVED) or fields.get(name)):
                return Unfinished(name, "", start, at)
            return Unfinished(field, match["word"], start, match.start("word"))
    return Unfinished(of_brackets[-1], "", at, at) if at == len(text) else None


class _Parser:
    """Parses one text: the query, or, one level deeper, that of a saved search; `names` are those it is part of."""

    def __init__(
        self, text: str, fields: Fields, saved: Mapping[str, str], names: tuple[str, ...] = (), depth: int = 0
    ) -> None:
        self._text = text
        self._fields = fields
        self._saved = saved
        self._names = names
        self._depth = depth
        self.conditions = 0
        self._move(len(text) - len(text.lstrip()))

    def query(self) -> Node:
        """Parse the whole text."""
        if len(self._text) > LONGEST_QUERY:
            self._fail(f"The query has more than {LONGEST_QUERY:,} characters.", LONGEST_QUERY)
        if half := _SURROGATE.search(self._text):
            self._fail("The query contains a character that is not valid Unicode.", half.start())
        if self._at == len(self._text):
            return EVERYTHING
        node = self._either("")
        if self._at < len(self._text):
            self._fail("This bracket closes nothing.", self._at, _QUOTE)
        return node

    def _either(self, field: str) -> Node:
        parts = [self._all(field)]
        while self._takes("OR"):
            parts.append(self._all(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, field: str) -> Node:
        start = self._at
        found = [self._one(field)]
        while self._takes("AND") or (self._token and self._token["operator"] not in (")", "OR")):
            found.append(self._one(field))
        parts = tuple(part for part in found if part is not None)
        if not parts:
            self._fail("There is no letter or digit to search for.", start)
        return parts[0] if len(parts) == 1 else And(parts)

    def _one(self, field: str) -> Node | None:
        """Parse a condition; None: it is punctuation only."""
        negative = False
        while self._takes("NOT", "-"):
            negative = not negative
        node = self._operand(field)
        return Not(node) if negative and node is not None else node

    def _operand(self, field: str) -> Node | None:
        token = self._token
        if token is None or token["operator"]:
            where = f"before {token['operator']}" if token else "at the end"
            self._fail(f"A word is missing {where}.", self._at, _QUOTE)
        field = self._field_of(token) or field
        self._move(token.end())
        if token["bracket"]:
            return self._brackets(field, token.start("bracket"))
        if token["word"]:
            text = token["word"].rstrip("*")
            start, prefix = token.start("word"), text != token["word"]
            if "*" in text:
                hint = "Without it, or in quotation marks, it is ignored."
                self._fail("A * can only stand at the end of a word.", start + text.index("*"), hint)
            return self._condition(field, text, start, start + len(text), prefix=prefix)
        start, end = token.span("phrase")
        if not token["closed"]:
            self._fail("This quotation mark is not closed.", start - 1, 'Within quotation marks, write \\" for one.')
        return self._condition(field, _ESCAPED.sub(r"\1", token["phrase"]), start, end, prefix="*" in token["closed"])

    def _field_of(self, token: re.Match[str]) -> str:
        known = [STATE, SAVED, *(field.name for field in self._fields)]
        name = (token["field"] or "").lower()
        if name and name not in known:
            hint = f"Fields: {', '.join(sorted(known))}. {_QUOTE}"
            self._fail(f"There is no field {single_line(name, 50)}{did_you_mean(name, known) or '.'}", self._at, hint)
        without = (token["word"] or "").lower()
        if not name and without.endswith(":") and without[:-1] in known:
            hint = f"Write {without}VALUE without a space; in a shell, quote brackets, < and >: '{without}…'."
            self._fail(f"The value of {without[:-1]} is missing.", token.end("word"), hint)
        return name

    def _brackets(self, field: str, opened: int) -> Node:
        if self._takes(")"):
            self._fail("There is nothing between these brackets.", opened, _QUOTE)
        self._deeper(opened)
        node = self._either(field)
        self._depth -= 1
        if not self._takes(")"):
            self._fail("This bracket is not closed.", opened, _QUOTE)
        return node

    def _condition(self, name: str, text: str, start: int, end: int, *, prefix: bool) -> Node | None:
        """Return the condition that a value states; it was written from `start` to `end`."""
        field = self._fields.get(name)
        if not name or (field and field.kind in ("text", "moments")):
            found = tokens(text)
            prefix = prefix or name == "source"  # of an address a part is enough: source:example.com/holi
            # So many terms are looked up in each text, or, for each that begins like it, many more.
            self._count(len(found) + prefix * _COST_OF_PREFIX, start)
            start, end = (0, 0) if self._names else (start, end)
            return Words(text, name, prefix, start, end) if found else None
        self._count(1, start)
        try:
            if prefix:
                raise ValueError("It is compared as a whole; in quotation marks, * is one of its characters.")
            if name == SAVED:
                return self._expanded(text, start)
            if field is None:  # state:
                if text.lower() not in STATES:
                    raise ValueError(f"Allowed: {', '.join(STATES)}.")
                return InState(text.lower())
            if field.kind == "number":
                return between(field, text)
            if not text.strip():
                raise ValueError("Write a name.")
            return Term(name, term_key(field, text), text)
        except ValueError as error:
            shown = single_line(text, 50) + "*" * prefix
            self._fail(f'"{shown}" is not a valid value of {name}.', start, str(error))

    def _expanded(self, name: str, start: int) -> Node:
        """Return the conditions of a saved search."""
        if name in self._names:
            self._fail(f'The saved search "{name}" contains itself.', start)
        text = self._saved.get(name)
        if text is None:
            problem = f'There is no saved search "{single_line(name, 50)}"{did_you_mean(name, self._saved) or "."}'
            self._fail(problem, start, "`vidpipe search --saved` lists the saved searches.")
        self._deeper(start)
        inner = _Parser(text, self._fields, self._saved, (*self._names, name), self._depth)
        try:
            node = inner.query()
        except QueryError as error:
            self._fail(f'In the saved search "{name}": {error.problem}', start, error.hint)
        self._depth -= 1
        self._count(inner.conditions, start)
        return node

    def _count(self, conditions: int, position: int) -> None:
        self.conditions += conditions
        if self.conditions > MOST_CONDITIONS:
            hint = f"A word with * counts as {_COST_OF_PREFIX + 1}."
            self._fail(f"The query has more than {MOST_CONDITIONS} words and conditions.", position, hint)

    def _deeper(self, position: int) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"More than {DEEPEST} brackets or saved searches are within each other.", position)

    def _takes(self, *operators: str) -> bool:
        """Pass one of `operators` if it follows."""
        if self._token is None or self._token["operator"] not in operators:
            return False
        self._move(self._token.end())
        return True

    def _move(self, position: int) -> None:
        self._at = position
        self._token = _TOKEN.match(self._text, position)

    def _fail(self, problem: str, position: int, hint: str = "") -> NoReturn:
        raise QueryError(problem, hint, self._text, position)
