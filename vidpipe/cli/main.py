"""The `vidpipe` command: its global options, its commands, and how errors end it."""

import gc
import logging
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vidpipe import __version__
from vidpipe.cli.context import CommandContext
from vidpipe.cli.exit_handlers import exit_before_pymongo, skip_pymongo
from vidpipe.cli.interrupt import INTERRUPTED, end_on_sigterm, repeat_lost_interrupts
from vidpipe.cli.output import note, print_error, print_json
from vidpipe.errors import DamagedError, VidpipeError
from vidpipe.redaction import redact

INTERNAL_ERROR = 70
#: Python's own 700 triggers hundreds of collections while imports create objects that stay.
_GC_THRESHOLD = 50_000

#: command -> (module:function, first sentence of its help); a group has no function, and its commands follow it.
#: Only the module of the command that runs is imported.
COMMANDS = {
    "init": ("config:init", "Create a home: config.ini with every setting explained, rules/ and data/."),
    "add": ("add:add", "Add videos: download or copy, check, and store each once under its hash."),
    "run": ("run:run", "Bring videos up to date: compute only what is due."),
    "plan": ("plan:plan", "Show what `vidpipe run` with the same arguments would do, and what it would cost."),
    "status": ("status:status", "Show how many videos are current, due, blocked, failed and quarantined per stage."),
    "stats": ("stats:stats", "Show stage times, hit rates, failures, growth by day, and the slowest videos."),
    "list": ("search:list_videos", "List videos, newest first."),
    "show": ("show:show", "Show everything known about one video."),
    "rules": ("", "Check, plan, apply and undo changes of rules, and see how good the rules are."),
    "rules check": (
        "rules_check:check",
        "Check rule files: errors, unknown fields, rules that can never apply, contradictions, and the tests in them.",
    ),
    "rules plan": ("rules:plan", "Show what rules would do to the library before they are applied."),
    "rules apply": ("rules:apply", "Put drafts or edited files into force and label the library with them."),
    "rules history": ("rules:history", "List every version of the rules that was applied, latest first."),
    "rules show": ("rules:show", "Show a version of the rules: what it changed, and its files."),
    "rules diff": ("rules:diff", "Show how two versions of the rules differ."),
    "rules undo": ("rules:undo", "Put an earlier version of the rules into force again, as a new version."),
    "rules report": (
        "rules_report:report",
        "Show what each rule covers, how often it is right, which rules disagree, and which verdicts to give next.",
    ),
    "explain": ("explain:explain", "Explain why a tag or category was assigned, or why not."),
    "verdict": ("verdict:verdict", "Say whether a tag or category of a video is right, or list what was said."),
    "history": (
        "history:history",
        "Show what happened to a video: changes of its tags and category, verdicts and results of its stages.",
    ),
    "evaluate": ("rules_report:evaluate", "Compare tags and categories with labels: precision, recall, F1, confusion."),
    "trends": ("rules_report:trends", "Show tags, categories, sentiment and durations by time and source."),
    "ask": ("ask:ask", "Ask the describing model a question about videos and print the answers."),
    "inspect": ("inspect:inspect", "Show what the stages find in one file or URL, without a library."),
    "search": ("search:search", "Find videos by words and filters, and the moments in which the words occur."),
    "similar": ("search:similar", "Find the videos nearest in meaning to a video; needs the analysis meaning."),
    "index": ("", "Show the state of the search index, or build it again."),
    "index status": (
        "index:status",
        "Show what the search index contains, where it is, and what the next search does to it.",
    ),
    "index rebuild": ("index:rebuild", "Build the search index again; meanwhile, searches use the present one."),
    "check": ("check:check", "Decode every frame of videos and report damage."),
    "export": ("export:export", "Export results, or a dataset with its media files for another tool."),
    "clips": ("clips:clips", "Cut videos into clips: by scene, by length, or where a search or rule matches."),
    "convert": ("convert:convert", "Convert videos into playable or archival files, also with blurred faces."),
    "duplicates": ("duplicates:duplicates", "Find videos that are copies or parts of each other."),
    "dataset": ("", "Create, list, show and compare versions of datasets."),
    "dataset create": ("dataset:create", "Create a version of a dataset: an immutable list of videos with splits."),
    "dataset list": ("dataset:list_datasets", "List datasets and their versions."),
    "dataset show": ("dataset:show", "Show a version: its splits, balance and leak check."),
    "dataset diff": ("dataset:diff", "Show how two versions differ."),
    "mirror": ("mirror:mirror", "Mirror the library to a PostgreSQL, MySQL or SQLite database."),
    "backup": ("backup:backup", "Back up the library, rules, config.ini and watched lists."),
    "restore": ("backup:restore", "Restore a backup into the library that [MongoDB] names."),
    "migrate": ("migrate:migrate", "Migrate the library to this version's schema."),
    "alert": ("alert:alert", "Show alert channels and pending alerts, or send a test."),
    "store": ("", "Show what each store holds; move, verify and repair what is stored."),
    "store status": ("store:status", "Show how much each store holds."),
    "store move": ("store:move", "Move files and frame packs to another store."),
    "store verify": ("store:verify", "List missing, wrong and unknown objects."),
    "store repair": ("store:repair", "Store missing and wrong objects again."),
    "partitions": ("partitions:partitions", "Count Dagster's partitions, add some, or remove those beyond the limit."),
    "prune": ("prune:prune", "Delete data older than [Retention] allows."),
    "forget": ("forget:forget", "Remove videos and everything about them."),
    "privacy": ("", "Show what is kept of videos and people, and where."),
    "privacy report": ("privacy:report", "List what is kept of videos and people, and where."),
    "models": ("", "List, install, verify and remove the models of the analyses."),
    "models list": (
        "models:list_models",
        "List models: purpose, size, licence, languages, source, and whether they are installed and needed.",
    ),
    "models install": ("models:install", "Install models: fetch them and verify their hashes."),
    "models verify": ("models:verify", "Read installed models and compare the hashes of all their files."),
    "models remove": ("models:remove", "Delete installed models."),
    "config": ("config:config", "Print the effective settings and where each comes from; secrets are masked."),
    "doctor": ("doctor:doctor", "Check the installation and this home, and say how to fix problems."),
    "web": ("web:web", "Serve the library page and its API until Ctrl-C."),
    "open": ("web:open_page", "Open a video, or the library, in the browser."),
    "keys": ("", "List, create and revoke API keys."),
    "keys list": ("keys:list_keys", "List all keys, without their secrets."),
    "keys create": ("keys:create", "Create a key and print its secret, once."),
    "keys revoke": ("keys:revoke", "Delete a key and end the sessions begun with it."),
    "shell": ("shell:shell", "Start an interactive session; the library stays open, so commands answer at once."),
    "up": ("services:up", "Start this home's servers and wait until they respond."),
    "down": ("services:down", "Stop this home's servers cleanly."),
    "worker": ("worker:worker", "Take runs from the queue of [Cluster] Broker, until Ctrl-C or SIGTERM."),
}
#: -word excludes a word from a search; it is not an unknown option.
_CONTEXT_SETTINGS: dict[str, dict[str, Any]] = {"search": {"ignore_unknown_options": True}}
_GLOBAL_OPTIONS = ("--home", "--config", "--log-level")
_EXIT_CODES = """\
Exit codes: 0 success · 1 some videos or inputs failed · 2 usage or settings error · 3 missing dependency or service ·
4 no such video · 70 bug in vidpipe · 130 interrupted (143: terminated by SIGTERM).
"""


