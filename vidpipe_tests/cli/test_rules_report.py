"""vidpipe rules report, evaluate and trends."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from vidpipe.cli.context import CommandContext
from vidpipe.cli.rules_report import report
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, TALK, Command


def test_the_report_as_tables_and_json(filled: Command) -> None:
    app = typer.Typer()
    app.command()(report)
    context = CommandContext(filled.home, None, None)
    shown = CliRunner(env=filled.env).invoke(app, [], obj=context)
    assert shown.exit_code == 0, shown.output
    assert "short-clip" in shown.output or "Short Clip" in shown.output
    found = json.loads(CliRunner(env=filled.env).invoke(app, ["--json"], obj=context).stdout)
    short = next(one for one in found["tags"] if one["tag"] == "Short Clip")
    assert (short["videos"], short["yes"], short["low"], short["high"]) == (3, 0, 0.0, 1.0)
    assert found["evaluated"] == 3
    assert {one["keyword"] for one in found["keywords"]} >= {"Close-up"}


def test_labels_against_tags(filled: Command, tmp_path: Path) -> None:
    labels, plot = tmp_path / "labels.csv", tmp_path / "plot.png"
    labels.write_text(f"video,tags,category\n{CUTS},Short Clip,\n{TALK},$x^2$ =1\u202e,Unclassified\nno.mp4,x,\n")
    found = filled.json("evaluate", labels, "--plot", plot, code=1)
    assert found["problems"][0].startswith("line 4: No video matches 'no.mp4'")
    assert {one["tag"]: (one["yes"], one["no"], one["missed"]) for one in found["tags"]}["Short Clip"] == (1, 1, 0)
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = filled("evaluate", labels)
    assert (shown.exit_code, "line 4" in shown.stderr, "\u202e" in shown.output) == (1, True, False)
    assert filled.json("evaluate", "--stored")["videos"] == 3
    assert filled.json("evaluate", code=2)["error"]["hint"]
    labels.write_bytes(b"\xff\xfe\0v")
    assert filled.json("evaluate", labels, code=2)["error"]["hint"]


def test_trends_of_all_or_some_videos(filled: Command, tmp_path: Path) -> None:
    (year,) = filled.json("trends", "--by", "year", "--plot", tmp_path / "plot.png")["trends"]
    assert (year["videos"], year["tags"]["Short Clip"]) == (3, 3)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    (some,) = filled.json("trends", "--by", "list", "--source", TALK)["trends"]
    assert (some["by"], some["videos"]) == (None, 1)
    assert filled.json("trends", "--tag", "Nowhere")["trends"] == []
    assert "Short Clip 3" in filled("trends", "--by", "host").stdout
    assert HOSTILE not in filled("trends").stdout
