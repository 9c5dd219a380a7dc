"""Global options, errors, exit codes, and what a terminal sees."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidpipe.cli.main import COMMANDS as LAZY_COMMANDS
from vidpipe.cli.main import globals_first
from vidpipe_tests.cli.conftest import HOSTILE, Command

COMMANDS = ("init", "add", "run", "status", "list", "show", "explain", "search", "export", "config", "doctor", "down")


def test_help_names_every_command_and_the_exit_codes(vidpipe: Command) -> None:
    text = vidpipe("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in text
    assert "130 interrupted" in " ".join(text.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(vidpipe: Command, command: str) -> None:
    result = vidpipe(command, "--help")
    assert result.exit_code == 0
    assert "Usage: vidpipe" in result.stdout


def test_version(vidpipe: Command) -> None:
    assert vidpipe("--version").stdout.startswith("vidpipe ")


@pytest.mark.parametrize("args", [["bogus"], ["show"], ["status", "--bogus"], ["search", "--bogus"], ["add"], []])
def test_wrong_usage_is_exit_code_2(vidpipe: Command, args: list[str]) -> None:
    assert vidpipe(*args).exit_code == 2


def test_wrong_usage_is_json_too(vidpipe: Command) -> None:
    assert vidpipe.json("show", code=2)["error"]["kind"] == "UsageError"


def test_errors_are_one_sentence_and_a_hint_on_stderr(vidpipe: Command) -> None:
    result = vidpipe("show", "nobody.mp4")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "No video matches 'nobody.mp4'." in result.stderr
    assert "Traceback" not in result.stderr


def test_errors_are_objects_with_json(vidpipe: Command) -> None:
    error = vidpipe.json("show", "nobody.mp4", code=4)["error"]
    assert (error["kind"], error["exit_code"]) == ("NoSuchVideo", 4)
    assert error["hint"]


def test_a_traceback_only_for_debugging(vidpipe: Command) -> None:
    assert "Traceback" in vidpipe("show", "nobody.mp4", "--log_level", "debug").stderr


def test_wrong_settings_are_exit_code_2(vidpipe: Command) -> None:
    (vidpipe.home / "config.ini").write_text("[SceneDetection]\nDetektor = hash\n")
    result = vidpipe("status")
    assert result.exit_code == 2
    assert "Did you mean Detector?" in result.stderr


def test_a_server_that_is_away_is_exit_code_3(vidpipe: Command) -> None:
    away = {"VIDPIPE_MONGODB_URI": "mongodb://user:secret@127.0.0.1:9/", "VIDPIPE_MONGODB_TIMEOUT": "0.3"}
    result = Command(vidpipe.home, {**vidpipe.env, **away})("status")
    assert result.exit_code == 3
    assert "127.0.0.1:9" in result.stderr
    assert "secret" not in result.output


def test_global_options_stand_before_or_after_the_command(vidpipe: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.ini"
    other.write_text("[SceneDetection]\nDetector = hash\n")
    for args in (["--config", other, "config"], ["config", "--config", other], ["config", f"--config={other}"]):
        found = vidpipe.json(*args)
        assert found["settings"]["SceneDetection"]["Detector"]["value"] == "hash"


def test_words_after_two_dashes_are_no_options() -> None:
    assert globals_first(["search", "--home", "h", "--", "--config", "x"]) == [
        "--home", "h", "search", "--", "--config", "x",
    ]  # fmt: skip


def test_options_are_understood_with_underscores_and_values_are_left_alone(vidpipe: Command) -> None:
    missing = vidpipe.json("run", "a_b.mp4", "--scene_threshold=30", "--use_vpc", "--qwen_instruction", "x_y", code=4)
    assert "a_b.mp4" in missing["error"]["message"]
    assert globals_first(["status", "--log_level", "debug"]) == ["--log_level", "debug", "status"]


def test_the_help_of_the_group_is_the_first_sentence_of_each_command() -> None:
    for name, (target, summary) in LAZY_COMMANDS.items():
        module, _, function = target.partition(":")
        if not module:  # a group
            continue
        command = getattr(importlib.import_module(f"vidpipe.cli.{module}"), function)
        assert inspect.getdoc(command).splitlines()[0] == summary, name


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from vidpipe.cli.main import app; app(['--help'], standalone_mode=False)\n"
        "heavy = {'pymongo', 'pydantic', 'numpy', 'dagster', 'requests', 'vidpipe.cli.run'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_home_that_is_not_there(vidpipe: Command, tmp_path: Path) -> None:
    error = vidpipe.json("status", "--home", tmp_path / "nowhere", code=2)["error"]
    assert "vidpipe init" in error["hint"]


def test_init_makes_a_home_and_keeps_what_is_there(vidpipe: Command, tmp_path: Path) -> None:
    made = vidpipe.json("init", tmp_path / "new")
    assert "config.ini" in made["made"]
    assert (tmp_path / "new" / "config.ini").is_file()
    assert "config.ini" in vidpipe.json("init", tmp_path / "new")["kept"]


def test_results_go_to_stdout_without_colours_where_nobody_looks(filled: Command) -> None:
    process = filled.start("list")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "\x1b" not in stdout + stderr
    assert "cuts.mp4" in stdout


def test_names_of_strangers_steer_no_terminal(filled: Command) -> None:
    for args in (["list"], ["show", HOSTILE], ["search", "evil"]):
        result = filled(*args)
        assert "\x1b" not in result.output
        assert r"[red]evil[bold] =1+1\x1b[2J\xe9.mp4" in result.output
        as_json = filled(*args, "--json").stdout
        assert "\x1b" not in as_json
        assert "\\u001b" in as_json


def test_json_is_whole_in_any_locale(filled: Command) -> None:
    ascii_only = Command(filled.home, {**filled.env, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    process = ascii_only.start("list", "--json")
    stdout, _ = process.communicate(timeout=60)
    assert len(json.loads(stdout)["videos"]) == 3


_HEAVY = ("dagster", "pandas", "scenedetect", "numpy", "cv2", "requests", "torch")


@pytest.mark.parametrize("args", [["--help"], ["status"], ["search", "blue"], ["list"]])
def test_quick_commands_do_not_load_what_they_do_not_need(filled: Command, args: list[str]) -> None:
    code = (
        "import sys; sys.argv[0] = 'vidpipe'\n"
        "from vidpipe.cli.main import app\n"
        "try:\n    app()\n"
        f"finally:\n    print([name for name in {_HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], env={**os.environ, **filled.env}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_command_ends_without_pymongos_handler_but_after_those_registered_later() -> None:
    program = """
import atexit
from vidpipe.cli.exit_handlers import exit_before_pymongo, skip_pymongo
atexit.register(print, "that of pymongo")
exit_before_pymongo()
atexit.register(print, "a temporary folder is deleted")
skip_pymongo(4)
raise SystemExit(4)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, "a temporary folder is deleted\n", "")
