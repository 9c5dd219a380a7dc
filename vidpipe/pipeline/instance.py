"""The Dagster instance of a home: data/dagster, with its settings file. One history for the page and the command."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._check import CheckError
from dagster._core.instance.ref import InstanceRef

from vidpipe.errors import SettingsError
from vidpipe.pipeline.history_damage import check_history, history_explained
from vidpipe.pipeline.processes import end_dead_runs
from vidpipe.safe_files import private_directory, replace_file
from vidpipe.settings import Settings

_DEFAULTS = "defaults/dagster.yaml"
_STAMP = "# Written by vidpipe, which renews this file until somebody edits it. sha256 of the rest: "


def dagster_home(settings: Settings) -> Path:
    """The folder that DAGSTER_HOME has to name for `dagster dev`."""
    return settings.data_directory / "dagster"


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What the environment of Dagster's own commands needs, for `dagster dev` on this home."""
    prepare(settings)
    return {"DAGSTER_HOME": str(dagster_home(settings)), "VIDPIPE_HOME": str(settings.home)}


def prepare(settings: Settings) -> Path:
    """Writes dagster.yaml into `dagster_home`, and anew after a change of [Services] MaxRuns or of vidpipe; one that
    the user has edited stays. Gives that folder."""
    home = dagster_home(settings)
    private_directory(home)
    text = (resources.files("vidpipe") / _DEFAULTS).read_text(encoding="utf-8")
    text = text.replace("max_concurrent_runs: 4", f"max_concurrent_runs: {settings.services.max_runs}")
    file = home / "dagster.yaml"
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    if known == _stamped(text) or (known and not _is_unedited(known)):
        return home
    replace_file(file, _stamped(text).encode())
    return home


def _stamped(text: str) -> str:
    """`text` below a line by which an edited file is known."""
    return f"{_STAMP}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _is_unedited(known: str) -> bool:
    first, _, text = known.partition("\n")
    return first.startswith(_STAMP) and known == _stamped(text)


def instance(settings: Settings) -> dg.DagsterInstance:
    """The instance of the home, for use in this process. Close it with `dispose()`, or use it in a `with`.

    Runs that a killed process left behind are ended. Output of steps is not captured: capturing would take the
    terminal away from the command's own display. Raises SettingsError for a dagster.yaml that cannot be used,
    DamagedError for files of the history that cannot.
    """
    home = prepare(settings)
    overrides: dict[str, Any] = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager",
        },
    }  # fmt: skip
    check_history(home)
    try:
        with history_explained(home):
            opened = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))
    except (dg.DagsterError, CheckError, ImportError) as error:
        raise SettingsError(
            f"{home / 'dagster.yaml'} cannot be used: {str(error).splitlines()[0]}",
            "Correct it, or delete it: it is written anew.",
        ) from error
    try:
        with history_explained(home):
            end_dead_runs(opened)
    except BaseException:
        opened.dispose()
        raise
    return opened
