"""What `vidpipe shell` offers as the rest of a line: commands, options, words of the query language, names of videos.

Names, tags and labels are untrusted: what cannot be seen is never inserted, and what is inserted is quoted.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any

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

#: A word to insert, not yet quoted; what it is; how it is listed.
_Found = tuple[str, str, str]


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
        raw = _WORD.findall(document.text_before_cursor)
        last = raw.pop() if raw and document.text_before_cursor.endswith(raw[-1]) else ""
        with suppress(PyMongoError, VidpipeError):
            for text, about, shown in islice(self._found([*map(_unquoted, raw)], _unquoted(last)), _MOST):
                yield Completion(shlex.quote(text), -len(last), display=visible(shown), display_meta=about)

    def _found(self, words: Sequence[str], word: str) -> Iterator[_Found]:
        if not words or words == ["help"]:
            yield from _starting(word, {**{name: about for name, (_, about) in COMMANDS.items()}, "exit": ""})
        elif words[0] in COMMANDS:
            command = self._command(words[0])
            options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
            before = options.get(words[-1]) if words[-1].startswith("-") else None
            if before is not None and not before.is_flag:
                yield from self._values(before, command, word)
            elif word.startswith("-") and (word.startswith("--") or words[0] != "search"):  # -word excludes a word
                yield from _starting(word, {name: one.help or "" for name, one in options.items() if name[0] == "-"})
            else:
                for argument in (one for one in command.params if one.opts[0][0] != "-"):
                    yield from self._values(argument, command, word)

    def _values(self, parameter: Any, command: Any, word: str) -> Iterator[_Found]:
        """Yield the values of an option or argument."""
        context = command.make_context(command.name, [], None, resilient_parsing=True)
        yield from (
            (one.value, "", one.value) for one in parameter.shell_complete(context, word) if one.type == "plain"
        )
        opened = self._home.current
        if opened is None:
            return
        if parameter.metavar == "QUERY":
            yield from self._terms(opened, word)
        elif "VIDEO" in (parameter.metavar or ""):
            yield from _videos(opened, word)
        elif parameter.name == "stages":
            yield from _starting(word, dict.fromkeys(opened.library.graph.names, ""))
        else:
            yield from _starting(word, self._counts(opened, parameter.name))

    def _terms(self, opened: OpenHome, word: str) -> Iterator[_Found]:
        """Yield the fields that a term of a query may name, or the values of the one it names."""
        signs, name, start = _TERM.fullmatch(word).groups()  # type: ignore[union-attr]  # it matches anything
        if name is None:
            fields = {f"{field.name}:": field.help for field in opened.index.fields}
            yield from ((signs + text, about, shown) for text, about, shown in _starting(start, fields))
        else:
            for text, about, shown in _starting(start.lstrip('"'), self._counts(opened, name)):
                yield f"{signs}{name}:{text if text.isalnum() else quoted(text)}", about, shown

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
        with suppress(ValueError):
            return "".join(shlex.split(raw + end))
    return raw


def _starting(word: str, named: dict[str, str]) -> Iterator[_Found]:
    """Yield those of `named` that start with `word`, whatever its case, unless they cannot be typed."""
    for name, about in named.items():
        if name.casefold().startswith(word.casefold()) and visible(name) == name:
            yield name, visible(about), name


def _videos(opened: OpenHome, word: str) -> Iterator[_Found]:
    """Yield videos by the start of a file name or hash; both are read from an index, and only a few."""
    queries: list[dict[str, Any]] = [{"ingest.names": re.compile(f"^{re.escape(word)}")}]
    if _HASH_PREFIX.fullmatch(word):
        queries.append({"_id": {"$gte": word, "$lte": word + "g"}})
    for query in queries:
        for row in opened.library.collections["videos"].find(query, {"ingest.names": 1}).limit(_MOST):
            sha256, names = row["_id"][:12], row["ingest"]["names"]
            name = next((one for one in names if one.startswith(word)), "")
            by_hash = visible(name) != name or name[:1] in ("", "-")
            yield (sha256, visible(", ".join(names[:1])), sha256) if by_hash else (name, sha256, name)
