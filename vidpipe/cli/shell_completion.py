"""What `vidpipe shell` offers as the rest of a line: commands, options, words of the query language, names of videos.

Names, tags and labels are untrusted: what cannot be seen is never inserted, and what is inserted is quoted.
"""

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from pymongo.errors import PyMongoError

from vidpipe.cli.main import COMMANDS, LazyCommand
from vidpipe.errors import VidpipeError, visible
from vidpipe.operations.kept_home import KeptHome, OpenHome
from vidpipe.search.grammar import quoted

_MOST = 30
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.?|'[^']*(?:'|$)|"(?:[^"\\]|\\.?)*(?:"|$))+""")
_TERM = re.compile(r"([-(]*)(?:([a-z_]+):)?(.*)", re.DOTALL)
_HASH_PREFIX = re.compile(r"[0-9a-f]{2,64}")
_HASH_SHOWN = 12


class _Found(NamedTuple):
    """Something to insert.

    Attributes:
        text: The word, not yet quoted.
        about: What it is.
        shown: How it is listed; "": as it is.
        whole: Whether the word ends here.
    """

    text: str
    about: str = ""
    shown: str = ""
    whole: bool = True


class CommandCompleter(Completer):
    """Completes the last word of a command line. The library is only asked while it is open.

    Args:
        home: The library.
    """

    def __init__(self, home: KeptHome) -> None:
        self._home = home
        self._command = cache(lambda name: LazyCommand(name).load())
        self._facets: tuple[Any, dict[str, dict[str, int]]] = (None, {})

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what the word before the cursor may become."""
        raw = [match.group() for match in _WORD.finditer(document.text_before_cursor)]
        last = raw.pop() if raw and document.text_before_cursor.endswith(raw[-1]) else ""
        with contextlib.suppress(PyMongoError, VidpipeError):
            words, word = [*map(_unquoted, raw)], _unquoted(last)
            for found in islice(self._found(words[words[:1] == ["vidpipe"] :], word), _MOST):
                text = shlex.quote(found.text) + (" " if found.whole and not document.text_after_cursor else "")
                yield Completion(text, -len(last), display=visible(found.shown or found.text), display_meta=found.about)

    def _found(self, words: Sequence[str], word: str) -> Iterator[_Found]:
        if not words or words == ["help"]:
            commands = {**{name: about for name, (_, about) in COMMANDS.items()}, "exit": "End the session."}
            yield from _starting(word, commands)
            return
        if words[0] not in COMMANDS:
            return
        command = self._command(words[0])
        options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
        before = options.get(words[-1])
        if before is not None and words[-1].startswith("-") and not before.is_flag:
            yield from self._values(before, command, word)
        elif word.startswith("--") or word == "-":
            named = {name: option.help or "" for name, option in options.items() if name.startswith("-")}
            yield from _starting(word, {**named, "--help": "Show the options."})
        else:
            for argument in (one for one in command.params if not one.opts[0].startswith("-")):
                yield from self._values(argument, command, word)

    def _values(self, parameter: Any, command: Any, word: str) -> Iterator[_Found]:
        """Yield the values of an option or argument."""
        with command.make_context(str(command.name), [], None, resilient_parsing=True) as context:
            yield from (_Found(item.value) for item in parameter.shell_complete(context, word) if item.type == "plain")
        opened = self._home.current
        if opened is None:
            return
        if parameter.metavar == "QUERY":
            yield from self._terms(opened, word)
        elif "VIDEO" in (parameter.metavar or ""):
            yield from _videos(opened, word)
        elif parameter.name == "stages":
            yield from _starting(word, dict.fromkeys(opened.library.graph.names, ""))
        elif parameter.name in opened.index.fields.facets:
            yield from _starting(word, self._counts(opened, parameter.name))

    def _terms(self, opened: OpenHome, word: str) -> Iterator[_Found]:
        """Yield the fields that a term of a query may name, or the values of the one it names."""
        signs, name, start = _TERM.fullmatch(word).groups()  # type: ignore[union-attr]  # it matches anything
        if name is None:
            fields = {f"{field.name}:": field.help for field in opened.index.fields}
            yield from (one._replace(text=signs + one.text, whole=False) for one in _starting(start, fields))
            return
        for one in _starting(start.lstrip('"'), self._counts(opened, name)):
            value = one.text if re.fullmatch(r"\w+", one.text) else quoted(one.text)
            yield one._replace(text=f"{signs}{name}:{value}", shown=one.text)

    def _counts(self, opened: OpenHome, name: str) -> dict[str, str]:
        """Return the values of a field, most frequent first -> how many videos have it. Of the index as it is now."""
        if opened.index.load():  # it cannot be used
            return {}
        if self._facets[0] is not opened.index.searcher:
            self._facets = opened.index.searcher, opened.engine.find(order="date", limit=1).facets
        return {value: str(count) for value, count in self._facets[1].get(name, {}).items()}


def _unquoted(raw: str) -> str:
    """Return a word as the shell reads it, even if its quotation marks are not closed yet."""
    for end in ("", '"', "'", "\\"):
        with contextlib.suppress(ValueError):
            return "".join(shlex.split(raw + end))
    return raw


def _starting(word: str, named: dict[str, str]) -> Iterator[_Found]:
    """Yield those of `named` that start with `word`, whatever its case, unless they cannot be typed."""
    for name, about in named.items():
        if name.casefold().startswith(word.casefold()) and visible(name) == name:
            yield _Found(name, visible(about))


def _videos(opened: OpenHome, word: str) -> Iterator[_Found]:
    """Yield videos by the start of a file name or hash; both are read from an index, and only a few."""
    collection, fields = opened.library.collections["videos"], {"ingest.names": 1}
    if _HASH_PREFIX.fullmatch(word):
        for row in collection.find({"_id": {"$gte": word, "$lte": word + "g"}}, fields).limit(_MOST):
            yield _Found(row["_id"][:_HASH_SHOWN], visible(", ".join(row["ingest"]["names"][:1])))
    for row in collection.find({"ingest.names": re.compile(f"^{re.escape(word)}")}, fields).limit(_MOST):
        name = next(name for name in row["ingest"]["names"] if name.startswith(word))
        typeable = visible(name) == name and not name.startswith("-")
        sha256 = row["_id"][:_HASH_SHOWN]
        yield _Found(name, sha256) if typeable else _Found(sha256, sha256, name)