class UsageError(VidpipeError):
    """A command line that Typer rejects, reported as JSON."""

    exit_code = 2


class LazyCommand(TyperCommand):
    """A command whose module is imported when the command is invoked.

    Args:
        path: Its key in `COMMANDS`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path.rpartition(" ")[2], help=COMMANDS[path][1], rich_markup_mode="markdown")
        self._path = path

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the real command."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """Import the command's module and return the real command."""
        module, _, function = COMMANDS[self._path][0].partition(":")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        callback = getattr(import_module(f"vidpipe.cli.{module}"), function)
        exit_before_pymongo()  # of the commands that import it at once; open_library does so for the others
        single.command(self.name, context_settings=_CONTEXT_SETTINGS.get(self._path))(callback)
        return typer.main.get_command(single)


def lazy(path: str) -> Any:
    """Return the command or the group of commands with this key in `COMMANDS`."""
    if COMMANDS[path][0]:
        return LazyCommand(path)
    within = {name.rpartition(" ")[2]: lazy(name) for name in COMMANDS if name.startswith(f"{path} ")}
    return TyperGroup(
        name=path, help=COMMANDS[path][1], commands=within, no_args_is_help=True, rich_markup_mode="markdown"
    )


class Application(TyperGroup):
    """The group of all commands. Global options may stand anywhere; every error ends in a sentence or JSON."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: lazy(name) for name in COMMANDS if " " not in name}

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *unused: Any, **options: Any
    ) -> Any:
        """Run the command line `args`; see `click.Command.main`."""
        given = insert_watch_interval(sys.argv[1:] if args is None else args)
        standalone = options.pop("standalone_mode", True)

        def work() -> Any:
            return super(Application, self).main(globals_first(given), "vidpipe", standalone_mode=False, **options)

        debug = "--log-level=debug" in "=".join(given).lower().replace("_", "-")
        code = run_guarded(work, as_json="--json" in given, debug=debug)
        if standalone:
            sys.exit(code)
        return code


app = typer.Typer(
    name="vidpipe",
    cls=Application,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"max_content_width": 120, "token_normalize_func": lambda name: name.replace("_", "-")},
    epilog=_EXIT_CODES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidpipe {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", help="Home directory, which contains config.ini. Default: VIDPIPE_HOME, or the nearest."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Read this file instead of config.ini.")] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR; DEBUG shows tracebacks.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn a list of URLs into a library of videos that can be searched, explained and exported.

    Start with `vidpipe init`, then `vidpipe add` and `vidpipe run`. Global options may come before or after the
    command.
    """
    if context.obj is None:  # `vidpipe shell` has set it
        context.obj = CommandContext(home, config, log_level.upper() if log_level else None)


