"""The Dagster instance of a home: data/dagster with its dagster.yaml, one history for page and commands."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import dagster as dg
import yaml  # type: ignore[import-untyped]

from vidpipe.errors import SettingsError
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.dagster_internals import CheckError
from vidpipe.pipeline.history_damage import check_history, history_explained
from vidpipe.pipeline.run_launcher import end_dead_runs
from vidpipe.safe_files import private_directory, replace_file
from vidpipe.settings import Settings, default_file

_STAMP = "# Written by vidpipe, which renews this file until somebody edits it. sha256 of the rest: "
#: Hashes of the dagster.yaml that former versions put into a home for `dagster dev` without DAGSTER_HOME.
_FORMER = ("64860e46514c8fb2", "25ca045fa1176d34", "27cba8753ea8f746", "29678c260819399909")
#: Classes of former versions -> what to do about a dagster.yaml that names them.
_REMOVED = {
    "HomeStorage": "delete the block `storage:`",
    "WatchedRunLauncher": "write `module: vidpipe.pipeline.run_launcher` and `class: ProcessRunLauncher` under "
    "`run_launcher:`",
}


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Returns the environment that Dagster's own commands need to work on this home, and prepares the home for them."""
    prepare(settings)
    return {"DAGSTER_HOME": str(dagster_home(settings)), "VIDPIPE_HOME": str(settings.home)}


def prepare(settings: Settings) -> Path:
    """Writes dagster.yaml into `dagster_home`, again after a change of [Services] MaxRuns or an update of vidpipe.

    A file that the user has edited is kept.

    Returns:
        That folder.
    """
    home = dagster_home(settings)
    private_directory(home)
    shipped = default_file("dagster.yaml").read_bytes()
    config = yaml.safe_load(shipped)
    del config["storage"]  # names data/dagster for a Dagster without DAGSTER_HOME
    config["concurrency"]["runs"]["max_concurrent_runs"] = settings.services.max_runs
    text = _stamped(yaml.safe_dump(config, sort_keys=False))
    file = home / "dagster.yaml"
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    if known != text and (not known or _is_unedited(known)):
        replace_file(file, text.encode())
    plain = settings.home / "dagster.yaml"
    if plain.is_file() and hashlib.sha256(plain.read_bytes()).hexdigest().startswith(_FORMER):
        replace_file(plain, shipped)
    return home


def _stamped(text: str) -> str:
    """Returns `text` below a line by which an edited file is recognised."""
    return f"{_STAMP}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _is_unedited(known: str) -> bool:
    first, _, text = known.partition("\n")
    return first.startswith(_STAMP) and known == _stamped(text)


def instance(settings: Settings) -> dg.DagsterInstance:
    """Opens the instance of the home for use in this process, and ends runs that a killed process left behind.

    Close it with `dispose()`, or use it in a `with`.

    Raises:
        SettingsError: dagster.yaml cannot be used.
        DamagedError: Files of the history are damaged.
    """
    home = prepare(settings)
    file = home / "dagster.yaml"
    configured = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if removed := [advice for name, advice in _REMOVED.items() if _names(configured, name)]:
        raise SettingsError(
            f"{file} cannot be used: it names classes that vidpipe no longer has.",
            f"In that file, {' and '.join(removed)}; or delete it to have it written again.",
        )
    if "storage" not in configured:  # then Dagster uses SQLite, in this folder
        check_history(home)
    try:
        with history_explained(home):
            opened = dg.DagsterInstance.from_config(str(home))
    except (dg.DagsterError, CheckError, ImportError) as error:
        raise SettingsError(
            f"{file} cannot be used: {str(error).splitlines()[0]}", "Correct it, or delete it to have it written again."
        ) from error
    try:
        with history_explained(home):
            end_dead_runs(opened)
    except BaseException:
        opened.dispose()
        raise
    return opened


def _names(config: Any, name: str) -> bool:
    """Returns whether a block of `config` names the class `name`."""
    return isinstance(config, dict) and (config.get("class") == name or any(_names(v, name) for v in config.values()))
