"""One module names what `dagster` does not export, and all of it exists in the installed Dagster."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import vidpipe
from vidpipe.pipeline.dagster_internals import ASSET_JOB, pool_slots, set_pool_limits

PACKAGE = Path(vidpipe.__file__).parent
INTERNALS = PACKAGE / "pipeline" / "dagster_internals.py"


def _imports() -> Iterator[tuple[str, str]]:
    """(module, name) of everything that the module imports from inside Dagster."""
    for node in ast.walk(ast.parse(INTERNALS.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dagster"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize(("module", "name"), list(_imports()))
def test_the_installed_dagster_has(module: str, name: str) -> None:
    try:
        found = hasattr(importlib.import_module(module), name)
    except ImportError:
        found = False
    assert found, f"Dagster {dg.__version__} has no {module}.{name}, which {INTERNALS.name} imports"


@pytest.mark.parametrize(
    "method",
    ["get_pool_limits", "get_concurrency_info", "set_concurrency_slots", "free_concurrency_slots_for_run"],
)
def test_the_event_log_storage_has(dagster: dg.DagsterInstance, method: str) -> None:
    assert hasattr(dagster.event_log_storage, method), f"Dagster {dg.__version__} has no {method}"


def test_limits_of_pools_are_raised_and_lowered(dagster: dg.DagsterInstance) -> None:
    for limits in ({"gpu": 4, "model": 8}, {"gpu": 4, "model": 8}, {"gpu": 1, "model": 2}):
        set_pool_limits(dagster, limits)
        assert {name: slots for name, (slots, _, _) in pool_slots(dagster).items()} == limits


def test_dagsters_job_over_assets_has_this_name() -> None:
    @dg.asset
    def an_asset() -> None: ...

    assert dg.Definitions(assets=[an_asset]).resolve_implicit_global_asset_job_def().name == ASSET_JOB


def test_no_other_module_names_what_dagster_does_not_export() -> None:
    found = [path for path in PACKAGE.rglob("*.py") if re.search(r"dagster\._|dagster_webserver\.", path.read_text())]
    assert found == [INTERNALS]
    assert len(INTERNALS.read_text().splitlines()) <= 75
