"""vidpipe models: the models of the analyses on this machine."""

from typing import Annotated, Any

import typer

from vidpipe.cli.confirmation import confirm
from vidpipe.cli.context import command_context
from vidpipe.cli.options import Json, Yes
from vidpipe.cli.output import counted, note, out, print_error, print_json, size, table, words
from vidpipe.cli.progress import PartsDisplay
from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.models.catalogue import CatalogueEntry, catalogue, entry_of, hub_models
from vidpipe.models.installation import install as fetch
from vidpipe.models.installation import installed_names, is_installed, is_intact
from vidpipe.models.installation import remove as delete
from vidpipe.models.installed import MANIFEST, installed_model
from vidpipe.settings import Settings, audit

_Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these models. Default: all.")]


def list_models(context: typer.Context, names: _Names = None, *, as_json: Json = False) -> None:
    """List models: purpose, size, licence, languages, source, and whether they are installed and needed."""
    settings = command_context(context).load().settings
    columns = ("model", "purpose", "size", "licence", "languages", "source", "installed", "needed by")
    shown = table(*columns, right=("size",))
    rows = []
    for entry in map(entry_of, names or catalogue()):
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
    if as_json:
        print_json({"models": rows})
    else:
        out().print(shown)


def install(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Models. Default: those that what is enabled needs.")
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Every model that the settings of the analyses name, enabled or not.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> int:
    """Install models: fetch them and verify their hashes.

    They come from the source and with the hashes that the catalogue names, and are kept in data/models. Nothing else
    installs any, unless [Models] Fetch = yes. A model whose licence nobody declares is only installed by its name.
    """
    settings = command_context(context).load().settings
    if names and everything:
        raise SettingsError("Name the models to install, or use --all.", "`vidpipe models list` shows them.")
    needed = [entry for entry in catalogue().values() if needed_by(entry, settings, disabled=everything)]
    entries = [entry_of(name) for name in dict.fromkeys(names or ())] or [
        entry for entry in needed if not entry.undeclared
    ]
    if not entries:
        note("No analysis that needs a model is enabled. Name models, use --all, or set Enabled of [Analyses] first.")
    rows: dict[str, dict[str, Any]] = {
        entry.name: {"name": entry.name, "state": "present", "error": None} for entry in entries
    }
    wanted = [entry for entry in entries if not is_intact(entry, settings.models_directory)]
    if entries and not wanted:
        note(f"Nothing to do: {counted(len(entries), 'model')} installed already.")
    elif wanted:

        def show() -> None:
            for one in wanted:
                note(f"{one.name}: {size(one.size_bytes or None)}, licence {one.licence}, from {one.source}", "")

        question = f"Install {counted(len(wanted), 'model')}?"
        confirm("vidpipe models install", question, yes=yes, as_json=as_json, show=show)
    code = 0
    with PartsDisplay("Installing") as display:
        for number, entry in enumerate(wanted):
            described = f"{entry.name} ({size(entry.size_bytes or None)}, {entry.licence})"
            display.progress(described, number, len(wanted))
            try:
                fetch(entry, settings.models_directory)
            except UnavailableError as error:
                rows[entry.name] |= {"state": "failed", "error": error.as_json()}
                code = error.exit_code
                print_error(error)
                continue
            rows[entry.name]["state"] = "installed"
            note(f"Installed {described}.")
    audit("models install", models={name: row["state"] for name, row in rows.items()})
    if as_json:
        print_json({"models": list(rows.values())})
    return code


def verify(context: typer.Context, names: _Names = None, *, as_json: Json = False) -> int:
    """Read installed models and compare the hashes of all their files."""
    settings = command_context(context).load().settings
    names = names or list(installed_names(settings.models_directory))
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
    if as_json:
        print_json({"models": [{"name": name, "damaged": files} for name, files in damaged.items()]})
    return 1 if bad else 0


def remove(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="See `vidpipe models list`.")],
    *,
    as_json: Json = False,
) -> None:
    """Delete installed models."""
    directory = command_context(context).load().settings.models_directory
    here = installed_names(directory)
    for name in set(names).difference(here):
        entry_of(name)  # raises if there is no such model
    removed = {name: delete(name, directory) for name in names}
    audit("models remove", models=[name for name, done in removed.items() if done])
    for name, done in removed.items():
        note(f"Removed {name}." if done else f"{name} was not installed.")
    if as_json:
        print_json({"models": [{"name": name, "removed": done} for name, done in removed.items()]})


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
