"""`vidpipe rules`: plan, apply, look back and undo, on a real library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command, command_on

DRAFT = """\
# to be tried
rules:
- id: brief
  selections: {s: {duration|lt: 60}}
  tags: [Brief]
"""


@pytest.fixture(scope="module")
def one_video(mongod_uri: str, empty_history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command on a library with one labelled video."""
    clip = tmp_path_factory.mktemp("clips") / "clip.mp4"
    clips.moving(clip.parent / "clip.mp4", size="64x48", seconds=0.5)
    with command_on(tmp_path_factory.mktemp("rules"), mongod_uri) as command:
        shutil.copytree(empty_history, command.home / "data" / "dagster")
        result = command("add", clip, "--run", "--json")
        assert result.exit_code == 0, result.output
        yield command


def test_a_draft_is_planned_applied_shown_and_undone(one_video: Command, tmp_path: Path) -> None:
    vidpipe, draft, plan = one_video, tmp_path / "brief.yaml", tmp_path / "plan.json"
    draft.write_text(DRAFT)
    planned = vidpipe.json("rules", "plan", draft)
    assert planned["tags"]["Brief"]["gain"] == 1
    assert planned["recomputed"] == {"videos": 1, "model_requests": 0, "cost": 0}
    assert "clip.mp4" in vidpipe("rules", "plan", draft).stdout
    plan.write_text(json.dumps(planned))
    assert vidpipe.json("rules", "apply", draft, code=2)["error"]["hint"].startswith("Use --yes")
    applied = vidpipe.json("rules", "apply", "--plan", plan, "--yes")
    new = vidpipe.home / "rules" / "brief.yaml"
    assert new.read_text() == DRAFT
    assert "Brief" in {tag["tag"] for tag in vidpipe.json("show", "clip.mp4")["tags"]}
    assert "have changed since" in vidpipe.json("rules", "apply", "--plan", plan, "--yes", code=2)["error"]["message"]

    first, second = reversed(vidpipe.json("rules", "history")["versions"][-2:])
    assert (second["by"], second["changed"]["changed"]) == ("command", 1)
    assert applied["version"] == second["number"]
    shown = vidpipe.json("rules", "show", str(second["number"]))
    assert shown["texts"]["rules/brief.yaml"] == DRAFT
    numbers = str(first["number"]), str(second["number"])
    assert vidpipe.json("rules", "diff", *numbers)["rules"]["added"] == ["brief"]
    assert "+- id: brief" in vidpipe("rules", "diff", *numbers).stdout
    assert "version" in vidpipe("rules", "history").stdout

    new.write_text(DRAFT.replace("60", "50"))
    assert "rules/brief.yaml: edited" in vidpipe.json("rules", "undo", code=2)["error"]["message"]
    assert vidpipe("rules", "undo", "--yes").exit_code == 0
    assert not new.exists()
    assert "Brief" not in {tag["tag"] for tag in vidpipe.json("show", "clip.mp4")["tags"]}
    assert vidpipe.json("rules", "history")["versions"][0]["undid"] == second["number"]


def test_a_rule_can_be_drafted_from_a_search(one_video: Command, tmp_path: Path) -> None:
    draft = tmp_path / "clip.yaml"
    query = 'clip (duration:<60 OR tag:"Short Clip") -codec:vp9'
    assert one_video("rules", "plan", "--save", draft).exit_code == 2, "there is no draft to write"
    found = one_video.json("rules", "plan", "--from-search", query, "--save", draft)
    assert found["tags"]["Clip"]["gain"] == 1
    assert draft.read_text() in found["drafts"].values()
    assert "not s4" in one_video("rules", "plan", "--from-search", query).stdout
    for impossible in ("state:due", "category:Sports", "", "("):
        assert one_video("rules", "plan", "--from-search", impossible).exit_code == 2, impossible


def test_edits_wait_with_apply_approve(one_video: Command) -> None:
    vidpipe, file = one_video.under(RULES_APPLY="approve"), one_video.home / "rules" / "more.yaml"
    file.write_text(DRAFT)
    assert "Nothing is due" in vidpipe("run").output
    assert "wait for `vidpipe rules apply`" in vidpipe("rules", "plan").output
    assert "wait for `vidpipe rules apply`" in vidpipe("doctor").output
    assert vidpipe.json("rules", "apply", "--yes")["plan"]["tags"]["Brief"]["gain"] == 1
    assert "Brief" in {tag["tag"] for tag in vidpipe.json("show", "clip.mp4")["tags"]}
    file.unlink()
    assert vidpipe("rules", "undo", "1", "--yes").exit_code == 0


_NO_RULES = ("rules: [", "rules: 7", "[1]", '{"rules": [{"id": "x"}]}', "a: &a [*a]", "\x00", "- - - -")


def test_drafts_that_are_no_rules_are_an_error_and_change_nothing(one_video: Command, tmp_path: Path) -> None:
    draft = tmp_path / "d.yaml"
    before = sorted((one_video.home / "rules").iterdir())
    calls: tuple[list[str | Path], ...] = (
        ["plan", draft], ["apply", draft, "--yes"], ["apply", "--plan", draft, "--yes"]
    )  # fmt: skip
    for number, text in enumerate(_NO_RULES):
        draft.write_text(text)
        assert one_video("rules", *calls[number % 3]).exit_code == 2, text
    assert one_video("rules", "plan", tmp_path / "missing.yaml").exit_code == 2
    assert sorted((one_video.home / "rules").iterdir()) == before


def test_the_group_explains_itself_without_importing_its_commands(one_video: Command) -> None:
    assert "undo" in one_video("rules", "--help").stdout
    assert one_video("rules", "show", "99").exit_code == 1
    assert one_video("rules", "bogus").exit_code == 2
