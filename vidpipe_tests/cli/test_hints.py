"""What messages and documents tell the user to type exists: commands, their options, and programs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import typer

from vidpipe.cli.main import app

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"`(vidpipe [^`\n]*)`")
#: Programs that are on no machine just because vidpipe is; mongod itself is in a Python package, not on PATH.
_ABSENT = re.compile(r"mongosh|mongodump|mongorestore|sqlite3 |mongod --")


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """(where, text) of every string of the code, with X for what an f-string fills in, and of every document."""
    found = []
    for path in sorted((ROOT / "vidpipe").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "vidpipe " in source or _ABSENT.search(source):
            found += [(str(path), text) for text in _strings(ast.parse(source))]
    documents = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    return (*found, *((str(path), path.read_text(encoding="utf-8")) for path in documents))


def _strings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_and_option_that_is_named_exists() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    known = group.commands  # type: ignore[attr-defined]
    commands = {f"{name} {part}".strip(): command for name, found in known.items()
                for part, command in getattr(found, "commands", {"": found}).items()}  # fmt: skip
    options = {name: {text for one in lazy.load().params for text in (*one.opts, *one.secondary_opts)}
               for name, lazy in commands.items()}  # fmt: skip
    everywhere = {text for one in group.params for text in one.opts} | {"--help"}
    seen = 0
    wrong = []
    for where, words in ((where, shlex.split(found.replace("'", ""))) for where, text in texts()
                         for found in _COMMAND.findall(text)):  # fmt: skip
        named = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
        if not named or words[1].startswith(("X", "COMMAND")):
            continue
        given = {word.partition("=")[0].rstrip("…,.") for word in words[1:] if word.startswith("--")}
        seen += 1
        command = " ".join(named[:2]) if hasattr(known.get(named[0]), "commands") else named[0]
        if command not in {*known, *options} or not given <= options.get(command, set()) | everywhere:
            wrong.append(f"{where}: {' '.join(words)}")
    assert not wrong
    assert seen > 100, "the messages were found"


def test_no_message_names_a_program_that_need_not_be_there() -> None:
    messages = ((where, text) for where, text in texts() if where.endswith(".py") and "\n" not in text)  # no docstrings
    assert not [(where, text) for where, text in messages if _ABSENT.search(text)]
