"""The runner of documents notices what a reader would."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from vidpipe_tests.walks.document import run_document

DOCUMENT = textwrap.dedent(
    """
    ```text title="names.txt"
    one
    two
    ```

    ```bash
    cd .
    name=$(head -1 names.txt)
    echo "first: $name, then $(wc -l < names.txt) lines"
    ```
    ```text
    first: one, ... lines
    ```

    ```python
    print(open("names.txt").read().split())
    ```
    ```text
    ['one', 'two']
    ```
    """
)


def run(text: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text(text, encoding="utf-8")
    run_document(path, folder, {})


def test_a_document_runs_in_one_shell_and_its_output_is_compared(tmp_path: Path, folder: Path) -> None:
    run(DOCUMENT, tmp_path, folder)
    with pytest.raises(AssertionError, match=r"document.md:20 expects:\n\['one', 'three'\]"):
        run(DOCUMENT.replace("'two'", "'three'"), tmp_path, folder)


def test_a_failing_command_is_named_with_its_line(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"document.md:8 ended with 1:(\n.*)*false"):
        run(DOCUMENT.replace("cd .", "false"), tmp_path, folder)
