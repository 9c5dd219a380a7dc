"""vidpipe shell: a session of the commands, in which the library stays open."""

import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.history import FileHistory
from pymongo.errors import PyMongoError

from vidpipe.cli import search, show, status  # noqa: F401 - loaded before they are asked for
from vidpipe.cli.context import CommandContext, command_context
from vidpipe.cli.interrupt import INTERRUPTED
from vidpipe.cli.main import app, globals_first
from vidpipe.cli.output import counted, note, print_error
from vidpipe.cli.shell_completion import CommandCompleter
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError, visible
from vidpipe.operations.kept_home import KeptHome
from vidpipe.operations.services.state import run_directory
from vidpipe.safe_files import open_private, private_directory

#: Commands that start, stop or replace what the session is connected to, or what it has loaded.
_OF_THEIR_OWN = ("doctor", "down", "migrate", "models", "restore", "up", "web")
_PROGRAM = "from vidpipe.cli.main import main; main()"
_ENDS = ("exit", "quit")
_TOOLBAR_S = 3.0


def shell(context: typer.Context) -> int:
    """Start an interactive session; the library stays open, so commands answer at once.

    Tab completes commands, options, fields, tags, labels and names of videos; Ctrl-R searches the history. Ctrl-C
    interrupts a command, `exit` or Ctrl-D ends the session. If stdin is not a terminal, it is read as a script: a
    command a line, and the exit code is that of the last one that failed.
    """
    call = command_context(context)
    if call.kept is not None:
        raise SettingsError("This is `vidpipe shell` already.", "`exit` ends it.")
    with closing(KeptHome(lambda: call.load().settings, note)) as home:
        home.opened()
        session = ShellSession(replace(call, home=home.settings.home, kept=home), home)
        return session.run_prompts() if sys.stdin.isatty() else session.run_script()


class ShellSession:
    """Runs command lines on one open library.

    Args:
        call: The global options of the session.
        home: The library.
    """

    def __init__(self, call: CommandContext, home: KeptHome) -> None:
        self._application = typer.main.get_command(app)
        self._call = call
        self._home = home
        given = {"--home": call.home, "--config": call.config, "--log-level": call.log_level}
        self._options = [f"{name}={value}" for name, value in given.items() if value]

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
        words = globals_first(words[words[:1] == ["vidpipe"] :])
        if not words:
            return 0
        if words[0] == "help":
            words = [*words[1:], "--help"]
        if words[0] in _OF_THEIR_OWN or words[0].startswith(("--home", "--config", "--log")):
            return self._run_process([*self._options, *words], stdin)
        code: int = self._application.main([*self._options, *words], standalone_mode=False, obj=self._call)
        if code == UnavailableError.exit_code:
            self._home.close()  # the next command connects again
        return code

    def _run_process(self, args: list[str], stdin: int | None) -> int:
        """Run a command as a process, without holding the library that it may stop or replace."""
        self._home.close()
        process = subprocess.Popen([sys.executable, "-P", "-c", _PROGRAM, *args], stdin=stdin)
        while process.poll() is None:
            with suppress(KeyboardInterrupt):  # the process has received the signal, too
                process.wait()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def run_prompts(self) -> int:
        """Run what the user types, until `exit` or Ctrl-D."""
        history = run_directory(self._home.settings) / "shell_history"
        private_directory(history.parent)
        open_private(history).close()
        prompts: PromptSession[str] = PromptSession(
            f"{visible(self._home.settings.home.name)}> ", history=FileHistory(history), bottom_toolbar=" ",
            auto_suggest=AutoSuggestFromHistory(), completer=CommandCompleter(self._home), complete_in_thread=True,
            complete_while_typing=False,
        )  # fmt: skip
        threading.Thread(target=_keep_counting, args=(self._home, prompts), name="toolbar", daemon=True).start()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
        while True:
            wakeup = signal.set_wakeup_fd(-1)  # asyncio sets one of its own
            try:
                line = prompts.prompt()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0
            finally:
                signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
            if line.strip() in _ENDS:
                return 0
            self.run(line)

    def run_script(self) -> int:
        """Run the lines of stdin; return the exit code of the last command that failed. Ctrl-C ends the script."""
        failed = 0
        for line in iter(sys.stdin.readline, ""):
            if failed == INTERRUPTED or line.strip() in _ENDS:
                break
            failed = self.run(line, stdin=subprocess.DEVNULL) or failed
        return failed


def _keep_counting(home: KeptHome, prompts: PromptSession[str]) -> None:
    """Show counts of videos below the prompt, and count again when the library has changed."""
    seen: object = None
    while True:
        with suppress(PyMongoError, VidpipeError):
            opened = home.current
            if opened is not None and (now := (opened, opened.library.changes.state())) != seen:
                library, specs, seen = opened.library, opened.plan.specs, now
                failed = sum(len(library.states.overall(specs, state).ids) for state in ("failed", "quarantined"))
                videos, due = counted(library.videos.count(), "video"), len(library.states.due(specs))
                prompts.bottom_toolbar = f"{videos} · {due} due · {failed} failed"
                prompts.app.invalidate()
        time.sleep(_TOOLBAR_S)
