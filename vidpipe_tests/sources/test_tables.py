"""CSV lists: every row is taken as it was meant, or named with its line; none is lost, none is shifted."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists
from vidpipe.sources.list_files import list_lines
from vidpipe.sources.lists import ListEntry, ListProblem

U = "https://h/{}.mp4"
A, B, C = (U.format(name) for name in "abc")


def read(content: str | bytes, columns: Lists | None = None) -> tuple[list[ListEntry], dict[int, str], tuple[str, ...]]:
    """(what is taken, line -> what is wrong with it, notes)"""
    data = content.encode() if isinstance(content, str) else content
    lines = list_lines(Path("v.csv"), data, columns or Lists())
    rows = list(lines)
    entries = [row for row in rows if isinstance(row, ListEntry)]
    return entries, {row.line: row.sentence for row in rows if isinstance(row, ListProblem)}, lines.notes


def titles(content: str | bytes) -> list[tuple[str, str | None]]:
    entries, problems, _ = read(content)
    assert problems == {}
    return [(entry.text, entry.title) for entry in entries]


@pytest.mark.parametrize(
    "content",
    [
        f"url,title\r\n{A},one\r\n{B},two\r\n",
        f"url,title\r{A},one\r{B},two",
        f"url,title\n{A},one\r\n{B},two\r",
        f"sep=;\r\nurl;title\r\n{A};one\r\n{B};two\r\n",
        f'"sep=\t"\nurl\ttitle\n{A}\tone\n{B}\ttwo\n',
        f"url|title\n{A}|one\n{B}|two\n",
        f"url;title;a,b,c\n{A};one;1\n{B};two;2\n",
        f"url,title,\n{A},one,\n{B},two,\n",
        f"url,title\n{A},one,\n{B},two,,,\n",
        f"url;title;;;\n{A};one;;;\n;;;;\n{B};two;;;\n;;;;\n",
        f";;\n,\nurl,title\n{A},one\n{B},two\n",
        f"\n\n# exported today\n# by hand, twice\nurl,title\n\n{A},one\n,\n \n{B},two\n",
        f'"url" , "title"\n"{A}" , "one"\n{B} , two \n',
        f" Video URL , TITLE\n{A},one\n{B},two\n",
        f",url,title\n0,{A},one\n1,{B},two\n",
        f"\ufeff\ufeffurl,title\n{A},one\n\ufeff{B},two\n",
        f"url,title\n“{A}”,one\n\u200b{B}\u00a0,two\n",
        f"url,title\n<{A}>,one\n'{B}',two\n",
    ],
)
def test_a_table_is_read_however_it_was_saved(content: str) -> None:
    assert titles(content) == [(A, "one"), (B, "two")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_unicode_text_of_excel_is_read(encoding: str) -> None:
    assert titles(f"url\ttitle\r\n{A}\tGrüße\r\n".encode(encoding)) == [(A, "Grüße")]


def test_windows_1252_is_read_and_said() -> None:
    entries, problems, (note,) = read(f"url;title;class\r\n{A};Grüße;Fußball\r\n{B};plain;\r\n".encode("cp1252"))
    assert [(entry.title, entry.labels) for entry in entries] == [("Grüße", ("Fußball",)), ("plain", ())]
    assert problems == {}
    assert "v.csv is not UTF-8 (line 2); titles and labels are decoded as Windows-1252" in note


def test_french_punctuation_is_not_taken_for_another_script() -> None:
    (entry,), problems, _ = read(f"url,title\n{A},Voici\xa0:\xa0«\xa0À bout\xa0»\n".encode("cp1252"))
    assert (entry.title, problems) == ("Voici\xa0:\xa0«\xa0À bout\xa0»".replace("\xa0", " "), {})


def test_quotes_of_windows_1252_around_a_url_are_taken_off() -> None:
    (entry,), problems, _ = read(f"url,title\n\x93{A}\x94,x\n".encode("latin-1"))
    assert (entry.text, problems) == (A, {})


def test_bytes_of_neither_encoding_are_a_problem_of_their_row() -> None:
    for said in (b"x\x81", "春节联欢".encode("gbk"), "Привет".encode("cp1251")):
        entries, problems, _ = read(f"url,title\n{A},".encode() + said + f"\n{B},ok\n".encode())
        assert [entry.text for entry in entries] == [B]
        assert "neither UTF-8 nor Windows-1252" in problems[2]


@pytest.mark.parametrize(
    ("row", "text", "title"),
    [
        ('"two\nlines"', A, "two lines"),
        ('"a ""b"" c"', A, 'a "b" c'),
        (r'"a \"b\" c"', A, 'a "b" c'),
        ('5" screen', A, '5" screen'),
        ('"x, y"  ', A, "x, y"),
        ("\u2028x", A, "x"),
        ('""x, y""', A, "x, y"),
        (' ""x""', A, "x"),
        ("می\u200cخواهم \U0001f469\u200d\U0001f467", A, "می\u200cخواهم \U0001f469\u200d\U0001f467"),
        ("\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"), A, None),
    ],
)
def test_what_a_cell_may_hold(row: str, text: str, title: str | None) -> None:
    (entry, last), problems, _ = read(f"url,title\n{A},{row}\n{B},next\n")
    assert (entry.text, last.text, problems) == (text, B, {})
    assert title is None or entry.title == title


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ("url\nhttps://h/a,b.mp4\nhttps://h/c.mp4\n", ["https://h/a,b.mp4", C]),
        ("url\nhttps://h/v?id=1,2\n", ["https://h/v?id=1,2"]),
        ("url\n/srv/first,second.mov\n", ["/srv/first,second.mov"]),
        (f"url,title\nhttps://h/w_1,h_2/x.mp4,T\n{C},U\n", ["https://h/w_1,h_2/x.mp4", C]),
        (f"id,url\n7,https://h/a,b,c.mp4?x=1\n8,{C}\n", ["https://h/a,b,c.mp4?x=1", C]),
        (f"url;title\nhttps://h/a,b;c.mp4;T\n{C};U\n", ["https://h/a,b;c.mp4", C]),
    ],
)
def test_a_url_with_separators_need_not_be_in_quotes(content: str, taken: list[str]) -> None:
    entries, problems, _ = read(content)
    assert ([entry.text for entry in entries], problems) == (taken, {})


@pytest.mark.parametrize(
    ("row", "line", "said"),
    [
        (f"{A},a,b,c", 4, "the row has 4 fields instead of 2 (quote values that contain ',')"),
        (f"{A},{C}", 0, ""),
        (f"{A},x,{C}", 4, "the row has 3 fields instead of 2"),
        ("https://h/v?id=1,2,x", 4, "the row has 3 fields instead of 2"),
        (A, 4, "the row has 1 field instead of 2"),
        (",only a title", 4, "the column url is empty"),
        (f'{A},"never closed', 4, 'the quote (") opened here is not closed'),
        (f'{A},"5" screen"', 4, 'text follows a closing quote; write a quote inside quotes as ""'),
        (f"{A},{'x' * 200_000}", 4, "more than 131072 characters"),
        (f"{A},{'x,' * 600_000}", 4, "the line has more than 1048576 characters"),
    ],
)
def test_a_row_that_is_wrong_is_named_with_its_line_and_the_others_are_taken(row: str, line: int, said: str) -> None:
    entries, problems, _ = read(f"url,title\n\n{B},first\n{row}\n{C},last\n")
    taken = [entry.title for entry in entries]
    assert (taken[0], taken[-1]) == ("first", "last")
    assert list(problems) == ([line] if line else [])
    assert said in problems.get(line, "")


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    _, problems, _ = read(f'url,title,priority\n\n\n{A},ok,\n\n"two\nlines",x,y\n{B},"a\r\nb\rc",high\n{C},late,no\n')
    assert list(problems) == [6, 8, 11]


def test_a_quote_is_named_where_it_opens() -> None:
    _, problems, _ = read(f'title,class,url\n"two\nlines",x,{A}\n"two\nlines","never,{B}\nx,y,{C}\n')
    assert list(problems) == [5]


def test_an_open_quote_that_a_later_one_closes_swallows_no_row() -> None:
    entries, problems, _ = read(f'url,title\n{A},"never closed\n{B},two\n{C},"x"\n')
    assert [entry.text for entry in entries] == [B, C]
    assert list(problems) == [2]


def test_after_a_hundred_open_quotes_reading_ends_and_says_so() -> None:
    entries, problems, _ = read("url,title\n" + f'{A},"{"x" * 900}\n' * 1001)
    assert (entries, len(problems)) == ([], 102)
    assert "the rest is ignored" in list(problems.values())[-1]


def test_label_columns_are_taken_together_in_order_each_label_once() -> None:
    (first, second, third), problems, notes = read(
        f'Class,url,labels,Tags,action,id,notes\ncats,{A},big|cats,"big, wild",run,1,x\n,{B},,,,2,\n'
        f",{C},,\"['zoo', 'day']\",,3,\n"
    )
    assert first.labels == ("cats", "big", "wild", "run")
    assert (second.labels, third.labels, problems) == ((), ("zoo", "day"), {})
    assert notes == ("v.csv: ignored columns: id, notes.",)


def test_columns_are_called_as_config_ini_says() -> None:
    columns = Lists(url_columns=("Clip Address",), title_columns=("name",), label_columns=("kind",))
    (entry,), _, notes = read(f"clip_address,name,kind,url\n{A},N,K,ignored\n", columns)
    assert (entry.text, entry.title, entry.labels, notes) == (A, "N", ("K",), ("v.csv: ignored columns: url.",))


def test_a_column_has_one_meaning() -> None:
    with pytest.raises(ValueError, match="the column title has two meanings"):
        Lists(url_columns=("Title",))


def test_hostile_rows_are_read_in_the_time_of_others() -> None:
    for hostile in (" " * 60_000 + '"a\n' + " " * 60_000, '#"\n' * 50_000, '"",' * 50_000 + '"'):
        entries, problems, _ = read(
            f"{hostile}\nurl,title\n{A},x\n" if hostile[0] == "#" else f"url,title\n{hostile}\n"
        )
        assert entries or problems


def test_the_column_that_is_asked_for_is_the_one_that_is_set() -> None:
    with pytest.raises(VidpipeError, match="Name the column clip, or"):
        read(f"url\n{A}\n".replace("url", "u"), Lists(url_columns=("clip",)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"My films\n\nurl,title\n{A},x\n",
            "no column url in its first row (line 1); line 3 has one. Delete the lines above",
        ),
        (f'My films,,\n"URL",title,labels\n{A},x,\n', "line 2 has one"),
        (f"sep= \nurl title\n{A} x\n", "no column url; its first row has 1 other column."),
        (f"{A}\n{B}\n", "its first row contains a URL, not column names"),
        (f"url,title,url\n{A},x,{B}\n", "more than one column url"),
        ('url,"title\n', "line 1: the quote"),
        ("# only\n# comments\n", "it has no rows"),
        (f"id,name\n1,{A}\n", "no column url; its first row has 2 other columns. Name the column url, or"),
        ("url\n\0\n", r"line 2 contains U+0000"),
    ],
)
def test_a_file_that_is_no_table_says_why(content: str, said: str) -> None:
    with pytest.raises(VidpipeError) as error:
        read(content)
    assert said in str(error.value)
