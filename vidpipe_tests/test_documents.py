"""What the documents say about the tree is true: packages, files, settings and imports."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from vidpipe.library.schema import COLLECTIONS
from vidpipe.settings.keys import all_keys

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Files that a reader of CONTRIBUTING.md writes, and those that vidpipe writes into a home.
_NOT_IN_THE_TREE = re.compile(r"vidpipe/stages/pace\.py|.*/NAME\.py|data/.*")


def named_files(text: str) -> list[str]:
    """Return the Python, TOML, YAML and JSON files that a document names as code."""
    return re.findall(r"`([\w/]+\.(?:py|toml|ya?ml|json))`", text)


def test_the_map_of_packages_in_contributing_is_complete() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (ROOT / "vidpipe").glob("*/__init__.py")}
    assert set(re.findall(r"`vidpipe/(\w+)/`", text)) == packages


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_file_that_the_guides_to_the_code_name_exists(name: str) -> None:
    named = [one for one in named_files((ROOT / name).read_text(encoding="utf-8")) if not _NOT_IN_THE_TREE.match(one)]
    assert len(named) > 30
    there = {f"/{path.relative_to(ROOT)}" for folder in ("vidpipe", "rules", "deploy", "scripts", "vidpipe_tests")
             for path in (ROOT / folder).rglob("*.*")} | {f"/{path.name}" for path in ROOT.iterdir()}  # fmt: skip
    assert [one for one in named if not any(path.endswith(f"/{one}") for path in there)] == []


def test_the_architecture_lists_every_collection() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {name for row in re.findall(r"^\| (videos[\w, ]*) \|", text, re.MULTILINE) for name in row.split(", ")}
    assert named == {"videos", *(f"videos_{name}" for name in COLLECTIONS if name != "videos")}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_that_a_document_names_exists(path: Path) -> None:
    known = {(key.section, key.name) for key in all_keys()}
    sections = {section for section, _ in known}
    named = re.findall(r"\[(\w+)\]`? `?([A-Z]\w+)", path.read_text(encoding="utf-8"))
    assert [one for one in named if one[0] in sections and one not in known] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_examples_import_from_vidpipe_exists(path: Path) -> None:
    for block in re.findall(
        r"^```py(?:thon)?\b[^\n]*\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vidpipe."):
                module = (ROOT / (node.module or "").replace(".", "/")).with_suffix(".py")
                # Definitions load the home of the current folder when they are imported.
                text = module.read_text(encoding="utf-8") if module.is_file() else ""
                names = dir(importlib.import_module(node.module or "")) if "defs =" not in text else ["defs"]
                assert {one.name for one in node.names} <= set(names), node.module
