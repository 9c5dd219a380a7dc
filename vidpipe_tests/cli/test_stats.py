"""vidpipe stats."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vidpipe.cli.stats import moment_of
from vidpipe.errors import SettingsError
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, TALK, Command


def test_stats_of_a_real_run(filled: Command) -> None:
    found = filled.json("stats")
    assert found["library"]["videos"] == 3
    assert found["library"]["footage_s"] > 4
    assert found["stages"]["scenes"]["computed"] == found["stages"]["scenes"]["videos"] == 3
    assert 0 < found["stages"]["scenes"]["median_s"] <= found["stages"]["scenes"]["p95_s"]
    assert found["stages"]["scenes"]["failed"] == 0
    assert {video["name"] for video in found["slowest"]} == {CUTS, TALK, HOSTILE}
    assert all(video["seconds_per_minute"] > 0 for video in found["slowest"])
    (day,) = found["days"]
    assert (day["videos"], day["runs"]) == (3, 2), "ingest and process"
    assert found["runs"]["success"] == 2
    assert found["runs"]["bytes_in"] == found["library"]["size_bytes"] == day["size_bytes"] > 1000
    assert found["runs"]["results_per_hour"] > 0


def test_stats_as_tables(filled: Command) -> None:
    text = filled("stats", "--since", "1d").stdout
    assert "slowest videos" in text
    assert "hit rate" in text
    assert CUTS in text
    assert "\x1b[2J" not in text
    assert "2 success" in text


def test_what_was_before_the_span_is_left_out(filled: Command) -> None:
    found = filled.json("stats", "--since", (datetime.now() + timedelta(days=2)).date().isoformat())
    assert found["stages"]["scenes"]["videos"] == found["stages"]["scenes"]["computed"] == 0
    assert (found["slowest"], found["days"]) == ([], [])


@pytest.mark.parametrize("name", ["plot.png", "plot.HTML"])
def test_plots_are_written_to_a_file(filled: Command, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("an older one")
    assert filled.json("stats", "--plot", path)["plot"] == str(path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<!doctype html>")
    assert [found.name for found in tmp_path.iterdir()] == [name]
    if name.endswith("HTML"):
        assert b"[red]evil" in content
        assert b"\x1b" not in content


def test_wrong_words_are_told_before_anything_is_read(filled: Command, tmp_path: Path) -> None:
    for arguments in (
        ["--since", "yesterday-ish"], ["--since", "99999999999999d"], ["--plot", tmp_path / "plot.pdf"],
        ["--plot", tmp_path / "nowhere" / "plot.png"],
    ):  # fmt: skip
        error = filled.json("stats", *arguments, code=2)["error"]
        assert error["hint"]


def test_spans_and_dates() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert moment_of("24h", now) == moment_of(" 1D ", now) == now - timedelta(days=1)
    assert moment_of("1.5w", now) == now - timedelta(days=10.5)
    assert moment_of("2026-11-01T00:00:00+00:00", now) == datetime(2026, 11, 1, tzinfo=UTC)
    assert moment_of("2026-11-01", now) == datetime(2026, 11, 1).astimezone(UTC)
    with pytest.raises(SettingsError, match="not a duration or date"):
        moment_of("7", now)


def test_without_a_plot_matplotlib_is_not_loaded() -> None:
    modules = "sys, vidpipe.cli.stats, vidpipe.operations.metrics.plots"
    code = f"import {modules}; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
