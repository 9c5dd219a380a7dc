"""list, show, explain and export on a library that went through all stages."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from vidpipe.cli import search_view
from vidpipe.cli.output import say, words
from vidpipe.cli.show import black_bars
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, HOSTILE_ON_DISK, TALK, Command


def names(found: list[dict[str, object]]) -> list[object]:
    return sorted(str(video["name"]) for video in found)


def test_list_shows_every_video_and_how_far_it_is(filled: Command) -> None:
    found = filled.json("list")["videos"]
    assert names(found) == sorted([CUTS, TALK, HOSTILE])
    assert {video["state"] for video in found} == {"current"}
    page = filled.json("list", "--limit", "2")
    assert (len(page["videos"]), page["more"]) == (2, True)
    assert "--offset 2" in filled("list", "--limit", "2").stderr
    assert names(filled.json("list", "--max-duration", "2")["videos"]) == sorted([TALK, HOSTILE])


def test_show_holds_everything(filled: Command) -> None:
    found = filled.json("show", CUTS)
    assert set(found) >= {
        "video", "sources", "metadata", "scenes", "description", "sentiment", "tags", "category", "stages",
    }  # fmt: skip
    assert [scene["index"] for scene in found["scenes"]] == [0, 1, 2]
    assert [scene["start_s"] for scene in found["scenes"]] == [0.0, 1.0, 2.0]
    for scene in found["scenes"]:
        assert (filled.home / scene["thumbnail"]).is_file()
        assert scene["description"]
    assert {stage["state"] for stage in found["stages"].values()} == {"current"}
    assert all(tag["rule"] and tag["evidence"] for tag in found["tags"])
    assert found["metadata"]["width"] == 320


@pytest.mark.parametrize("name", [CUTS, "cuts", "{hash}", "{hash:.8}", "{url}"])
def test_a_video_goes_by_hash_prefix_url_and_file_name(filled: Command, name: str) -> None:
    video = filled.json("show", CUTS)
    known = name.format(hash=video["video"]["sha256"], url=video["sources"][0]["url"])
    assert filled.json("show", known)["video"]["name"] == CUTS


def test_black_bars_are_told_in_one_line() -> None:
    area = {"x": 0, "y": 140, "width": 1920, "height": 800}
    scenes = [{"active_area": area}, {"active_area": None}]
    told = [black_bars({"scene_summary": summary, "scenes": scenes}) for summary in ({"active_area": area}, {}, None)]
    assert told == ["around a picture of 1920x800 at 0,140", "in 1 of 2 scenes", "in 1 of 2 scenes"]
    assert not black_bars({"scene_summary": None, "scenes": scenes[1:]})


def test_show_for_people(filled: Command) -> None:
    text = filled("show", TALK).stdout
    for part in (TALK, "subtitles", "positive", "Subtitled", "current"):
        assert part in text
    assert "no basis: There are no subtitles" in filled("show", CUTS).stdout
    assert "labels       b-roll, Seaside" in text
    assert "facets       Standard Definition, Short Clip" in text
    assert "resolution is SD" not in text
    assert "decoded      all frames, software" in text


def test_informative_tags_come_before_facets_everywhere(filled: Command) -> None:
    (listed,) = (video for video in filled.json("list")["videos"] if video["name"] == TALK)
    assert listed["tags"][:4] == ["Silent", "Subtitled", "Colourful", "Standard Definition"]
    assert [tag["tag"] for tag in filled.json("show", TALK)["tags"]] == listed["tags"]
    assert TALK in names(filled.json("list", "--tag", "standard definition")["videos"])


@pytest.mark.parametrize(("width", "tags"), [(80, False), (160, True)])
def test_the_table_of_videos_fits_the_terminal(
    filled: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, tags: bool
) -> None:
    hits = filled.json("list")["videos"]
    monkeypatch.setattr(search_view, "out", lambda: Console(width=width, color_system=None))
    search_view.show_videos(hits)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    assert ("Standard Definition" in "\n".join(lines)) is tags
    row = next(line for line in lines if CUTS in line)
    assert ("b-roll, Seaside" if tags else "labels: b-roll,") in "\n".join(lines), "below the name where room is short"
    for part in (hits[0]["category"], "0:03.0", "SD", "current"):
        assert part in row


def test_sentences_break_between_words_and_addresses_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=20, force_terminal=True, color_system=None)
    say(console, words("twelve letters and some more words"))
    say(console, words("see http://example.org/a-long-address.mp4 there"))
    assert capsys.readouterr().out.splitlines() == [
        "twelve letters and ", "some more words", "see http://example.org/a-long-address.mp4 there",
    ]  # fmt: skip


def test_a_sentence_beside_a_label_is_indented(capsys: pytest.CaptureFixture[str]) -> None:
    say(Console(width=20, force_terminal=True, color_system=None), words("twelve letters and more"), "label  ")
    assert capsys.readouterr().out.splitlines() == ["label  twelve ", "       letters and ", "       more"]


def test_a_few_digits_of_a_hash_are_too_few(filled: Command) -> None:
    error = filled.json("show", "9f", code=4)["error"]
    assert "four digits" in error["message"]


def test_explain_says_why_and_why_not(filled: Command) -> None:
    given = filled.json("explain", HOSTILE, "--tag", "Portrait")["rules"]
    assert any(rule["matched"] for rule in given)
    missing = filled.json("explain", CUTS, "--tag", "portrait")["rules"]
    assert missing
    assert not any(rule["matched"] for rule in missing)
    parts = [part for rule in missing for block in rule["blocks"] for part in block["parts"]]
    assert any("landscape" in part["found"] for part in parts)
    assert "found landscape" in filled("explain", CUTS, "--tag", "portrait").stdout
    assert filled.json("explain", CUTS)["stored_are_out_of_date"] is False


def test_explain_agrees_with_the_tags_that_were_given(filled: Command) -> None:
    for name in (CUTS, TALK, HOSTILE):
        given = {tag["tag"] for tag in filled.json("show", name)["tags"]}
        explained = {tag for rule in filled.json("explain", name)["rules"] if rule["matched"] for tag in rule["gives"]}
        assert given == explained


def test_explain_knows_no_such_tag(filled: Command) -> None:
    error = filled.json("explain", CUTS, "--tag", "Portrat", code=2)["error"]
    assert "Did you mean Portrait" in error["hint"]


@pytest.mark.parametrize("file_format", ["json", "jsonl", "csv", "parquet"])
def test_export_writes_every_format(filled: Command, tmp_path: Path, file_format: str) -> None:
    target = tmp_path / ("out" if file_format == "json" else f"out.{file_format}")
    done = filled.json("export", target, "--format", file_format)
    assert (done["format"], done["videos"]) == (file_format, 3)
    if file_format == "json":
        assert len(list(target.glob("*.json"))) == 3
    elif file_format == "jsonl":
        assert len(target.read_text().splitlines()) == 3
    else:
        read = pd.read_csv if file_format == "csv" else pd.read_parquet
        assert len(read(target)) == 3


def test_a_name_that_ends_in_a_stroke_is_a_folder(filled: Command, tmp_path: Path) -> None:
    filled.json("export", f"{tmp_path}/out/", "--format", "csv")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["videos.csv"]


def test_export_streams_to_stdout(filled: Command) -> None:
    lines = filled("export", "-").stdout.splitlines()
    assert [json.loads(line)["video"]["name"] for line in lines]
    rows = list(csv.DictReader(io.StringIO(filled("export", "-", "--format", "csv", "--scenes").stdout)))
    assert len(rows) == 5
    assert filled("export", "-", "--format", "parquet").exit_code == 2
    assert filled("export", "-", "--json").exit_code == 2


def test_a_name_that_is_not_utf_8_is_looked_for_as_it_is_or_escaped(filled: Command) -> None:
    for name in (HOSTILE, HOSTILE_ON_DISK):
        assert filled.json("show", name)["video"]["name"] == HOSTILE
        assert names(filled.json("list", "--source", name)["videos"]) == [HOSTILE]
    assert filled("search", HOSTILE_ON_DISK[-5:]).exit_code == 0
