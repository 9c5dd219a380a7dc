"""vidpipe models: the models of the analyses on this machine."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, error_object, note, out, print_error, print_json, size, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.models.catalogue import CatalogueEntry, catalogue, entry_of
from vidpipe.models.installation import current_model, damaged_files, install, installed_names, remove
from vidpipe.models.installed import installed_model
from vidpipe.settings import Settings, audit

_MB = 1_000_000


class ModelsAction(StrEnum):
    """What `vidpipe models` does."""

    list = "list"
    install = "install"
    verify = "verify"
    remove = "remove"


def models(
    context: typer.Context,
    action: Annotated[
        ModelsAction,
        typer.Argument(
            help="list: show all models. install: fetch models and verify their hashes. verify: read installed models "
            "and compare their hashes. remove: delete models."
        ),
    ],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models. verify: default all.")] = None,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="install: every model that the settings of the analyses name, enabled or not."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="install: do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> int:
    """List, install, verify and remove the models of the analyses.

    Models are installed in data/models, from the source and with the hashes that the catalogue names. Nothing else
    installs any, unless [Models] Fetch = yes. A model whose licence nobody declares is only installed by its name.
    """
    settings = command_context(context).load().settings
    given = tuple(dict.fromkeys(names or ()))
    if (everything or yes) and action is not ModelsAction.install:
        raise SettingsError("--all and --yes belong to `vidpipe models install`.")
    match action:
        case ModelsAction.list:
            rows = [_row(entry_of(name), settings) for name in given or catalogue()]
            print_json({"models": rows}) if as_json else _show(rows)
            return 0
        case ModelsAction.install:
            return _install(settings, _to_install(settings, given, everything=everything), yes=yes, as_json=as_json)
        case ModelsAction.verify:
            return _verify(settings, given or installed_names(settings.models_directory), as_json=as_json)
        case ModelsAction.remove:
            return _remove(settings, given, as_json=as_json)


def _row(entry: CatalogueEntry, settings: Settings) -> dict[str, Any]:
    return {
        "name": entry.name,
        "purpose": entry.purpose,
        "version": entry.version,
        "size_bytes": entry.size_bytes or None,
        "licence": entry.licence,
        "languages": list(entry.languages),
        "source": str(entry.source),
        "upstream": entry.upstream,
        "installed": current_model(entry, settings.models_directory) is not None,
        "needed_by": needed_by(entry, settings),
    }


def needed_by(entry: CatalogueEntry, settings: Settings, *, disabled: bool = False) -> list[str]:
    """Return the stages that use a model under these settings.

    Args:
        entry: The model.
        settings: The settings in force.
        disabled: Count analyses that are not enabled, too.
    """
    stage = {"voice activity": "speech"}.get(entry.purpose, entry.purpose.replace(" ", "_"))
    chosen = entry.purpose == "voice activity" or getattr(getattr(settings, stage, None), "model", "") == entry.name
    found = [stage] if chosen and (disabled or stage in settings.analyses.enabled) else []
    blurs = entry.purpose == "faces" and chosen and settings.privacy.blur_faces
    cuts = entry.purpose == "cuts" and str(settings.scene_detection.detector) == "transnetv2"
    return [*(["scenes"] if blurs or cuts else []), *found]


def _show(rows: Sequence[dict[str, Any]]) -> None:
    right = {"justify": "right"}
    made = table("model", "purpose", ("size", right), "licence", "languages", "source", "installed", "needed by")
    for row in rows:
        state, style = ("yes", "green") if row["installed"] else ("no", "yellow" if row["needed_by"] else "dim")
        needed = ", ".join(row["needed_by"])
        languages = ", ".join(row["languages"])
        made.add_row(
            row["name"], row["purpose"], size(row["size_bytes"]), row["licence"], languages, row["source"],
            words(state, style), needed,
        )  # fmt: skip
    out().print(made)


def _to_install(settings: Settings, names: Sequence[str], *, everything: bool) -> list[CatalogueEntry]:
    if bool(names) == everything:
        raise SettingsError("Name the models to install, or use --all.", "`vidpipe models list` shows them.")
    if names:
        return [entry_of(name) for name in names]
    return [
        entry for entry in catalogue().values() if needed_by(entry, settings, disabled=True) and not entry.undeclared
    ]


def _install(settings: Settings, entries: Sequence[CatalogueEntry], *, yes: bool, as_json: bool) -> int:
    directory = settings.models_directory
    wanted = [entry for entry in entries if not _is_intact(entry, directory)]
    states = {entry.name: "present" for entry in entries if entry not in wanted}
    if not wanted:
        note(f"Nothing to do: {counted(len(entries), 'model')} installed already.")
    elif not yes and not _agrees(wanted, as_json=as_json):
        note("Nothing was installed.")
        return 1
    faults: dict[str, VidpipeError] = {}
    for entry in wanted:
        with PartsDisplay("Installing") as display:
            try:
                install(entry, directory, partial(_in_mb, display, entry.name), check=True)
            except UnavailableError as error:
                faults[entry.name] = error
                print_error(error)
                continue
        states[entry.name] = "installed"
        note(f"Installed {entry.name} ({size(entry.size_bytes or None)}, {entry.licence}).")
    audit("models install", models=states)
    if as_json:
        results = {**states, **dict.fromkeys(faults, "failed")}
        plain: list[dict[str, Any]] = [{"name": name, "state": state} for name, state in results.items()]
        for row in plain:
            row["error"] = error_object(faults[row["name"]]) if row["name"] in faults else None
        print_json({"models": plain})
    return max((error.exit_code for error in faults.values()), default=0)


def _is_intact(entry: CatalogueEntry, directory: Path) -> bool:
    found = current_model(entry, directory)
    return found is not None and not damaged_files(found)


def _in_mb(display: PartsDisplay, name: str, done_bytes: int, total_bytes: int) -> None:
    display.progress(f"{name}, MB", done_bytes // _MB, total_bytes // _MB or None)


def _agrees(wanted: Sequence[CatalogueEntry], *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise SettingsError(
            "`vidpipe models install` asks for confirmation, but stdin is not a terminal.", "Use --yes to confirm."
        )
    for entry in wanted:
        how_large = size(entry.size_bytes or None) or "size unknown"
        note(f"{entry.name}: {how_large}, licence {entry.licence}, from {entry.source}", "")
    total = size(sum(entry.size_bytes for entry in wanted))
    return typer.confirm(f"Install {counted(len(wanted), 'model')} ({total})?", err=True)


def _verify(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    damaged: dict[str, list[str]] = {}
    with PartsDisplay("Verifying") as display:
        for number, name in enumerate(names):
            display.progress(name, number, len(names))
            damaged[name] = damaged_files(installed_model(settings.models_directory, name))
    if as_json:
        print_json({"models": [{"name": name, "damaged": files} for name, files in damaged.items()]})
    bad = [name for name, files in damaged.items() if files]
    for name in bad:
        note(f"The model {name} is damaged: {', '.join(damaged[name])}.", "red")
    if bad:
        note(f"Run `vidpipe models install {' '.join(bad)}`.")
    elif not as_json:
        out().print(f"{counted(len(damaged), 'model')} intact." if damaged else "No model is installed.")
    return 1 if bad else 0


def _remove(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    directory = settings.models_directory
    if not names:
        raise SettingsError("Name the models to remove.", "`vidpipe models list` shows them.")
    here = installed_names(directory)
    for name in names:
        if name not in here:
            entry_of(name)  # raises if there is no such model
    removed = [name for name in names if name in here and remove(name, directory)]
    audit("models remove", models=removed)
    if as_json:
        print_json({"removed": removed})
        return 0
    for name in names:
        note(f"Removed {name}." if name in removed else f"{name} was not installed.")
    return 0
