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
from vidpipe.search.completion import complete

_MOST = 30
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.?|'[^']*(?:'|$)|"(?:[^"\\]|\\.?)*(?:"|$))+""")

#: A word to insert, not yet quoted; and what it is.
_Found = Iterable[tuple[str, str]]


class CommandCompleter(Completer):
    """Completes the last word of a command line. The library is only asked while it is open.

    Args:
        home: The library.
    """

    def __init__(self, home: KeptHome) -> None:
        self._home = home
        self._command = cache(lambda name: LazyCommand(name).load())

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what the word before the cursor may become."""
        raw = _WORD.findall(document.text_before_cursor)
        last = raw.pop() if raw and document.text_before_cursor.endswith(raw[-1]) else ""
        with suppress(PyMongoError, VidpipeError):
            found = self._found([*map(_unquoted, raw)], _unquoted(last))
            for text, about in islice((one for one in found if visible(one[0]) == one[0]), _MOST):
                yield Completion(shlex.quote(text), -len(last), display=text, display_meta=visible(about))

    def _found(self, words: Sequence[str], word: str) -> _Found:
        if not words or words == ["help"]:
            found = {name: about for name, (_, about) in COMMANDS.items() if " " not in name}
            return _starting(word, found | {"exit": ""})
        within = {name.partition(" ")[2]: about for name, (_, about) in COMMANDS.items()
                  if name.startswith(f"{words[0]} ")}  # fmt: skip
        if within and len(words) == 1:
            return _starting(word, within)
        words = [" ".join(words[:2]), *words[2:]] if within else words
        if words[0] not in COMMANDS:
            return ()
        command = self._command(words[0])
        options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name[0] == "-"}
        before = options.get(words[-1])
        if before is not None and not before.is_flag:
            return self._values(command, [before], word)
        if word.startswith("-") and (word.startswith("--") or words[0] != "search"):  # -word excludes a word
            return _starting(word, {name: one.help or "" for name, one in options.items()})
        return self._values(command, [one for one in command.params if one.opts[0][0] != "-"], word)

    def _values(self, command: Any, parameters: Sequence[Any], word: str) -> _Found:
        """Yield the values of an option or of the arguments."""
        opened, context = self._home.current, command.make_context(command.name, [], None, resilient_parsing=True)
        for one in parameters:
            yield from ((choice.value, "") for choice in one.shell_complete(context, word) if choice.type == "plain")
            if opened is not None and "VIDEO" in (one.metavar or ""):
                yield from _videos(opened, word)
            elif opened is not None and one.name == "stages":
                yield from _starting(word, dict.fromkeys(opened.library.graph.names, ""))
            elif opened is not None and not opened.index.load():  # otherwise it cannot be used
                yield from _words(opened, word) if one.metavar == "QUERY" else _values_of(opened, one.name, word)


def _words(opened: OpenHome, word: str) -> _Found:
    found = complete(word, opened.index, _MOST)
    return ((word[: one.start] + one.text, one.help or str(one.count or "")) for one in found)


def _values_of(opened: OpenHome, field: str, word: str) -> _Found:
    counts = opened.engine.find(order="date", limit=1).facets.get(field, {})
    return _starting(word, {value: str(count) for value, count in counts.items()})


def _unquoted(raw: str) -> str:
    """Return a word as the shell reads it, even if its quotation marks are not closed yet."""
    for end in ("", '"', "'", "\\"):
        with suppress(ValueError):
            return "".join(shlex.split(raw + end))
    return raw


def _starting(word: str, named: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield those of `named` that start with `word`, whatever its case."""
    return ((name, about) for name, about in named.items() if name.casefold().startswith(word.casefold()))


def _videos(opened: OpenHome, word: str) -> _Found:
    """Yield videos by the start of a file name or hash; both are read from an index, and only a few."""
    by_name = {"ingest.names": re.compile(f"^{re.escape(word)}")}
    query = {"$or": [by_name, {"_id": {"$gte": word, "$lt": f"{word}g"}}]}
    for row in opened.library.collections["videos"].find(query, {"ingest.names": 1}).limit(_MOST):
        sha256, names = row["_id"][:12], row["ingest"]["names"]
        name = next((one for one in names if one.startswith(word) and visible(one) == one and one[:1] != "-"), "")
        yield (name, sha256) if name else (sha256, ", ".join(names[:1]))
