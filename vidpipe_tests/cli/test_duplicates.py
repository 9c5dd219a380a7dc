"""`vidpipe duplicates` on real files: copies, a part, a decision, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command

FILM, SMALL, TRAILER, LATE = "film.mp4", "small.mkv", "trailer.mp4", "late.mp4"


@pytest.mark.soak
def test_copies_and_parts_are_found_without_preparation_and_decisions_are_kept(
    vidpipe: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    film = clips.moving(folder / FILM, source="mandelbrot", seconds=8.0, size="640x360")
    clips.ffmpeg(folder / SMALL, "-i", str(film), "-vf", "scale=320:180")
    clips.ffmpeg(folder / TRAILER, "-ss", "4", "-i", str(film), "-t", "3")
    assert vidpipe("add", folder, "--run").exit_code == 0
    assert vidpipe("add", clips.moving(tmp_path / LATE)).exit_code == 0
    found = vidpipe.json("duplicates")
    names = {sha256: one["name"] for sha256, one in found["videos"].items()}
    (group,) = found["groups"]
    assert (names[group["keep"]], [names[one["video"]] for one in group["copies"]]) == (FILM, [SMALL])
    parts = {(names[one["video"]], names[one["other"]]): one for one in found["parts"]}
    assert parts.keys() == {(TRAILER, FILM), (TRAILER, SMALL)}
    trailer = parts[TRAILER, FILM]
    assert (trailer["other_start_s"], trailer["other_end_s"]) == (
        pytest.approx(4.0, abs=0.6),
        pytest.approx(7, abs=0.6),
    )
    (late,) = found["not_compared"]
    assert (late["name"], late["reason"]) == (LATE, "The stage raw_video has not run.")

    shown = vidpipe("duplicates", TRAILER)
    assert shown.exit_code == 0
    assert "to keep. It has the highest resolution (640x360)." in shown.stdout
    assert f"`vidpipe forget {group['copies'][0]['video'][:12]}` removes copies" in shown.stderr

    assert vidpipe("duplicates", "--not", SMALL, FILM, "--note", "two takes").exit_code == 0
    assert vidpipe.json("duplicates")["groups"] == []
    assert vidpipe.json("duplicates", "--not", FILM, SMALL, "--undo")["changed"]
    assert vidpipe.json("duplicates") == found


def test_what_cannot_be_decided_is_refused(filled: Command) -> None:
    for args, code, says in (
        (("--undo",), 2, "--not VIDEO OTHER"), (("--not", "cuts.mp4", "cuts.mp4"), 2, "itself"),
        (("--not", "cuts.mp4", "nowhere.mp4"), 4, "nowhere.mp4"), (("--min-score", "2"), 2, "min-score"),
        (("--not", "cuts.mp4", "talk.mkv", "--note", "a\x1b[2J"), 2, "control"), (("nowhere.mp4",), 4, "nowhere.mp4"),
    ):  # fmt: skip
        result = filled("duplicates", *args)
        assert (result.exit_code, says in result.output) == (code, True), result.output
