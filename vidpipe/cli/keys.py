"""vidpipe keys: the API keys of the library page."""

import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, table, words
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.api_keys import ApiKey, ApiKeys, Scope
from vidpipe.settings import audit

_EXPIRES = re.compile(r"([1-9]\d{0,4})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class KeysAction(StrEnum):
    """What `vidpipe keys` does."""

    list = "list"
    create = "create"
    revoke = "revoke"


def keys(
    context: typer.Context,
    action: Annotated[
        KeysAction,
        typer.Argument(
            help="list: show all keys. create: make a key and print its secret, once. revoke: delete a key and end the "
            "sessions begun with it."
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="[NAME|ID]", help="create: what the key is for. revoke: the ID of the key.")
    ] = "",
    *,
    scope: Annotated[
        Scope,
        typer.Option(
            "--scope",
            help="create: what the key allows. write adds labels, sources and runs to read; admin adds forgetting "
            "videos and changing settings.",
        ),
    ] = "read",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="create: valid for how long: 12h, 30d, 8w."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List, create and revoke API keys.

    Programs send a key as `Authorization: Bearer KEY`; people sign in to the library page with it. Requests from this
    machine need none, unless [LibraryPage] RequireKeys = always.
    """
    if (action is KeysAction.list) == bool(name.strip()):
        raise SettingsError("`list` takes no name, `create` a NAME and `revoke` an ID.", "See `vidpipe keys --help`.")
    with open_library(context) as opened:
        stored = ApiKeys(opened.library.collections)
        match action:
            case KeysAction.list:
                _show(list(stored.all()), as_json=as_json)
            case KeysAction.create:
                _create(stored, name.strip(), scope, _end_of(expires), as_json=as_json)
            case KeysAction.revoke:
                _revoke(stored, name.strip(), as_json=as_json)


def _end_of(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    found = _EXPIRES.fullmatch(expires)
    if found is None:
        raise SettingsError(f"--expires {expires!r} is not a time.", "Write hours, days or weeks: 12h, 30d, 8w.")
    return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})


def _row(key: ApiKey) -> dict[str, Any]:
    return {name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
            for name, value in asdict(key).items()}  # fmt: skip


def _show(found: list[ApiKey], *, as_json: bool) -> None:
    rows = [_row(key) for key in found]
    if as_json:
        print_json({"keys": rows})
        return
    made = table("id", "name", "scope", "created", "expires", "last used")
    for row in rows:
        made.add_row(*(words(value or "never") for value in row.values()))
    if rows:
        out().print(made)
    else:
        note("There are no keys. `vidpipe keys create NAME` makes one.")


def _create(stored: ApiKeys, name: str, scope: Scope, expires_at: datetime | None, *, as_json: bool) -> None:
    if len(name) > 100 or not name.isprintable():
        raise SettingsError("The name of a key has at most 100 printable characters.")
    key, secret = stored.create(name, scope, expires_at)
    audit("key created", **_row(key))
    if as_json:
        print_json({**_row(key), "secret": secret})
        return
    sys.stdout.write(f"{secret}\n")
    note(f"Key {key.id}, {scope}. It is not stored and cannot be shown again. `vidpipe keys revoke {key.id}` ends it.")


def _revoke(stored: ApiKeys, id: str, *, as_json: bool) -> None:
    if not stored.revoke(id):
        raise VidpipeError(f"There is no key with the ID {id}.", "`vidpipe keys list` shows the IDs.")
    audit("key revoked", id=id)
    if as_json:
        print_json({"revoked": id})
    else:
        note(f"Revoked {id}.")
