"""vidpipe index: the state of the search index, and how it is built again."""

from __future__ import annotations

from pathlib import Path

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command


def test_the_index_is_built_and_described(filled: Command) -> None:
    built = filled.json("index", "rebuild")
    assert built == filled.json("index", "status")
    assert (built["fault"], built["network"], built["videos"], built["behind"]) == ("", "", 3, 0)
    assert built["moments"] > 3
    assert "eng" in built["languages"]
    assert Path(built["directory"]).parent == filled.home / "data" / "index"
    assert built["size_bytes"] > 1000
    shown = filled("index", "status")
    assert "3 videos" in shown.stdout
    assert shown.stderr == ""


def test_a_library_without_an_index_says_who_builds_it(vidpipe: Command) -> None:
    assert vidpipe.json("index", "status")["fault"] == "there is none yet"
    assert "The next search builds it" in vidpipe("index", "status").stderr
    assert not (vidpipe.home / "data" / "index").exists()


def test_changes_that_a_search_will_add_are_counted(vidpipe: Command, tmp_path: Path) -> None:
    vidpipe("index", "rebuild")
    clips.moving(tmp_path / "one.mp4", seconds=0.5)
    assert vidpipe("add", tmp_path / "one.mp4").exit_code == 0
    assert vidpipe.json("index", "status")["behind"] == 1
    assert "1 video" in vidpipe("index", "status").stderr
