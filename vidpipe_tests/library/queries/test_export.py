"""Exports: complete, in order, whole or not at all, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.library import Library
from vidpipe.library.queries.export import _csv_cell, export, format_of
from vidpipe.settings import Settings
from vidpipe_tests.library import sample_library

IDS = sorted(sample_library.sha256_of(name) for name in sample_library.CONTENTS)


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        sample_library.fill(opened)
        yield opened


@pytest.fixture
def specs(library: Library) -> dict[str, str]:
    return dict(sample_library.plan_of(library).specs)


def test_json_is_one_file_a_video(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    done = export(library, tmp_path / "out", "json", specs)
    assert (done.videos, sorted(path.stem for path in (tmp_path / "out").iterdir())) == (3, IDS)
    found = json.loads((tmp_path / "out" / f"{sample_library.sha256_of('race.mkv')}.json").read_text())
    assert found["scenes"][0]["description"] == "A red car overtakes a blue car."
    assert found["stages"]["tags"]["state"] == "current"


def test_jsonl_is_one_line_a_video_by_hash_and_the_same_each_time(
    library: Library, specs: dict[str, str], tmp_path: Path
) -> None:
    export(library, tmp_path / "a.jsonl", "jsonl", specs)
    export(library, tmp_path / "b.jsonl", "jsonl", specs)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"]["sha256"] for line in lines] == IDS
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_batches_lose_and_repeat_nothing(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    for file_format in ("csv", "parquet"):
        export(library, tmp_path / f"t.{file_format}", file_format, specs, batch_size=2)  # type: ignore[arg-type]
    assert list(pd.read_csv(tmp_path / "t.csv")["video"]) == IDS
    assert list(pd.read_parquet(tmp_path / "t.parquet")["video"]) == IDS


def test_csv_runs_no_formula_in_a_spreadsheet(library: Library, specs: dict[str, str]) -> None:
    stream = io.BytesIO()
    export(library, stream, "csv", specs)
    rows = {row["video"]: row for row in csv.DictReader(io.StringIO(stream.getvalue().decode()))}
    hostile = rows[sample_library.sha256_of(sample_library.HOSTILE)]
    assert hostile["name"] == "'" + sample_library.HOSTILE
    assert hostile["title"].startswith("'@cmd")
    assert hostile["description"] == "'-A parked blue car."
    assert rows[sample_library.sha256_of("race.mkv")]["tags"] == "High Resolution; Fast-paced"
    assert rows[sample_library.sha256_of("race.mkv")]["labels"] == "'=1+1; Motor sport"
    assert rows[sample_library.sha256_of("race.mkv")]["duration_s"] == "45.5"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", " =1", "\r\n=1", "\uff1d1"])
def test_each_beginning_of_a_formula_is_guarded(text: str) -> None:
    assert _csv_cell(text, "text") == "'" + text.replace("\r", "")  # a CR would end the row


@pytest.mark.parametrize("text", ["plain", "a=1", "1-2", ""])
def test_other_texts_are_left_alone(text: str) -> None:
    assert _csv_cell(text, "text") == text


def test_parquet_keeps_types_and_every_text_as_it_is(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    export(library, tmp_path / "t.parquet", "parquet", specs)
    table = pd.read_parquet(tmp_path / "t.parquet").set_index("video")
    assert table.loc[sample_library.sha256_of(sample_library.HOSTILE), "name"] == sample_library.HOSTILE
    race, harbour = (table.loc[sample_library.sha256_of(name)] for name in ("race.mkv", "harbour.mp4"))
    assert list(race["tags"]) == ["High Resolution", "Fast-paced"]
    assert (list(race["labels"]), race["title"]) == (["=1+1", "Motor sport"], "GrandPrix_2019")
    assert (list(harbour["labels"]), harbour["title"], harbour["file_title"]) == ([], *["Harbour at_dawn"] * 2)
    assert table["duration_s"].dtype == "float64"
    assert str(table["added_at"].dtype).endswith("UTC]")


def test_scenes_are_rows_of_their_own(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    done = export(library, tmp_path / "scenes.csv", "csv", specs, scenes=True)
    table = pd.read_csv(tmp_path / "scenes.csv")
    assert (done.videos, done.rows, len(table)) == (3, 4, 4)
    harbour = table[table["video"] == sample_library.sha256_of("harbour.mp4")]
    assert list(harbour["start_s"]) == [0.0, 200.0]
    assert set(harbour["colors"]) == {"blue"}
    race = table[table["video"] == sample_library.sha256_of("race.mkv")].iloc[0]
    assert race["path"].startswith("data/media/")
    assert (race["labels"], race["title"]) == ("'=1+1; Motor sport", "GrandPrix_2019")
    assert (race["tags"], race["category"]) == ("High Resolution; Fast-paced", "Sports")


def test_only_what_is_asked_for_is_exported(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    race = sample_library.sha256_of("race.mkv")
    export(library, tmp_path / "ids.csv", "csv", specs, ids=[race, race])
    assert list(pd.read_csv(tmp_path / "ids.csv")["video"]) == [race]


def test_an_empty_export_is_an_empty_table(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    for file_format in ("csv", "parquet", "jsonl"):
        export(library, tmp_path / f"t.{file_format}", file_format, specs, ids=[])  # type: ignore[arg-type]
    assert len(pd.read_csv(tmp_path / "t.csv")) == len(pd.read_parquet(tmp_path / "t.parquet")) == 0
    assert (tmp_path / "t.jsonl").read_bytes() == b""


def test_a_video_without_results_is_a_row_with_its_error(library: Library, tmp_path: Path) -> None:
    specs = sample_library.fill(library, sample_library.BROKEN).specs
    export(library, tmp_path / "t.parquet", "parquet", specs)
    row = (
        pd.read_parquet(tmp_path / "t.parquet").set_index("video").loc[sample_library.sha256_of(sample_library.BROKEN)]
    )
    assert row["state"] == "failed"
    assert "is no video" in row["errors"][0]


class LostConnection(dict[str, str]):
    """Specs that end the export at the second video."""

    asked = 0

    def items(self) -> Any:
        """As MongoDB would where the second video is read."""
        self.asked += 1
        if self.asked > 1:
            raise UnavailableError("MongoDB is unavailable.")
        return super().items()


def test_an_export_that_breaks_off_leaves_the_old_file(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "t.jsonl"
    target.write_text("old\n")
    with pytest.raises(UnavailableError):
        export(library, target, "jsonl", LostConnection(specs), batch_size=1)
    assert target.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_destinations_that_do_not_fit_are_named(library: Library, specs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        export(library, tmp_path / "file", "json", specs)
    with pytest.raises(SettingsError, match="stream"):
        export(library, io.BytesIO(), "parquet", specs)
    with pytest.raises(UnavailableError, match="cannot be written"):
        export(library, tmp_path / "file" / "t.csv", "csv", specs)


def test_a_folder_as_destination_of_a_table_gets_a_file(
    library: Library, specs: dict[str, str], tmp_path: Path
) -> None:
    assert export(library, tmp_path, "csv", specs).path == str(tmp_path / "videos.csv")
    assert export(library, tmp_path, "csv", specs, scenes=True).path == str(tmp_path / "scenes.csv")


def test_the_suffix_names_the_format() -> None:
    assert [format_of(name) for name in ("a.csv", "a.JSONL", "a.parquet", "folder", "a.json")] == [
        "csv", "jsonl", "parquet", "json", "json",
    ]  # fmt: skip
