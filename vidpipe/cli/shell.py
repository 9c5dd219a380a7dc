"""vidpipe shell: a session of the commands, in which the library stays open."""

import contextlib
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.history import FileHistory
from pymongo.errors import PyMongoError

from vidpipe.cli.context import CommandContext, command_context
from vidpipe.cli.interrupt import INTERRUPTED
from vidpipe.cli.main import GLOBAL_OPTIONS, app
from vidpipe.cli.output import counted, note, print_error
from vidpipe.cli.run import finish
from vidpipe.cli.shell_completion import CommandCompleter
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError, visible
from vidpipe.operations.kept_home import KeptHome, OpenHome
from vidpipe.operations.services.state import run_directory
from vidpipe.safe_files import open_private, private_directory

#: Commands that start, stop or replace what the session is connected to, or what it has loaded.
_OF_THEIR_OWN = ("doctor", "down", "migrate", "models", "restore", "up", "web")
_PROGRAM = "from vidpipe.cli.main import main; main()"
#: Modules of the commands that are to answer at once.
_LOADED_FIRST = ("search", "show", "status")
_ENDS = ("exit", "quit")
_TOOLBAR_S = 3.0


def shell(context: typer.Context) -> None:
    """Start an interactive session of vidpipe's commands; the library stays open, so they answer at once.

    Tab completes commands, options, fields, tags, labels and names of videos; Ctrl-R searches the history. Ctrl-C
    interrupts a command, `exit` or Ctrl-D ends the session. If stdin is not a terminal, it is read as a script: a
    command a line, and the exit code is that of the last one that failed.
    """
    call = command_context(context)
    if call.kept is not None:
        raise SettingsError("This is `vidpipe shell` already.", "`exit` ends it.")
    home = KeptHome(lambda: call.load().settings, note)
    try:
        settings = home.opened().settings
        session = ShellSession(replace(call, home=settings.home, kept=home))
        if sys.stdin.isatty():
            for module in _LOADED_FIRST:
                import_module(f"vidpipe.cli.{module}")
            session.run_prompts(prompts(home))
            code = 0
        else:
            code = session.run_script()
    finally:
        home.close()
    finish(code)


class ShellSession:
    """Runs command lines on one open library.

    Args:
        call: The global options of the session, and the library that it keeps open.
    """

    def __init__(self, call: CommandContext) -> None:
        self._application = typer.main.get_command(app)
        self._call = call
        given = {"--home": call.home, "--config": call.config and call.config.absolute(), "--log-level": call.log_level}
        self._options = [word for name, value in given.items() if value for word in (name, str(value))]

    def run(self, line: str, *, stdin: int | None = None) -> int:
        """Run one line and return its exit code. Its errors are printed.

        Args:
            line: Words as a shell splits them: a command and its arguments. Empty lines and comments do nothing.
            stdin: What a command in a process of its own reads; None: the session's.
        """
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            print_error(SettingsError(f"The line cannot be split into words: {error}.", "Close the quotation marks."))
            return SettingsError.exit_code
        words = words[words[:1] == ["vidpipe"] :]
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        if not words:
            return 0
        options_of_its_own = any(word.partition("=")[0].replace("_", "-") in GLOBAL_OPTIONS for word in words)
        if words[0] in _OF_THEIR_OWN or options_of_its_own:
            return self._run_process([*self._options, *words], stdin)
        code: int = self._application.main([*self._options, *words], standalone_mode=False, obj=self._call)
        if code == UnavailableError.exit_code and self._call.kept is not None:
            self._call.kept.close()  # the next command connects again
        return code

    def _run_process(self, args: Sequence[str], stdin: int | None) -> int:
        """Run a command as a process, without holding the library that it may stop or replace."""
        assert self._call.kept is not None  # noqa: S101 - of a session
        self._call.kept.close()
        with subprocess.Popen([sys.executable, "-P", "-c", _PROGRAM, *args], stdin=stdin) as process:
            while process.poll() is None:
                with contextlib.suppress(KeyboardInterrupt):  # the process has received the signal, too
                    process.wait()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def run_prompts(self, session: PromptSession[str]) -> None:
        """Run what the user types, until `exit` or Ctrl-D."""
        while True:
            try:
                with _signals_for_prompt():
                    line = session.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if line.strip() in _ENDS:
                return
            self.run(line)

    def run_script(self) -> int:
        """Run the lines of stdin; return the exit code of the last command that failed. Ctrl-C ends the script."""
        failed = 0
        for line in iter(sys.stdin.readline, ""):
            if line.strip() in _ENDS:
                break
            failed = self.run(line, stdin=subprocess.DEVNULL) or failed
            if failed == INTERRUPTED:
                break
        return failed


def prompts(home: KeptHome) -> "PromptSession[str]":
    """Return what reads lines from the terminal, with history, completion and a toolbar."""
    settings = home.settings
    history = run_directory(settings) / "shell_history"
    private_directory(history.parent)
    open_private(history).close()
    return PromptSession(
        f"{visible(settings.home.name)}> ",
        history=FileHistory(history),
        auto_suggest=AutoSuggestFromHistory(),
        completer=CommandCompleter(home),
        complete_in_thread=True,
        bottom_toolbar=CountsToolbar(home),
        refresh_interval=_TOOLBAR_S,
    )


class CountsToolbar:
    """What the line below the prompt says. It is counted in another thread, if the library has changed."""

    def __init__(self, home: KeptHome) -> None:
        self._home = home
        self._text = ""
        self._seen: object = None
        self._began_at = 0.0
        self._counting = threading.Lock()

    def __call__(self) -> str:
        """Return the counts of a moment ago."""
        if time.monotonic() - self._began_at > _TOOLBAR_S and not self._counting.locked():
            self._began_at = time.monotonic()
            threading.Thread(target=self._count, name="toolbar", daemon=True).start()
        return self._text

    def _count(self) -> None:
        opened = self._home.current
        with self._counting, contextlib.suppress(PyMongoError, VidpipeError):
            if opened is not None and (seen := (opened, opened.library.changes.state())) != self._seen:
                self._text, self._seen = _counts(opened), seen


def _counts(opened: OpenHome) -> str:
    states, specs = opened.library.states, opened.plan.specs
    failed = sum(len(states.overall(specs, state).ids) for state in ("failed", "quarantined"))
    return f"{counted(opened.library.videos.count(), 'video')} · {len(states.due(specs))} due · {failed} failed"


@contextlib.contextmanager
def _signals_for_prompt() -> Iterator[None]:
    """While a line is read, SIGTERM ends the session; then the thread that ends a hanging command is woken up again."""
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    wakeup = signal.set_wakeup_fd(-1)  # asyncio sets one of its own
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, handler)
