"""Entries of lists, and text lists: one URL or path per line."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal
from urllib.parse import quote

from vidpipe.sources.source_data import Segment, StatedByUser
from vidpipe.sources.urls import JOINERS, bare, has_bytes, redacted_url, windows_1252

#: What a line can set besides the URL.
OPTIONS = ("priority", "labels", "title")
#: `${VIDPIPE_SOURCE_...}` in a list is replaced by an environment variable, so that secrets stay out of the file. Only
#: variables of this name are read, so that a list from elsewhere cannot send other secrets to its own server.
_VARIABLE = re.compile(r"\$\{(VIDPIPE_SOURCE_[A-Z0-9_]+)\}")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_CURLY_QUOTED = r"[“„”][^“„”]*[“”]"
_OPTION = re.compile(rf'\s(?P<name>[A-Za-z]+)=(?P<value>{_QUOTED}|{_CURLY_QUOTED}|[^\s"]*)$')
_LIKE_OPTION = re.compile(rf"\s(?P<name>{'|'.join(OPTIONS)})=", re.IGNORECASE)
#: A quoted value, in which # has no special meaning; or a comment.
_QUOTED_OR_COMMENT = re.compile(rf"\s[A-Za-z]+=(?:{_QUOTED}|{_CURLY_QUOTED})|(?P<comment>(?:^|\s)#.*$)")
#: Western languages have no words of such letters only; in encodings of other scripts they are the rule.
#: Quotes, dashes and no-break spaces of Windows-1252 do not count: in French they occur beside such letters.
_OTHER_SCRIPT = re.compile("[\udc80-\udc84\udc86-\udc90\udc98-\udc9f\udca1-\udcaa\udcac-\udcba\udcbc-\udcff]{4}")
_PRIORITY = re.compile(r"[+-]?\d{1,9}(?:[.,]0+)?")
_LONGEST_LINE = 8192
_LONGEST_TITLE = 500
_TIME = re.compile(r"(?:(?:(\d{1,4}):(?=[0-5]\d:))?(\d{1,2}):(?=[0-5]\d(?!\d)))?(\d{1,9}(?:[.,]\d{1,99})?)", re.ASCII)
#: With these, the most segments of a source fit into its document.
MOST_SEGMENTS = 10_000
_KEY_BYTES = 16
_MOST_NAMED = 20


@dataclass(frozen=True)
class ListEntry(StatedByUser):
    """One line of a list. The labels of a line about a part of a video are those of its segment.

    Attributes:
        line: Line number, from 1.
        text: A URL or path as it is in the list; it may contain secrets, and bytes that are not UTF-8 (as lone
            surrogates).
    """

    line: int
    text: str


@dataclass(frozen=True)
class ListProblem:
    """An invalid line.

    Attributes:
        line: Line number, from 1; 0 if unknown.
        sentence: What is wrong. It reveals nothing of the line, since the file may be private.
    """

    line: int
    sentence: str


ListRow = ListEntry | ListProblem
ColumnMeaning = Literal["url", "title", "labels", "priority", "licence", "start", "end", "ignored"]


@dataclass(frozen=True)
class Lines:
    """The lines of a list without blank lines and comments, parsed on demand.

    Attributes:
        keys: A digest of each line, in order; equal lines have equal ones.
        row: Parses the line at a position of `keys`.
        notes: Messages about the list as a whole: ignored columns, another encoding.
        columns: Column of a table -> what it means.
    """

    keys: Sequence[bytes]
    row: Callable[[int], ListRow]
    notes: tuple[str, ...] = ()
    columns: Mapping[str, ColumnMeaning] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ListRow]:
        return map(self.row, range(len(self.keys)))


def text_lines(text: str, notes: tuple[str, ...] = ()) -> Lines:
    """Return the lines of a text list: one URL or path per line; `#` at the start or after a space begins a comment.

    The URL may be followed by `priority=5`, `labels=cats,dogs` and `title="My film"`.
    """
    keys: list[bytes] = []
    numbers: list[int] = []
    lines: list[str] = []
    with_variables = "${" in text
    for number, line in enumerate(map(str.strip, physical_lines(text)), start=1):
        if line and not line.startswith("#"):
            numbers.append(number)
            lines.append(line)
            keys.append(key_of(_filled(line) if with_variables else line))
    return Lines(keys, lambda position: _text_row(numbers[position], lines[position]), notes)


def table_lines(
    rows: Sequence[ListRow], meanings: Mapping[str, ColumnMeaning], name: str, notes: tuple[str, ...] = ()
) -> Lines:
    """Return the rows of the table `name` as the lines of a list, with a note about its ignored columns."""
    if ignored := [column for column, meaning in meanings.items() if meaning == "ignored"]:
        shown = first_few([redacted_url(column)[:60] for column in ignored])
        notes += (f"{name}: ignored columns: {shown}.",)
    joined = list(_joined(rows))
    return Lines([key_of(repr(_content(row))) for row in joined], joined.__getitem__, notes, meanings)


def _joined(rows: Sequence[ListRow]) -> Iterator[ListRow]:
    """Yield the rows; those about parts of a video become one, with the row of the video itself if there is one."""
    segments: dict[str, list[Segment]] = {}
    for row in rows:
        if isinstance(row, ListEntry) and row.segments:
            segments.setdefault(row.text, []).extend(row.segments)
    whole = {row.text for row in rows if isinstance(row, ListEntry) and not row.segments}
    for row in rows:
        if isinstance(row, ListProblem) or not (row.segments or row.text in segments):
            yield row
        elif row.text in segments and not (row.segments and row.text in whole):
            found = segments.pop(row.text)
            yield replace(row, segments=tuple(found[:MOST_SEGMENTS]))
            if len(found) > MOST_SEGMENTS:
                yield ListProblem(row.line, f"the video has more than {MOST_SEGMENTS} parts; the others are ignored")


def _content(row: ListRow) -> object:
    if isinstance(row, ListProblem):
        return row.sentence
    return (row.text, *row.fingerprint)


def physical_lines(text: str) -> list[str]:
    """Split a file into lines as an editor numbers them, with any line ending."""
    return re.split(r"\r\n|\r|\n", text)


def key_of(line: str) -> bytes:
    """Return the digest that identifies a line."""
    return blake2b(line.encode("utf-8", "surrogateescape"), digest_size=_KEY_BYTES).digest()


def first_few(words: Sequence[str]) -> str:
    """Return `words` separated by commas; of many, the first ones and how many more there are."""
    more = len(words) - _MOST_NAMED
    return ", ".join(words[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _text_row(number: int, text: str) -> ListRow:
    if len(text) > _LONGEST_LINE:
        return ListProblem(number, f"the line has {len(text)} characters; the longest that is read has {_LONGEST_LINE}")
    comment = next((found for found in _QUOTED_OR_COMMENT.finditer(text) if found["comment"] is not None), None)
    if comment is not None:
        text = text[: comment.start()].rstrip()
    given: dict[str, str] = {}
    while found := _OPTION.search(text):
        name, value = found["name"].lower(), found["value"]
        if name not in OPTIONS:
            if "://" not in text:
                break  # a path may hold blanks and equals signs
            return ListProblem(
                number, f"unknown option; the options are {', '.join(OPTIONS)} (write a space in a URL as %20)"
            )
        if name in given:
            return ListProblem(number, f"{name} is given twice")
        given[name] = re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value[:1] in tuple('"“„”') else value
        text = text[: found.start()].rstrip()
    odd = _LIKE_OPTION.search(text)
    if odd is not None:
        return ListProblem(number, f'the value of {odd["name"].lower()} must be quoted: {odd["name"].lower()}="…"')
    return entry(number, text, labels=re.split("[|;,]", given.pop("labels", "")), **given)


def entry(number: int, text: str, *, labels: Sequence[str], **said: str) -> ListRow:
    """Return the entry of a URL or path and its options, with environment variables filled in.

    Args:
        number: Of the line.
        text: The URL or path.
        labels: Of the video or, with a start or an end, of that part of it.
        said: title, priority, licence, start and end; empty ones are not given.
    """
    given = dict.fromkeys(("title", "priority", "licence", "start", "end"), "") | said
    text = bare(text)
    if has_bytes(text) and "://" in text and (without := bare(windows_1252(text))).isascii():
        text = without  # quotes and spaces of Windows-1252 surrounded it
    if not text:
        return ListProblem(number, "the URL is missing")
    if given["priority"] and not _PRIORITY.fullmatch(given["priority"]):
        return ListProblem(number, "the priority is not an integer")
    missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
    if missing:
        return ListProblem(number, f"the environment variable {missing[0]} is not set")
    for text_option in (given["title"], given["licence"], *labels):
        garbled = "\N{REPLACEMENT CHARACTER}" in windows_1252(text_option)
        if has_bytes(text_option) and (garbled or _OTHER_SCRIPT.search(text_option)):
            return ListProblem(number, "a title or label is neither UTF-8 nor Windows-1252; save the list as UTF-8")
    named = tuple(dict.fromkeys(filter(None, map(_printable, labels))))
    try:
        segments = (_segment(given["start"], given["end"], named),) if given["start"] or given["end"] else ()
    except ValueError as error:
        return ListProblem(number, str(error))
    return ListEntry(
        number,
        _VARIABLE.sub(_value, text),
        title=_printable(given["title"])[:_LONGEST_TITLE] or None,
        labels=() if segments else named,
        priority=int(re.split("[.,]", given["priority"])[0]) if given["priority"] else None,
        licence=_printable(given["licence"])[:_LONGEST_TITLE] or None,
        segments=segments,
    )


def _segment(start: str, end: str, labels: tuple[str, ...]) -> Segment:
    """Return the labelled part from `start` to `end`. Raises ValueError that says what is wrong."""
    start_s, end_s = parse_time(start or "0"), parse_time(end) if end else None
    if end_s is not None and end_s <= start_s:
        raise ValueError("the end is not after the start")
    if len(labels) > 20 or sum(map(len, labels)) > 250:
        raise ValueError("a part has at most 20 labels, of 250 characters together")
    return Segment(start_s=start_s, end_s=end_s, labels=labels)


def parse_time(time: str) -> float:
    """Return seconds. Raises ValueError."""
    found = _TIME.fullmatch(time)
    if found is None:
        raise ValueError("the start or end is not a time; write seconds (12.5) or h:mm:ss (0:01:30)")
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in found.groups())
    return round((hours * 60 + minutes) * 60 + seconds, 6)


def _value(variable: re.Match[str]) -> str:
    """Return the value of a variable in a URL.

    In a user name or password, characters that would end the host are percent-encoded.
    """
    value = os.environ[variable[1]]
    before, after = variable.string[: variable.start()], variable.string[variable.end() :]
    _, scheme, rest = before.partition("://")
    is_login = scheme and not re.search("[/?#]", rest) and "@" in re.split("[/?#]", after)[0]
    return re.sub("[/?#]", lambda found: quote(found.group(), safe=""), value) if is_login else value


def _printable(text: str) -> str:
    text = windows_1252(text)
    return "".join(character if character.isprintable() or character in JOINERS else " " for character in text).strip()


def _filled(line: str) -> str:
    """Return what identifies a line: with another value of its variable, it is another line."""
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), line)
