"""vidpipe search, and --search of the other commands, on a library that went through all stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vidpipe.cli import search_view
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, TALK, Command

KEYS = {"query", "hits", "facets", "total", "next", "matched", "did_you_mean", "notes"}


def names(found: dict[str, Any]) -> list[str]:
    return sorted(hit["name"] for hit in found["hits"])


def test_a_hit_says_what_matched_in_which_text_and_when(filled: Command) -> None:
    found = filled.json("search", "wonderful", "lighthouses")
    assert set(found) == KEYS
    (hit,) = found["hits"]
    assert (hit["name"], hit["matched_in"], hit["start_s"], hit["end_s"]) == (TALK, "said", 0.2, 1.0)
    assert [hit["text"][start:end] for start, end in hit["highlights"]] == ["wonderful", "lighthouse"]
    assert (found["query"], found["total"], found["next"]) == ("wonderful lighthouses", 1, None)
    shown = filled("search", "wonderful", "lighthouses")
    assert f"{hit['video'][:12]}  {TALK} · 0:01.5 · Unclassified" in shown.stdout
    assert "0:00.2  said" in shown.stdout
    assert "What a wonderful, happy lighthouse" in shown.stdout
    assert "1 video." in shown.stderr


@pytest.mark.parametrize(("words", "name", "field"), [("evil", HOSTILE, "file"), ("portrait", HOSTILE, "tag")])
def test_a_match_in_the_whole_video_has_no_time(filled: Command, words: str, name: str, field: str) -> None:
    (hit,) = filled.json("search", words)["hits"]
    assert (hit["name"], hit["matched_in"], hit["start_s"], hit["end_s"]) == (name, field, None, None)


def test_filters_combine_with_words(filled: Command) -> None:
    assert names(filled.json("search", "--tag", "portrait")) == [HOSTILE]
    assert names(filled.json("search", "--sentiment", "positive", "--resolution", "SD")) == [TALK]
    assert names(filled.json("search", "--resolution", "SD", "--resolution", "4K")) == names(filled.json("search"))
    assert names(filled.json("search", "lighthouse", "--codec", "hevc")) == []
    assert names(filled.json("search", "lighthouse", "--label", "SEASIDE", "--label", "b-roll")) == [TALK]
    assert names(filled.json("search", "--min-duration", "2.5", "--category", 'no "such" \\', "--category", "x")) == []
    assert names(filled.json("search", "--min-duration", "2.5")) == [CUTS]
    assert filled.json("list", "--label", "seaside", "--label", "studio")["videos"] == []


def test_a_minus_excludes_a_word(filled: Command) -> None:
    everything = names(filled.json("search", "silent"))
    assert HOSTILE in everything
    others = [name for name in everything if name != HOSTILE]
    assert names(filled.json("search", "silent", "-portrait")) == others
    assert names(filled.json("search", "-portrait", "silent")) == others
    shown = filled("search", "--", "-portrait").stdout
    assert (CUTS in shown, "evil" in shown) == (True, False)
    assert HOSTILE not in [video["name"] for video in filled.json("list", "--search", "-portrait")["videos"]]
    assert "no option --lmit" in filled.json("search", "silent", "--lmit", "5", code=2)["error"]["message"]


def test_a_fault_in_the_query_is_pointed_at(filled: Command) -> None:
    result = filled("search", "lighthouse", "(tag:dark")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    pointer = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert "lighthouse (tag:dark" in lines[pointer - 1]
    error = filled.json("search", "--resolution", "9K", code=2)["error"]
    assert (error["kind"], error["query"], error["position"]) == ("QueryError", 'resolution:"9K"', 12)
    assert "9K" in error["message"]


def test_what_a_shell_leaves_of_a_comparison_is_explained(filled: Command) -> None:
    error = filled.json("search", "lighthouse", "duration:", code=2)["error"]  # duration:>60 without quotation marks
    assert (error["query"], error["position"]) == ("lighthouse duration:", 20)
    assert "in a shell, quote" in error["hint"]


@pytest.mark.parametrize("command", ["search", "run", "plan", "ask", "check", "forget", "list", "export"])
def test_the_help_of_every_selection_names_saved_searches(filled: Command, command: str) -> None:
    assert "saved:NAME" in filled(command, "--help").stdout


def test_moments_are_listed_one_by_one(filled: Command) -> None:
    found = filled.json("search", "--moments", "--source", CUTS, "scene:red OR scene:green OR scene:blue")
    assert {hit["name"] for hit in found["hits"]} == {CUTS}
    assert [(hit["matched_in"], hit["start_s"], hit["end_s"]) for hit in found["hits"]] == [
        ("scene", 0.0, 1.0), ("scene", 1.0, 2.0), ("scene", 2.0, 3.0),
    ]  # fmt: skip
    assert found["total"] == 1, "videos"
    red = filled.json("search", "red", "--scenes")["hits"]
    assert (red[0]["name"], red[0]["start_s"]) == (CUTS, 0.0)
    assert "0:01.0  scene" in filled("search", "--moments", "scene:green").stdout


def test_pages_follow_one_another(filled: Command) -> None:
    everything = [hit["video"] for hit in filled.json("search", "--order", "name")["hits"]]
    assert len(everything) == 3
    first = filled.json("search", "--order", "name", "--limit", "2")
    then = filled.json("search", "--order", "name", "--limit", "2", "--after", first["next"])
    assert [hit["video"] for hit in (*first["hits"], *then["hits"])] == everything
    assert (first["total"], then["next"]) == (3, None)
    assert f"3 videos; next page: --after {first['next']}" in filled("search", "--order", "name", "--limit", "2").stderr
    skipped = filled.json("search", "--order", "name", "--offset", "1")["hits"]
    assert [hit["video"] for hit in skipped] == everything[1:]
    assert filled("search", "--offset", "3").stderr.splitlines()[-1] == "3 videos, all on earlier pages."
    assert "not from a page in this order" in filled("search", "--after", first["next"]).stderr


def test_a_url_is_found_where_the_command_says(filled: Command) -> None:
    (hit,) = filled.json("search", "lighthouse")["hits"]
    url = f"file://{hit['urls'][0]}"
    assert "write source: before" in filled("search", url).stderr
    assert names(filled.json("search", f"source:{url}")) == names(filled.json("search", "--source", url)) == [TALK]


def test_any_word_suffices_where_no_video_has_all(filled: Command) -> None:
    found = filled.json("search", "lighthouse", "zeppelin")
    assert (names(found), found["matched"]) == ([TALK], "any")
    assert "No video contains all the words" in filled("search", "lighthouse", "zeppelin").stderr
    assert filled.json("search", "lighthouse")["matched"] == "all"


def test_typing_errors_are_asked_about_and_not_corrected(filled: Command) -> None:
    found = filled.json("search", "lighthuose")
    assert (found["hits"], found["did_you_mean"]) == ([], "lighthouse")
    result = filled("search", "lighthuose")
    assert (result.exit_code, result.stdout) == (0, "No videos.\n")
    assert "Did you mean: lighthouse" in result.stderr


def test_facets_count_all_hits(filled: Command) -> None:
    found = filled.json("search", "--limit", "1")
    assert found["facets"]["tag"]["Portrait"] == 1
    assert found["facets"]["label"] == {"Seaside": 3, "b-roll": 3}
    shown = filled("search").stdout
    assert "Portrait 1" in shown
    assert "Seaside 3" not in shown, "what all have tells nothing"


def test_saved_searches(vidpipe: Command) -> None:
    assert "No saved searches" in vidpipe("search", "--saved").stdout
    vidpipe.json("search", "red OR blue", "--label", "At sea", "--save", "colours")
    (saved,) = vidpipe.json("search", "--saved")["saved"]
    assert (saved["name"], saved["query"]) == ("colours", '(red OR blue) label:"At sea"')
    assert saved["query"] in vidpipe("search", "--saved").stdout
    replaced = vidpipe("search", "red", "--min-duration", "60", "--max-duration", "0.5", "--save", "colours").stderr
    assert f"saved:colours: (red) duration:>=60 duration:<=0.5 (until now: {saved['query']})" in replaced
    for note in ("until now: (red)", "Saved as saved:colours"):
        assert note in vidpipe("search", saved["query"], "--save", "colours").stderr
    assert "until now" not in vidpipe("search", saved["query"], "--save", "colours").stderr, "nothing was replaced"
    assert vidpipe.json("search", "saved:colours -green")["hits"] == []
    assert vidpipe("search", "((", "--save", "broken").exit_code == 2
    assert vidpipe("search", "a) OR (b", "--label", "x", "--save", "broken").exit_code == 2
    assert vidpipe("search", "saved:broken").exit_code == 2, "nothing was saved"
    assert vidpipe.json("search", "x", "--save", "a b", code=2)["error"]["exit_code"] == 2
    assert vidpipe("search", "--save", "everything").exit_code == 2
    vidpipe.json("search", "--label", "At sea", "--save", "filter")
    assert [one["query"] for one in vidpipe.json("search", "--saved")["saved"]][1] == 'label:"At sea"'
    vidpipe("search", "--delete-saved", "filter")
    assert vidpipe("search", "saved:colours", "--save", "colours").exit_code == 2, "it would contain itself"
    assert vidpipe.json("search", "--delete-saved", "colours")["saved"] == []
    assert vidpipe("search", "--delete-saved", "colours").exit_code == 2
    assert vidpipe("search", "saved:colours").exit_code == 2


def test_list_and_export_take_a_search(filled: Command, tmp_path: Path) -> None:
    assert [video["name"] for video in filled.json("list", "--search", "lighthouse")["videos"]] == [TALK]
    assert filled.json("list", "--search", "lighthouse zeppelin")["videos"] == [], "all words must match"
    lines = filled("export", "-", "--search", "silent", "--tag", "portrait").stdout.splitlines()
    assert [json.loads(line)["video"]["name"] for line in lines] == [HOSTILE]
    assert filled.json("export", tmp_path / "none.csv", "--search", "zeppelin")["videos"] == 0
    assert filled.json("export", tmp_path / "none.csv", "--search", "lighthouse zeppelin")["videos"] == 0, "all words"


def test_commands_that_select_videos_take_a_search(filled: Command) -> None:
    (checked,) = filled.json("check", "--search", "lighthouse")["videos"]
    assert checked["name"] == TALK
    both = filled.json("check", "--search", "silent", "--where", "orientation=portrait")["videos"]
    assert [video["name"] for video in both] == [HOSTILE]
    assert filled("check", TALK, "--search", "lighthouse").exit_code == 2
    dry = filled.json("forget", "--search", "lighthouse", "--dry-run")["videos"]
    assert [video["name"] for video in dry] == [TALK]
    assert filled("forget", "--dry-run").exit_code == 2
    assert filled("forget", "--dry-run", "--search", " ").exit_code == 2, (
        "an empty variable of a script selects nothing"
    )
    assert filled.json("plan", "--force", "--search", "lighthouse")["videos"] == 1
    assert filled.json("plan", "--force", "--search", "zeppelin")["videos"] == 0


def test_a_run_over_a_search(vidpipe: Command, tmp_path: Path) -> None:
    for name in ("near.mp4", "far.mp4"):
        clips.moving(tmp_path / name, seconds=0.5, size="64x48" if name == "near.mp4" else "96x48")
    vidpipe.json("add", tmp_path)
    stages = ("--stage", "raw_video,metadata")
    assert vidpipe.json("run", *stages, "--search", "near")["videos"] == 1
    states = {video["name"]: video["video_codec"] for video in vidpipe.json("list")["videos"]}
    assert states == {"near.mp4": "h264", "far.mp4": None}
    nothing = vidpipe("run", *stages, "--search", "zeppelin")
    assert (nothing.exit_code, "No video was found." in nothing.stderr) == (0, True)
    assert vidpipe.json("run", *stages, "--search", "zeppelin")["videos"] == 0
    assert vidpipe("run", "near.mp4", "--search", "far").exit_code == 2


@pytest.mark.parametrize("width", [40, 80, 160])
def test_what_is_found_fits_the_terminal(
    filled: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    hits = filled.json("search", "silent OR lighthouse OR evil OR scene")["hits"]
    assert len(hits) == 3
    monkeypatch.setattr(search_view, "out", lambda: Console(width=width, force_terminal=True, color_system=None))
    search_view.show_hits(hits, moments=False)
    search_view.show_videos(hits)
    search_view.show_facets({"tag": {f"a\x1b[2J[red] {number}": 1 for number in range(9)}}, 3)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in "\n".join(lines)
    (row,) = [line for line in lines if CUTS in line and "0:03" in line and " · " not in line]
    assert row.startswith(next(hit["video"] for hit in hits if hit["name"] == CUTS)[:12])


def test_the_words_found_are_highlighted() -> None:
    text = "a\x1bb \u0645\u06cc\u200c\u062e c"
    shown = search_view.highlighted(text, [(1, 3), (7, 8)])
    assert shown.plain == "a\\x1bb \u0645\u06cc\u200c\u062e c"
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["\\x1bb", "\u062e"]