def main() -> None:
    """Entry point of the installed command."""
    gc.set_threshold(_GC_THRESHOLD)
    end_on_sigterm()
    repeat_lost_interrupts()
    try:
        app()
    except KeyboardInterrupt:  # before a command has started
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second signal must not end in a traceback from clean-up code
        if "torch" not in sys.modules:  # torch's bindings would report uncollected objects as leaks
            gc.freeze()  # the process is ending: skip the final collection
            if isinstance(end.code, int):
                skip_pymongo(end.code)
        raise


def insert_watch_interval(args: Sequence[str]) -> list[str]:
    """Return `args` with the default of 2 seconds after a bare `--watch`: Typer has no options with optional values."""
    found: list[str] = []
    for place, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[place:]]
        following = args[place + 1] if place + 1 < len(args) else ""
        bare = arg == "--watch" and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?|nan|inf", following, re.IGNORECASE)
        found.append("--watch=2" if bare else arg)
    return found


def globals_first(args: Sequence[str]) -> list[str]:
    """Return `args` with the global options and their values moved before the command."""
    first: list[str] = []
    rest: list[str] = []
    remaining = iter(args)
    for arg in remaining:
        name, equals, _ = arg.partition("=")
        if arg == "--":
            rest += [arg, *remaining]
        elif name.replace("_", "-") not in _GLOBAL_OPTIONS:
            rest.append(arg)
        elif equals:
            first.append(arg)
        else:
            first += [arg, *[value for value in [next(remaining, None)] if value is not None]]
    return first + rest


def run_guarded(  # noqa: PLR0911 - one return per kind of error
    work: Callable[[], Any], *, as_json: bool, debug: bool
) -> int:
    """Run `work` and return its exit code; report what it raises as a sentence and a hint, or as {"error": …}."""

    def fail(error: VidpipeError, exit_code: int) -> int:
        if as_json:
            print_json({"error": {**error.as_json(), "exit_code": exit_code}})
        else:
            print_error(error)
        if debug:
            sys.stderr.write(redact(traceback.format_exc()))
        return exit_code

    try:
        code = work()
    except VidpipeError as error:
        if isinstance(error, DamagedError) and not as_json:
            from vidpipe.cli.repair import offer_recovery  # imports the library's packages, which --help does not need

            if offer_recovery(error):
                return run_guarded(work, as_json=as_json, debug=debug)
        return fail(error, error.exit_code)
    except typer.TyperException as error:
        if as_json or not hasattr(error, "show"):
            return fail(UsageError(error.format_message(), "See `vidpipe COMMAND --help`."), error.exit_code)
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted.")
        return INTERRUPTED
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        return fail(VidpipeError(f"OS error: {reason}.", "`vidpipe doctor` checks the disk and the home."), 3)
    except Exception as error:
        logging.getLogger("vidpipe.cli").exception("unexpected error")
        hint = "This is a bug in vidpipe; --log-level DEBUG shows where. Please report it."
        return fail(VidpipeError(f"Unexpected {type(error).__name__}: {error}", hint), INTERNAL_ERROR)
    return code if isinstance(code, int) else 0
