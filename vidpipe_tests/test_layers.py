"""Imports point one way, and the functional core knows neither Dagster nor MongoDB."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vidpipe"

#: room -> the rooms that it may import
#: Single modules that know no room.
BELOW_ALL_ROOMS = ("errors", "redaction", "safe_files", "child_environment")
ALLOWED = {
    "settings": set(),
    "network": set(),
    "media": {"settings"},
    "tagging": {"settings"},
    "vlm": {"settings", "network", "media", "tagging"},
    "ingest": {"settings", "network", "media"},
    "stages": {"settings", "media", "vlm", "tagging", "ingest"},
    "library": {"settings", "media", "tagging", "ingest", "stages"},
    "runner": {"settings", "media", "vlm", "stages", "library"},
    "dagster_mongo": set(),
    "retention": {"settings", "media", "ingest", "library"},
    "alerts": {"settings"},
    "measures": {"settings", "stages", "library", "runner", "pipeline"},
    "pipeline": {
        "settings",
        "dagster_mongo",
        "vlm",
        "alerts",
        "retention",
        "media",
        "ingest",
        "tagging",
        "stages",
        "library",
        "runner",
    },
    "services": {"settings", "library", "stages", "pipeline"},
    "cli": {
        "settings",
        "alerts",
        "retention",
        "media",
        "vlm",
        "ingest",
        "tagging",
        "stages",
        "library",
        "runner",
        "measures",
        "pipeline",
        "services",
    },
}
CORE = ("settings", "network", "alerts", "media", "tagging", "vlm", "ingest", "stages")


def imports(room: str) -> Iterator[tuple[Path, str]]:
    """(file, imported module) of every import in a room, wherever in the file it stands."""
    for file in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((file, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield file, node.module


def test_every_room_is_listed() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    for file, module in imports(room):
        parts = module.split(".")
        if parts[0] == "vidpipe" and len(parts) > 1 and parts[1] not in (*BELOW_ALL_ROOMS, room):
            assert parts[1] in ALLOWED[room], f"{file.relative_to(PACKAGE)} imports {module}"


@pytest.mark.parametrize("room", CORE)
def test_the_core_knows_neither_dagster_nor_mongodb(room: str) -> None:
    for file, module in imports(room):
        assert module.split(".")[0] not in ("dagster", "pymongo", "bson"), f"{file.name} imports {module}"


def test_only_the_pipeline_imports_dagster() -> None:
    for room in set(ALLOWED) - {"pipeline", "dagster_mongo"}:
        for file, module in imports(room):
            assert module.split(".")[0] != "dagster", f"{room}/{file.name} imports {module}"
