"""Runs the commands of a Markdown document as its reader would: in one shell, in an empty folder, from top to bottom.

- A block of `bash` is run; a block of `python` too, unless it has a title.
- A block of any language with `title="name"` is written to the file of that name.
- A block of `text` is what the block before it prints, errors included: `...` stands for anything, spaces are folded.
- Blocks of other languages, such as `sh`, are only shown.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_MARK = "\x1e"
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first line of code, from 1."""

    language: str
    title: str
    code: str
    line: int

    @property
    def script(self) -> str:
        """What bash does for it."""
        if self.title:
            return f"cat > {shlex.quote(self.title)} <<'END_OF_BLOCK'\n{self.code}END_OF_BLOCK\n"
        if self.language == "bash":
            return self.code
        return f"python - <<'END_OF_BLOCK'\n{self.code}END_OF_BLOCK\n" if self.language == "python" else ""


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    return [
        Block(found[1], found[2] or "", found[3], text.count("\n", 0, found.start()) + 2)
        for found in _BLOCK.finditer(text)
    ]


def run_document(path: Path, folder: Path, environment: Mapping[str, str], limit_s: float = 1800.0) -> None:
    """Run the document in `folder`.

    Raises:
        AssertionError: A command failed, or printed something else; with the line of the document.
    """
    found = blocks(path.read_text(encoding="utf-8"))
    script = "set -euo pipefail\n" + "".join(
        f"printf '{_MARK}{number}{_MARK}'\n{block.script}" for number, block in enumerate(found)
    )
    output = folder.parent / f"{path.stem}.out"
    # A file, not a pipe: a server that the document starts keeps it open.
    with output.open("w") as stdout:
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=subprocess.STDOUT, timeout=limit_s, check=False,
        )  # fmt: skip
    parts = output.read_text(encoding="utf-8").split(_MARK)[1:]
    printed = {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}
    last = found[max(printed)]
    assert done.returncode == 0, (
        f"{path.name}:{last.line} ended with {done.returncode}:\n{last.code}\n{printed[max(printed)][-4000:]}"
    )
    checker = doctest.OutputChecker()
    for number, block in enumerate(found):
        if block.language == "text" and not block.title:
            got = printed[number - 1]
            wanted = re.sub(r"\s*^\.\.\.$\s*", "...", block.code, flags=re.MULTILINE)  # a line: any lines, also none
            assert checker.check_output(wanted, got, _FLAGS), (
                f"{path.name}:{block.line} expects:\n{block.code}\nbut this was printed:\n{got}"
            )
