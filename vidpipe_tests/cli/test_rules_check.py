"""vidpipe rules check: exit codes, --json, --schema."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidpipe.cli.main import app
from vidpipe.settings import init_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return init_home(tmp_path / "home").home


def run(home: Path, *args: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--home", str(home), "rules", "check", *args])
    return done.exit_code, done.stdout


def test_the_rules_of_a_new_home_have_notes_at_most(home: Path) -> None:
    code, said = run(home, "--json")
    assert code == 0
    assert {one["level"] for one in json.loads(said)} == {"note"}


def test_errors_of_a_draft_end_with_exit_code_2_and_a_hint(home: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text("rules: [{id: a, selections: {a: {brightnes: 1}}, tags: [x]}]")
    code, said = run(home, str(draft))
    assert code == 2
    assert 'did you mean "brightness"?' in said.replace("\n", " ")
    assert run(home, str(draft), "--json")[0] == 2
    draft.write_text("rules: [{id: a, selections: {a: {brightness|gt: 18}}, tags: [x]}]")
    assert run(home, str(draft))[0] == 0


def test_the_schema_is_printed(home: Path) -> None:
    code, said = run(home, "--schema")
    assert code == 0
    assert json.loads(said)["title"] == "vidpipe rules"
