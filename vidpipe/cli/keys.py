"""vidpipe keys: the API keys of the library page."""

import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, time_span
from vidpipe.cli.output import note, out, print_json, table, words
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.api_keys import ApiKey, ApiKeys, Scope
from vidpipe.settings import audit

_LONGEST_NAME = 100


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    *,
    scope: Annotated[
        Scope,
        typer.Option(
            "--scope",
            help="What the key allows. write adds labels, sources and runs to read; admin adds forgetting videos and "
            "changing settings.",
        ),
    ] = "read",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="How long the key is valid: 12h, 30d, 8w, 6m, 1y.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key and print its secret, once.

    Programs send a key as `Authorization: Bearer KEY`; people sign in to the library page with it. Requests from this
    machine need none, unless [LibraryPage] RequireKeys = always.
    """
    name, expires_at = name.strip(), _end_of(expires)
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise SettingsError(f"The name of a key has 1 to {_LONGEST_NAME} printable characters.")
    with open_library(context) as opened:
        key, secret = ApiKeys(opened.library.collections).create(name, scope, expires_at)
    audit("key created", **_row(key))
    if as_json:
        print_json({**_row(key), "secret": secret})
        return
    sys.stdout.write(f"{secret}\n")
    note(f"Key {key.id}, {scope}. The secret is shown only now. `vidpipe keys revoke {key.id}` ends it.")


def list_keys(context: typer.Context, *, as_json: Json = False) -> None:
    """List all keys, without their secrets."""
    with open_library(context) as opened:
        rows = [_row(key) for key in ApiKeys(opened.library.collections).all()]
    if as_json:
        print_json({"keys": rows})
        return
    if not rows:
        note("There are no keys. `vidpipe keys create NAME` makes one.")
        return
    made = table("id", "name", "scope", "created", "expires", "last used")
    for row in rows:
        made.add_row(*(words(value or "never") for value in row.values()))
    out().print(made)


def revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="See `vidpipe keys list`.")],
    *,
    as_json: Json = False,
) -> None:
    """Delete a key and end the sessions begun with it."""
    with open_library(context) as opened:
        if not ApiKeys(opened.library.collections).revoke(id):
            raise VidpipeError(f"There is no key with the ID {id}.", "`vidpipe keys list` shows the IDs.")
    audit("key revoked", id=id)
    if as_json:
        print_json({"revoked": id})
    else:
        note(f"Revoked {id}.")


def _end_of(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    with suppress(OverflowError):
        if span := time_span(expires):
            return datetime.now(UTC) + span
    raise SettingsError(f"--expires {expires}: not a duration.", "Use 12h, 30d, 8w, 6m or 1y.")


def _row(key: ApiKey) -> dict[str, Any]:
    return {name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
            for name, value in asdict(key).items()}  # fmt: skip
