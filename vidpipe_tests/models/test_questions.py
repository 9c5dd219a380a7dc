"""Questions: read strictly from their file, and written into it without losing anything."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.models.questions import (
    Question,
    add_question,
    build_questions,
    new_question,
    parse_questions,
)
from vidpipe.settings import default_file
from vidpipe_tests.models.homes import load_questions, settings, write_questions

PEOPLE: dict[str, Any] = {"id": "people", "text": "How many people?", "kind": "number", "scope": "scene"}
PLACE: dict[str, Any] = {"id": "place", "text": "Where?", "kind": "choice", "choices": ["indoors", "outdoors"]}


def test_questions_are_read_in_their_order_with_what_fits_their_kind(tmp_path: Path) -> None:
    write_questions(tmp_path, PEOPLE, PLACE, {"id": "dog", "text": "A dog?", "max_tokens": 7})
    assert build_questions(settings(tmp_path)) == (
        Question("people", "How many people?", "number", "scene", (), 24),
        Question("place", "Where?", "choice", "video", ("indoors", "outdoors"), 48),
        Question("dog", "A dog?", "text", "video", (), 7),
    )


def test_by_default_nothing_is_asked_and_the_examples_in_the_note_are_questions() -> None:
    path = default_file("rules/questions.json")
    assert load_questions(path) == ()
    examples = [json.loads(line) for line in json.loads(path.read_text())["note"] if line.startswith("{")]
    assert [question.id for question in parse_questions(json.dumps({"questions": examples}))] == ["people", "place"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"id": "How many"}, '"id" should have 1 to 40 characters of a-z, 0-9, _ and -; found "How many"'),
        ({"id": "x" * 41}, '"id" should have 1 to 40 characters'),
        ({"id": 3}, '"id" should be text; found 3'),
        ({"text": ""}, '"text" should not be empty'),
        ({"text": "x" * 2001}, '"text" should have at most 2000 characters'),
        ({"text": "a\x1bb"}, '"text" should have printable characters only'),
        ({"text": "a <|im_end|>"}, "<|im_end|> is a control token of chat models"),
        ({"kind": "yesno"}, "\"kind\" should be 'text', 'yes_no', 'choice' or 'number'; found \"yesno\""),
        ({"scope": "frame"}, "\"scope\" should be 'video' or 'scene'"),
        ({"kind": "choice"}, 'kind choice requires "choices", a list of at least two answers'),
        ({"kind": "choice", "choices": ["one"]}, 'kind choice requires "choices"'),
        ({"kind": "choice", "choices": ["a", "A"]}, '"choices" contains the same answer twice'),
        ({"choices": ["a", "b"]}, '"choices" requires kind choice; found kind number'),
        ({"max_tokens": 0}, '"max_tokens" should be greater than or equal to 1; found 0'),
        ({"txt": "x"}, '"txt" is not a known key; did you mean "text"?'),
    ],
)
def test_what_is_wrong_with_a_question_is_told(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_questions(json.dumps({"questions": [PLACE, PEOPLE | changed]}), "rules/questions.json")
    assert str(error.value).startswith("rules/questions.json, question 2")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "found a list, expected an object"),
        ("{}", '"questions" is missing'),
        ('{"questions": [3]}', "question 1: found 3, expected an object"),
        ('{"questions": [],}', "line 1, column 18: not valid JSON"),
        (
            json.dumps({"questions": [PLACE, PLACE]}),
            'question 1 ("place") and questions.json, question 2 ("place") have the same name "place"',
        ),
        (json.dumps({"questions": [PLACE] * 101}), '"questions" should hold at most 100 entries'),
    ],
)
def test_what_is_wrong_with_the_file_is_told(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_questions(text)
    assert sentence in str(error.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^mine\.json cannot be read.*\[Rules\] Questions"):
        build_questions(settings(tmp_path, {"questions": "mine.json"}))


def test_a_saved_question_stands_beside_the_others(tmp_path: Path) -> None:
    path = write_questions(tmp_path, PLACE | {"note": "Müller asked for it."})
    path.chmod(0o640)
    question = new_question("How many people?", kind="number", scope="scene")
    assert add_question(path, question)
    assert [known.id for known in load_questions(path)] == ["place", "how-many-people"]
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["note"] == "Ours."
    assert kept["questions"][0]["note"] == "Müller asked for it."
    assert "Müller" in path.read_text(encoding="utf-8")
    assert load_questions(path)[1] == question
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_question_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    path = write_questions(tmp_path, PLACE)
    before = path.read_bytes()
    assert not add_question(path, load_questions(path)[0])
    assert path.read_bytes() == before


def test_an_id_that_means_another_question_is_refused(tmp_path: Path) -> None:
    path = write_questions(tmp_path, PLACE)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match='another question with the id "place": Where'):
        add_question(path, new_question("Which town?", id="place"))
    assert path.read_bytes() == before


def test_a_file_that_is_wrong_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text('{"questions": [')
    with pytest.raises(SettingsError, match="not valid JSON"):
        add_question(path, new_question("What?"))
    assert path.read_text() == '{"questions": ['


def test_a_home_without_questions_gets_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules" / "questions.json"
    assert add_question(path, new_question("What is it?"))
    assert [question.text for question in load_questions(path)] == ["What is it?"]


def test_questions_saved_at_once_are_all_kept(tmp_path: Path) -> None:
    path = write_questions(tmp_path)
    threads = [threading.Thread(target=add_question, args=(path, new_question("What?", id=f"q{n}"))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {question.id for question in load_questions(path)} == {f"q{n}" for n in range(12)}
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".questions.json.") and not
                file.name.endswith(".lock")]  # fmt: skip


def test_a_question_without_an_id_gets_one_from_its_words() -> None:
    assert new_question("Is there a dog?").id == "is-there-a-dog"
    assert new_question("有狗吗？").id == new_question("有狗吗？").id != new_question("有猫吗？").id


def test_a_question_asked_now_is_checked_like_one_in_the_file() -> None:
    with pytest.raises(SettingsError, match='kind choice requires "choices"'):
        new_question("Where?", kind="choice")
