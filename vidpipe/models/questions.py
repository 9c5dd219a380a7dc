"""The questions in rules/questions.json: what is asked about each video or scene besides the descriptions."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import AfterValidator, Field, StringConstraints

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.build import load_named
from vidpipe.tagging.rules_file import Source, Texts, parse_json, read_text, unique_names, validated
from vidpipe.vlm.cells import digest
from vidpipe.vlm.plain_text import control_token

Kind = Literal["text", "yes_no", "choice", "number"]
Scope = Literal["video", "scene"]

#: kind -> tokens of an answer, where the question names no other number
_TOKENS: dict[str, int] = {"text": 128, "yes_no": 16, "choice": 48, "number": 24}
#: Each question costs an answer for each video or scene.
_MOST_QUESTIONS = 100
_LOCK_S = 10


@dataclass(frozen=True)
class Question:
    """
    id:         names its answers: 1 to 40 of a-z, 0-9, _ and -
    kind:       what the answer is read as
    scope:      asked about each scene, or once about the whole video
    choices:    of kind choice: the answers that are allowed
    max_tokens: of the answer; 0 stands for what fits its kind
    """

    id: str
    text: str
    kind: Kind = "text"
    scope: Scope = "video"
    choices: tuple[str, ...] = ()
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if not self.max_tokens:
            object.__setattr__(self, "max_tokens", _TOKENS[self.kind])

    def plain(self) -> dict[str, Any]:
        """As the file holds it."""
        entry: dict[str, Any] = {"id": self.id, "text": self.text, "kind": self.kind, "scope": self.scope}
        if self.choices:
            entry["choices"] = list(self.choices)
        if self.max_tokens != _TOKENS[self.kind]:
            entry["max_tokens"] = self.max_tokens
        return entry


def _is_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", value):
        raise ValueError("should have 1 to 40 characters of a-z, 0-9, _ and -")
    return value


class _QuestionSource(Source):
    id: Annotated[str, AfterValidator(_is_id)]
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f]+$"),
    ]
    kind: Kind = "text"
    scope: Scope = "video"
    choices: Texts = Field(default=[], max_length=50)
    max_tokens: int = Field(0, ge=1, le=4096)


class _FileSource(Source):
    questions: list[Any] = Field(max_length=_MOST_QUESTIONS)


def build_questions(settings: Settings) -> tuple[Question, ...]:
    """The questions in force. Raises SettingsError."""
    return load_named(settings, "questions", load_questions)


def load_questions(path: Path, shown: str = "") -> tuple[Question, ...]:
    """The questions in the file at `path`; `shown` is what errors call it. Raises SettingsError."""
    shown = shown or str(path)
    return parse_questions(read_text(path, shown, "Questions"), shown)


def parse_questions(text: str, shown: str = "questions.json") -> tuple[Question, ...]:
    """The questions in a JSON text. Raises SettingsError that names file, question and key."""
    entries = validated(_FileSource, parse_json(text, shown), shown).questions
    questions = [parse_question(entry, f"{shown}, question {_place(n, entry)}") for n, entry in enumerate(entries, 1)]
    unique_names(((question.id, f"question {n}") for n, question in enumerate(questions, 1)), shown)
    return tuple(questions)


def _place(number: int, entry: Any) -> str:
    name = entry.get("id") if isinstance(entry, dict) else None
    return f'{number} ("{name}")' if isinstance(name, str) and re.fullmatch(r"[\w -]{1,40}", name) else str(number)


def parse_question(entry: Any, where: str = "The question") -> Question:
    """One question as the file holds it; `where` is what errors call it. Raises SettingsError."""
    source = validated(_QuestionSource, entry, where)
    if found := control_token(" ".join([source.text, *source.choices])):
        raise SettingsError(f"{where}: {found} means something else to a model than words.", "Write it otherwise.")
    if source.kind == "choice":
        if len({choice.casefold() for choice in source.choices}) != len(source.choices):
            raise SettingsError(f'{where}: "choices" holds the same answer twice.', "Keep one of them.")
        if len(source.choices) < 2:
            raise SettingsError(f'{where}: kind choice needs "choices", a list of at least two answers.')
    elif source.choices:
        raise SettingsError(
            f'{where}: "choices" belong to kind choice, and this one has kind {source.kind}.',
            'Set "kind": "choice", or leave the choices out.',
        )
    return Question(source.id, source.text, source.kind, source.scope, tuple(source.choices), source.max_tokens)


def new_question(
    text: str, *, kind: Kind = "text", scope: Scope = "video", choices: Sequence[str] = (), id: str = ""
) -> Question:
    """A question that somebody asks now; without an id it gets one from its words. Raises SettingsError."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.casefold())[:40].strip("-") or f"question-{digest(text)[:8]}"
    entry = {"id": id or slug, "text": text, "kind": kind, "scope": scope}
    return parse_question(entry | ({"choices": list(choices)} if choices else {}))


def add_question(path: Path, question: Question) -> bool:
    """Writes `question` into the file at `path`, which is made where it is not there; everything else in it stays.

    Returns False where it is in there already. Raises SettingsError where its id belongs to another question, or the
    file cannot be read or written.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_S):
            return _add(path, question)
    except OSError as error:  # a lock that does not come is one too
        raise SettingsError(
            f"{path} cannot be written: {error.strerror or error}.", "Make it writable; the question is not kept."
        ) from error


def _add(path: Path, question: Question) -> bool:
    document: dict[str, Any] = {"questions": []}
    if path.exists():
        text = read_text(path, str(path), "Questions")
        for known in parse_questions(text, str(path)):
            if known == question:
                return False
            if known.id == question.id:
                raise SettingsError(
                    f'{path} has another question with the id "{question.id}": {known.text}',
                    "Give this one another id, or change the other in the file.",
                )
        document = parse_json(text, str(path))
    document["questions"] = [*document["questions"], question.plain()]
    changed = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    parse_questions(changed, str(path))
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(changed)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(new, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(new, path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    return True
