"""vidpipe shell: the commands themselves, on a library that stays open; and vidpipe open."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from vidpipe.cli.shell_completion import CommandCompleter
from vidpipe.operations.kept_home import KeptHome
from vidpipe.settings import load
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, TALK, Command

_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def test_a_script_prints_what_the_commands_print(filled: Command) -> None:
    assert filled("shell", given="list\n").stdout == filled("list").stdout
    shown = filled("shell", given=f"# a comment\n\nvidpipe show {TALK} --json\n").stdout
    assert json.loads(shown) == filled.json("show", TALK)


def test_an_error_does_not_end_a_script_and_its_exit_code_is_the_last_one(filled: Command) -> None:
    result = filled("shell", given='show nothing\nsearch "open\nfrobnicate\nlist --limit 1\n')
    assert result.exit_code == 2, result.output
    assert "No video matches 'nothing'" in result.stderr
    assert "cannot be split" in result.stderr
    assert "frobnicate" in result.stderr
    assert "more results" in result.stderr.lower()
    assert filled("shell", given="show nothing\nlist\n").exit_code == 4
    assert filled("shell", given="exit\nshow nothing\n").exit_code == 0
    assert "already" in filled("shell", given="shell\n").stderr


def test_changed_settings_and_options_that_override_them_apply_to_the_next_command(filled: Command) -> None:
    config = filled.home / "config.ini"
    before = config.read_text()
    try:
        config.write_text(before + "\n[Nonsense]\nKey = 1\n")
        assert filled("shell", given="list\n").exit_code == 2
    finally:
        config.write_text(before)
    stages = json.loads(filled("shell", given="plan --scene-threshold 0.9 --scene-detector ffmpeg --json\n").stdout)
    assert json.dumps(stages) == json.dumps(
        filled.json("plan", "--scene-threshold", "0.9", "--scene-detector", "ffmpeg")
    )


@pytest.fixture(scope="module")
def completed(filled: Command) -> Iterator[CommandCompleter]:
    filled("search", "happy")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in filled.env.items():
            patch.setenv(name, value)
        home = KeptHome(lambda: load().settings, print)
        home.opened()
    yield CommandCompleter(home)
    home.close()


def offered(completer: CommandCompleter, line: str) -> list[str]:
    """The lines that a completion of `line` leads to."""
    found = completer.get_completions(Document(line), CompleteEvent())
    return [line[: len(line) + one.start_position] + one.text for one in found]


def test_commands_options_stages_and_choices_are_completed(completed: CommandCompleter) -> None:
    assert offered(completed, "sea") == ["search"]
    assert offered(completed, "help sim") == ["help similar"]
    assert offered(completed, "show x --ans") == ["show x --answers"]
    assert offered(completed, "run --stage sen") == ["run --stage sentiment"]
    assert offered(completed, "search --order rel") == ["search --order relevance"]
    assert offered(completed, "index re") == ["index rebuild"]
    assert offered(completed, "nothing x") == []


def test_fields_and_their_values_are_completed_as_the_query_language_wants_them(completed: CommandCompleter) -> None:
    assert "search duration:" in offered(completed, "search dur")
    assert offered(completed, "search -label:sea") == ["search -label:Seaside"]
    assert offered(completed, 'search label:"b') == ["search label:b-roll"]
    assert "search wonderful" in offered(completed, "search wonde")
    assert offered(completed, "list --label Sea") == ["list --label Seaside"]
    assert "search happy 'tag:\"Short Clip\"'" in offered(completed, "search happy tag:sho")


def test_videos_are_completed_by_name_and_hash_and_hostile_names_by_hash(
    completed: CommandCompleter, filled: Command
) -> None:
    assert offered(completed, "show cut") == [f"show {CUTS}"]
    evil = filled.json("show", HOSTILE)["video"]["sha256"]
    assert offered(completed, "show '[red") == [f"show {evil[:12]}"]
    assert f"explain {evil[:12]}" in offered(completed, f"explain {evil[:5]}")
    for line in ("show ", "search ", "search tag:", "ask '", 'search "a b', "list --tag '"):
        assert all(one.isprintable() and shlex.split(one) for one in offered(completed, line))


@contextmanager
def terminal(vidpipe: Command, *args: str) -> Iterator[int]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(vidpipe.env, TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1")
        os.execv(sys.executable, [sys.executable, "-c", "from vidpipe.cli.main import main; main()", *args])  # noqa: S606
    try:
        yield terminal
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def until(terminal: int, pattern: str) -> str:
    """What the terminal shows until it shows the pattern."""
    shown, deadline = b"", time.monotonic() + 60
    while not re.search(pattern, text := _ESCAPES.sub(b"", shown).decode("utf-8", "replace"), re.DOTALL):
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536)
    return text


def test_on_a_terminal_ctrl_c_interrupts_a_command_and_ctrl_d_ends_the_session(filled: Command) -> None:
    with terminal(filled, "shell") as keys:
        until(keys, r"filled\d+>")
        os.write(keys, b"show nothing\r")
        until(keys, r"No video matches.*filled\d+>")
        os.write(keys, b"status --watch 60\r")
        until(keys, "Ctrl-C")
        os.write(keys, b"\x03")
        until(keys, r"filled\d+>")
        os.write(keys, b"sear\t")
        until(keys, "sear.*ch")
        os.write(keys, b" wonderful\r")
        until(keys, r"talk\.mkv.*filled\d+>")
        os.write(keys, b"\x12nothi")  # searches the history
        until(keys, "show nothing")
        os.write(keys, b"\x03")  # ends the search of the history, the second one the line
        time.sleep(0.2)
        os.write(keys, b"\x03\x04")
        with pytest.raises(OSError, match="Input/output"):  # the terminal is closed: the session has ended
            until(keys, "never shown")
    history = filled.home / "data" / "run" / "shell_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+search wonderful" in history.read_text()


def test_open_prints_the_address_of_a_video_or_says_what_serves_it(filled: Command) -> None:
    served = filled.under(LIBRARYPAGE_PUBLICURL="https://videos.example.org")
    sha256 = filled.json("show", TALK)["video"]["sha256"]
    assert (
        served("open", TALK, "--at", "2.5", "--print").stdout == f"https://videos.example.org/videos/{sha256}?t=2.5\n"
    )
    assert served("open", "--print").stdout == "https://videos.example.org/\n"
    unserved = filled.under(SERVICES_LIBRARYPORT="9")("open", TALK)
    assert unserved.exit_code == 3
    assert "vidpipe web" in unserved.stderr
