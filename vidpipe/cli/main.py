"""The `vidpipe` command: its global options, its commands, and how errors end it."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from vidpipe import __version__
from vidpipe.cli import (
    add,
    alert,
    ask,
    backup,
    config,
    doctor,
    down,
    explain,
    export,
    forget,
    init,
    listing,
    migrate,
    plan,
    prune,
    restore,
    run,
    search,
    show,
    stats,
    status,
    up,
)
from vidpipe.cli.call import Call
from vidpipe.cli.interrupt import end_on_sigterm
from vidpipe.cli.output import error_object, note, print_error, print_json
from vidpipe.errors import DamagedError, VidpipeError
from vidpipe.redaction import redact

INTERNAL_FAULT = 70
INTERRUPTED = 130
#: Python's own 700 makes it look for garbage hundreds of times while the imports make objects that stay.
_OBJECTS_UNTIL_COLLECTED = 50_000


class UsageError(VidpipeError):
    """Typer's refusal of a command line, as JSON tells of it."""

    exit_code = 2


_EXIT_CODES = """\
Exit codes: 0 done · 1 some videos or inputs failed · 2 wrong usage or settings · 3 something needed is not there ·
4 no such video · 70 a fault of vidpipe · 130 interrupted (143: killed after SIGTERM).
"""
_GLOBAL_OPTIONS = ("--home", "--config", "--log-level")


class Application(TyperGroup):
    """Global options may stand anywhere; every error ends in one sentence (or JSON) and an exit code."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, windows_expand_args: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        given = with_seconds(dashed(sys.argv[1:] if args is None else args))

        def work() -> Any:
            return super(Application, self).main(
                globals_first(given), "vidpipe", complete_var, standalone_mode=False, **extra
            )

        code = guarded(work, as_json="--json" in given, debug=_debug(given))
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(
    name="vidpipe", cls=Application, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    context_settings={"max_content_width": 120}, epilog=_EXIT_CODES,
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidpipe {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="The home: the folder with config.ini. Else VIDPIPE_HOME, or found from here."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Read this file instead of config.ini.")] = None,
    log_level: Annotated[
        str | None,
        typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR; DEBUG shows tracebacks."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a list of URLs to a library of videos that can be searched, explained and exported.

    Begin with `vidpipe init`, then `vidpipe add` and `vidpipe run`. The global options may stand before or after the
    command.
    """
    context.obj = Call(home, config, log_level.upper() if log_level else None)


app.command("init")(init.init)
app.command("add")(add.add)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("stats")(stats.stats)
app.command("list")(listing.list_videos)
app.command("show")(show.show)
app.command("explain")(explain.explain)
app.command("ask")(ask.ask)
# -word is a word to search for, not an unknown option.
app.command("search", context_settings={"ignore_unknown_options": True})(search.search)
app.command("export")(export.export)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("migrate")(migrate.migrate)
app.command("alert")(alert.alert)
app.command("prune")(prune.prune)
app.command("forget")(forget.forget)
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)
app.command("up")(up.up)
app.command("down")(down.down)


def main() -> None:
    """What the installed command calls."""
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)
    end_on_sigterm()
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second one would be a traceback from some clean-up
        if "torch" not in sys.modules:  # whose bindings would report all that is not collected as leaked
            gc.freeze()  # the process ends: nothing is left to be looked for
        if isinstance(end.code, int) and "pymongo" in sys.modules and "dagster" not in sys.modules:
            _leave_now(end.code)
        raise


def _leave_now(code: int) -> NoReturn:
    """Ends the process without pymongo's clean-up: that waits up to half a second for threads that only sleep, after
    the client has long been closed."""
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        code = code or 1
    os._exit(code)


def dashed(args: Sequence[str]) -> list[str]:
    """`args` with - for _ in the names of options: users of the older script write --scene_threshold."""
    found: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            return [*found, arg, *waiting]
        name, equals, value = arg.partition("=")
        found.append(f"{name.replace('_', '-')}{equals}{value}" if name.startswith("--") else arg)
    return found


def with_seconds(args: Sequence[str]) -> list[str]:
    """`args` with 2 for the seconds that `--watch` was not given: Typer knows no option whose value may be left out."""
    found: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[place:]]
        following = args[place + 1] if place + 1 < len(args) else ""
        bare = arg == "--watch" and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?|nan|inf", following, re.IGNORECASE)
        found.append("--watch=2" if bare else arg)
    return found


def globals_first(args: Sequence[str]) -> list[str]:
    """`args` with the global options, and their values, before the command."""
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            rest += [arg, *waiting]
        elif arg in _GLOBAL_OPTIONS:
            first += [arg, *[value for value in [next(waiting, None)] if value is not None]]
        elif arg.startswith(tuple(f"{option}=" for option in _GLOBAL_OPTIONS)):
            first.append(arg)
        else:
            rest.append(arg)
    return first + rest


def _debug(args: Sequence[str]) -> bool:
    return "--log-level=debug" in "=".join(args).lower()


def guarded(  # noqa: PLR0911 - one return a kind of error
    work: Callable[[], Any], *, as_json: bool, debug: bool
) -> int:
    """The exit code of `work`; what it raises is written as one sentence and a hint, or as {"error": …}."""

    def end(error: VidpipeError, exit_code: int) -> int:
        if as_json:
            print_json({"error": {**error_object(error), "exit_code": exit_code}})
        else:
            print_error(error)
        if debug:
            sys.stderr.write(redact(traceback.format_exc()))
        return exit_code

    try:
        code = work()
    except VidpipeError as error:
        if isinstance(error, DamagedError) and not as_json:
            from vidpipe.cli.repair import recovered

            if recovered(error):
                return guarded(work, as_json=as_json, debug=debug)
        return end(error, error.exit_code)
    except typer.TyperException as error:
        if as_json or not hasattr(error, "show"):
            return end(UsageError(error.format_message(), "`vidpipe COMMAND --help` explains."), error.exit_code)
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted.")
        return INTERRUPTED
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        return end(VidpipeError(f"The system refused: {said}.", "`vidpipe doctor` looks at disk and home."), 3)
    except Exception as error:
        logging.getLogger("vidpipe.cli").exception("unexpected error")
        hint = "This is a fault of vidpipe; --log-level DEBUG shows where. Please report it."
        return end(VidpipeError(f"An unexpected {type(error).__name__}: {error}", hint), INTERNAL_FAULT)
    return code if isinstance(code, int) else 0
