"""The Dagster instance of a home: data/dagster, with its settings file. One history for the page and the command."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import yaml  # type: ignore[import-untyped]
from dagster._core.instance.ref import InstanceRef

from vidpipe.pipeline.processes import end_dead_runs
from vidpipe.settings import Settings

_DEFAULTS = "defaults/dagster.yaml"


def dagster_home(settings: Settings) -> Path:
    """The folder that DAGSTER_HOME has to name for `dagster dev`."""
    return settings.data_directory / "dagster"


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What the environment of Dagster's own commands needs, for `dagster dev` on this home."""
    prepare(settings)
    return {"DAGSTER_HOME": str(dagster_home(settings)), "VIDPIPE_HOME": str(settings.home)}


def prepare(settings: Settings) -> Path:
    """Writes dagster.yaml into `dagster_home` where there is none; gives that folder."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    text = (resources.files("vidpipe") / _DEFAULTS).read_text(encoding="utf-8")
    file = home / "dagster.yaml"
    if not file.exists():
        file.write_text(text, encoding="utf-8")
    return home


def instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of the home, for use in this process. Close it with `dispose()`, or use it in a `with`.

    Runs that a killed process left behind are ended. Output of steps is not captured: capturing would take the
    terminal away from the command's own display.
    """
    home = prepare(settings)
    overrides: dict[str, Any] = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager",
        },
    }  # fmt: skip
    configured = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}
    storage = configured.get("storage", {}).get("custom", {})
    if storage.get("class") == "HomeStorage" and not storage.get("config"):
        overrides["storage"] = {"custom": {**storage, "config": {"base_dir": str(home)}}}
    opened = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))
    try:
        end_dead_runs(opened)
    except BaseException:
        opened.dispose()
        raise
    return opened
