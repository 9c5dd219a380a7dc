"""vidpipe models: the models of the analyses on this machine."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, note, out, print_error, print_json, size, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.models.catalogue import CatalogueEntry, catalogue, entry_of, hub_models
from vidpipe.models.installation import install, installed_names, is_installed, is_intact, remove
from vidpipe.models.installed import MANIFEST, installed_model
from vidpipe.settings import Settings, audit


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
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Models. install: default what is enabled needs. verify: default all installed."
        ),
    ] = None,
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
            result, code = _list(settings, given or tuple(catalogue()), as_json=as_json), 0
        case ModelsAction.install:
            result, code = _install(settings, given, everything=everything, yes=yes, as_json=as_json)
        case ModelsAction.verify:
            result, code = _verify(settings, given or installed_names(settings.models_directory))
        case ModelsAction.remove:
            result, code = _remove(settings, given), 0
    if as_json:
        print_json({"models": result})
    return code


def needed_by(entry: CatalogueEntry, settings: Settings, *, disabled: bool = False) -> list[str]:
    """Return the stages that use a model under these settings.

    Args:
        entry: The model.
        settings: The settings in force.
        disabled: Count analyses that are not enabled, too.
    """
    stage = {"voice activity": "speech"}.get(entry.purpose) or entry.purpose.replace(" ", "_")
    chosen = hub_models().get(getattr(settings, stage).model, getattr(settings, stage).model)
    if chosen != entry.name and entry.purpose != "voice activity":
        return []
    blurs = stage == "faces" and settings.privacy.blur_faces
    return [*(["scenes"] if blurs else []), *([stage] if disabled or stage in settings.analyses.enabled else [])]


def _list(settings: Settings, names: Sequence[str], *, as_json: bool) -> list[dict[str, Any]]:
    right = {"justify": "right"}
    shown = table("model", "purpose", ("size", right), "licence", "languages", "source", "installed", "needed by")
    rows = []
    for entry in map(entry_of, names):
        row = entry.model_dump(include={"name", "purpose", "version", "licence", "languages", "upstream"})
        row |= {"size_bytes": entry.size_bytes or None, "source": str(entry.source)}
        row |= {"installed": is_installed(entry, settings.models_directory), "needed_by": needed_by(entry, settings)}
        rows.append(row)
        state, style = ("yes", "green") if row["installed"] else ("no", "yellow" if row["needed_by"] else "dim")
        languages, needed = (", ".join(row[name]) for name in ("languages", "needed_by"))
        shown.add_row(
            entry.name, entry.purpose, size(row["size_bytes"]), entry.licence, languages, row["source"],
            words(state, style), needed,
        )  # fmt: skip
    if not as_json:
        out().print(shown)
    return rows


def _install(
    settings: Settings, names: Sequence[str], *, everything: bool, yes: bool, as_json: bool
) -> tuple[list[dict[str, Any]], int]:
    if names and everything:
        raise SettingsError("Name the models to install, or use --all.", "`vidpipe models list` shows them.")
    needed = [entry for entry in catalogue().values() if needed_by(entry, settings, disabled=everything)]
    entries = [entry_of(name) for name in names] or [entry for entry in needed if not entry.undeclared]
    if not entries:
        note("No analysis that needs a model is enabled. Name models, use --all, or set Enabled of [Analyses] first.")
    rows: dict[str, dict[str, Any]] = {
        entry.name: {"name": entry.name, "state": "present", "error": None} for entry in entries
    }
    wanted = [entry for entry in entries if not is_intact(entry, settings.models_directory)]
    if entries and not wanted:
        note(f"Nothing to do: {counted(len(entries), 'model')} installed already.")
    elif wanted and not yes and not _agrees(wanted, as_json=as_json):
        note("Nothing was installed.")
        return [], 1
    code = 0
    with PartsDisplay("Installing") as display:
        for number, entry in enumerate(wanted):
            described = f"{entry.name} ({size(entry.size_bytes or None)}, {entry.licence})"
            display.progress(described, number, len(wanted))
            try:
                install(entry, settings.models_directory)
            except UnavailableError as error:
                rows[entry.name] |= {"state": "failed", "error": error.as_json()}
                code = error.exit_code
                print_error(error)
                continue
            rows[entry.name]["state"] = "installed"
            note(f"Installed {described}.")
    audit("models install", models={name: row["state"] for name, row in rows.items()})
    return list(rows.values()), code


def _agrees(wanted: Sequence[CatalogueEntry], *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise SettingsError(
            "`vidpipe models install` asks for confirmation, but stdin is not a terminal.", "Use --yes to confirm."
        )
    for entry in wanted:
        note(f"{entry.name}: {size(entry.size_bytes or None)}, licence {entry.licence}, from {entry.source}", "")
    return typer.confirm(f"Install {counted(len(wanted), 'model')}?", err=True)


def _verify(settings: Settings, names: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    damaged: dict[str, list[str]] = {}
    with PartsDisplay("Verifying") as display:
        for number, name in enumerate(names):
            display.progress(name, number, len(names))
            damaged[name] = installed_model(settings.models_directory, name).damaged()
            if name in catalogue() and not is_installed(entry_of(name), settings.models_directory):
                damaged[name] += [MANIFEST]
    bad = [name for name, files in damaged.items() if files]
    for name in bad:
        note(f"The model {name} is damaged: {', '.join(damaged[name])}.", "red")
    note(f"Run `vidpipe models install {' '.join(bad)}`." if bad else f"{counted(len(damaged), 'model')} intact.")
    return [{"name": name, "damaged": files} for name, files in damaged.items()], 1 if bad else 0


def _remove(settings: Settings, names: Sequence[str]) -> list[dict[str, Any]]:
    directory = settings.models_directory
    if not names:
        raise SettingsError("Name the models to remove.", "`vidpipe models list` shows them.")
    here = installed_names(directory)
    for name in set(names).difference(here):
        entry_of(name)  # raises if there is no such model
    removed = {name: remove(name, directory) for name in names}
    audit("models remove", models=[name for name, done in removed.items() if done])
    for name, done in removed.items():
        note(f"Removed {name}." if done else f"{name} was not installed.")
    return [{"name": name, "removed": done} for name, done in removed.items()]
