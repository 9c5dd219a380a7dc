"""Lists in JSON Lines and Parquet say the same as in CSV, and whatever is wrong with a row stops no other."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists
from vidpipe.sources.inputs import gather
from vidpipe.sources.list_files import list_lines
from vidpipe.sources.lists import MOST_SEGMENTS, ListEntry, ListProblem, ListRow
from vidpipe.sources.source_data import Segment

A, B, C = (f"https://h.example/{name}.mp4" for name in "abc")


def read(name: str, content: str | bytes) -> list[ListRow]:
    return list(list_lines(Path(name), content.encode() if isinstance(content, str) else content, Lists()))


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(rows: list[dict[str, object]], **how: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **how)
    return file.getvalue()


def entries(rows: list[ListRow]) -> list[ListEntry]:
    return [row for row in rows if isinstance(row, ListEntry)]


def problems(rows: list[ListRow]) -> dict[int, str]:
    return {row.line: row.sentence for row in rows if isinstance(row, ListProblem)}


_WORD = st.text("abcdefgäöü ", min_size=1, max_size=12).map(str.strip).filter(bool)
_ROW = st.fixed_dictionaries(
    {
        "url": st.sampled_from([A, B, C]),
        "title": st.none() | _WORD,
        "labels": st.lists(_WORD, max_size=3),
        "priority": st.none() | st.integers(-9, 9),
        "licence": st.none() | _WORD,
        "start": st.none() | st.floats(0, 1000).map(lambda value: round(value, 3)),
        "end": st.none() | st.floats(1001, 2000).map(lambda value: round(value, 3)),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_ROW, min_size=1, max_size=6))
def test_the_same_rows_give_the_same_entries_in_each_format(rows: list[dict[str, object]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows([{**row, "labels": "|".join(row["labels"])} for row in rows])  # type: ignore[arg-type]

    def said(name: str, content: str | bytes) -> list[tuple[object, ...]]:
        found = read(name, content)
        assert problems(found) == {}
        return [(one.text, one.title, one.labels, one.priority, one.licence, one.segments) for one in entries(found)]

    expected = said("v.csv", table.getvalue())
    assert said("v.jsonl", json_lines(*rows)) == expected
    schema = pa.schema(
        [("url", pa.string()), ("title", pa.string()), ("labels", pa.list_(pa.string())), ("priority", pa.int64()),
         ("licence", pa.string()), ("start", pa.float64()), ("end", pa.float64())]
    )  # fmt: skip
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    assert said("v.parquet", file.getvalue()) == expected


class TestParts:
    def test_rows_about_parts_of_a_video_are_one_source_and_their_labels_are_not_those_of_the_video(self) -> None:
        rows = read(
            "v.csv",
            f"url,label,start,end,license\n{A},running,0:01:30,95.5,CC0\n{B},whole,,,\n{A},jumping,100,,\n{A},tv,,,\n",
        )
        first, second = entries(rows)
        assert (first.text, first.labels, second.text) == (B, ("whole",), A)
        assert (second.labels, second.licence) == (("tv",), None)
        assert second.segments == (
            Segment(start_s=90, end_s=95.5, labels=("running",)), Segment(start_s=100, labels=("jumping",)),
        )  # fmt: skip

    def test_without_a_row_of_the_video_the_first_part_says_the_rest(self) -> None:
        (one,) = entries(read("v.csv", f"url,label,start,licence\n{A},x,1,CC0\n{A},y,2,MIT\n"))
        assert (one.licence, one.labels, len(one.segments)) == ("CC0", (), 2)

    @pytest.mark.parametrize(
        ("start", "end", "said"),
        [
            ("5", "5", "the end is not after the start"),
            ("0:01:00", "59.9", "the end is not after the start"),
            ("-1", "5", "not a time"),
            ("1:75", "", "not a time"),
            ("nan", "", "not a time"),
            ("inf", "", "not a time"),
            ("1e9", "", "not a time"),
            ("9" * 500, "", "not a time"),
        ],
    )
    def test_times_that_are_none_are_named_with_their_row_alone(self, start: str, end: str, said: str) -> None:
        rows = read("v.csv", f"url,start,end\n{A},1,2\n{B},{start},{end}\n{C},,3\n")
        assert [row.text for row in entries(rows)] == [A, C]
        assert said in problems(rows)[3]

    def test_a_video_has_at_most_so_many_parts(self) -> None:
        rows = read("v.jsonl", "".join(f'{{"url":"{A}","start":{n}}}\n' for n in range(MOST_SEGMENTS + 1)))
        assert len(entries(rows)[0].segments) == MOST_SEGMENTS
        assert "more than 10000 parts" in problems(rows)[1]

    def test_labels_that_would_not_fit_into_a_document_are_refused(self) -> None:
        rows = read("v.jsonl", json_lines({"url": A, "start": 1, "labels": ["x" * 251]}, {"url": B, "start": 1}))
        assert "at most 20 labels" in problems(rows)[1]

    def test_a_folder_has_no_parts(self, tmp_path: Path) -> None:
        (tmp_path / "films").mkdir()
        (tmp_path / "films" / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
        (tmp_path / "v.jsonl").write_text(json_lines({"url": "films", "start": 1}))
        (problem,) = gather([tmp_path / "v.jsonl"]).problems
        assert "this is a folder" in str(problem.error)

    def test_columns_that_had_another_meaning_keep_it(self) -> None:
        lines = list_lines(Path("v.csv"), f"url,license\n{A},x\n".encode(), Lists(label_columns=("license",)))
        (one,) = entries(list(lines))
        assert (one.labels, one.licence) == (("x",), None)


class TestHostile:
    def test_json_lines_that_are_none_are_named_and_reveal_nothing(self) -> None:
        lines = [
            json.dumps({"url": A, "priority": 5.0, "title": None, "start": float("nan")}), "", "[1]", "[[1,2]]", "7",
            "[" * 100_000, '{"a":' * 100_000, f'{{"url":"{B}","priority":{"9" * 5000}}}',
            '{"url":"https://SECRET/b.mp4","title":{"SECRET":1}}', '{"url":["SECRET"]}', '{"url":true}', "{SECRET",
            '{"title":"SECRET"}', '{"url":"' + "x" * (2 << 20) + '"}', json.dumps({"URL": C, "Tags": ["a,b", 3]}),
        ]  # fmt: skip
        rows = read("v.jsonl", "\n".join(lines))
        first, last = entries(rows)
        assert (first.text, first.priority, first.segments) == (A, 5, ())
        assert (last.text, last.labels, last.line) == (C, ("a,b", "3"), 15)
        assert sorted(problems(rows)) == list(range(3, 15))
        assert "SECRET" not in str(problems(rows))

    def test_half_a_character_stops_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "v.jsonl").write_bytes(
            b'{"url":"https://h/\\ud800.mp4","title":"\\udce9"}\n{"url":"\\ud800"}\n\xff\n'
        )
        gathered = gather([tmp_path / "v.jsonl"])
        assert not gathered.requests
        assert len(gathered.problems) == 3

    def test_a_list_without_urls_says_how_to_name_the_column(self) -> None:
        with pytest.raises(VidpipeError, match="no column with URLs") as error:
            read("v.jsonl", json_lines({"film": A}))
        assert "UrlColumns" in str(error.value.hint)

    def test_parquet_that_is_none_is_refused(self) -> None:
        good = parquet([{"url": f"https://h.example/{n}.mp4", "title": "t"} for n in range(100)])
        bad = [b"", b"PAR1", b"PAR1" * 9, b"x" * 1000, good[:-9], good[:100] + bytes(100) + good[200:], good[50:]]
        for data in bad:
            with pytest.raises(VidpipeError, match="not a valid Parquet file"):
                read("v.parquet", data)
        flipped = 0
        for place in range(4, len(good), 7):  # whatever is read, it does not crash
            try:
                read("v.parquet", good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
            except VidpipeError:
                flipped += 1
        assert flipped

    def test_rows_of_parquet_with_values_of_other_types_are_named(self) -> None:
        rows = read("v.parquet", parquet([{"url": A, "title": {"x": "y"}}, {"url": None, "title": None}, {"url": B}]))
        assert [one.text for one in entries(rows)] == [B]
        assert problems(rows) == {1: "the column title is neither a text nor a number", 2: "the column url is empty"}

    def test_a_small_file_with_very_many_rows_is_refused(self) -> None:
        file = io.BytesIO()
        pq.write_table(pa.table({"url": pa.nulls(2_000_001, pa.string())}), file)
        assert len(file.getvalue()) < 10_000
        with pytest.raises(VidpipeError, match="more than 2000000 rows"):
            read("v.parquet", file.getvalue())

    def test_a_long_text_in_each_row_takes_its_memory_once(self) -> None:
        url = "https://h.example/" + "x" * (8 << 20)
        array = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), [url])
        file = io.BytesIO()
        pq.write_table(pa.table({"url": array}), file)
        before = pa.total_allocated_bytes()
        rows = read("v.parquet", file.getvalue())
        assert len(problems(rows)) == 300
        assert "more than 131072 characters" in problems(rows)[1]
        assert pa.default_memory_pool().max_memory() - before < 1 << 30

    def test_only_columns_with_a_meaning_are_read(self) -> None:
        lines = list_lines(Path("v.parquet"), parquet([{"url": A, "blob": b"x", "Video": 1}]), Lists())
        assert lines.columns == {"url": "url", "blob": "ignored", "Video": "ignored"}
        assert lines.notes == ("v.parquet: ignored columns: blob, Video.",)
