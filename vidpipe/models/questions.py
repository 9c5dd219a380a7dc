"""The files in rules/ that only prompts use: questions, priority keywords, and the vocabulary of the model's own tags.

The questions are asked about each video or scene besides the descriptions.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import AfterValidator, Field, StringConstraints

from vidpipe.errors import SettingsError
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings
from vidpipe.tagging.parsing import parse_json
from vidpipe.tagging.rule_files import Versioned, load_named, read_text
from vidpipe.tagging.validation import RulesFileModel, Texts, entry_place, unique_names, validated, value_under
from vidpipe.text.messages import find_control_token
from vidpipe.text.words import digest

QuestionKind = Literal["text", "yes_no", "choice", "number"]
Scope = Literal["video", "scene"]

#: Kind -> default token limit of an answer.
_TOKENS: dict[str, int] = {"text": 128, "yes_no": 16, "choice": 48, "number": 24}
#: Each question costs one answer per video or scene.
_MAX_QUESTIONS = 100
_LOCK_S = 10
#: One prompt contains all of them.
_MAX_VOCABULARY = 500
_Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: Identifies its answers: 1 to 40 characters of a-z, 0-9, _ and -.
        text: What is asked.
        kind: How the answer is parsed.
        scope: Whether it is asked about each scene, or once about the whole video.
        choices: Allowed answers of kind choice.
        max_tokens: Token limit of the answer; 0 is replaced by the default of its kind.
    """

    id: str
    text: str
    kind: QuestionKind = "text"
    scope: Scope = "video"
    choices: tuple[str, ...] = ()
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if not self.max_tokens:
            object.__setattr__(self, "max_tokens", _TOKENS[self.kind])

    def plain(self) -> dict[str, Any]:
        """Return the question as written in the file."""
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


class _QuestionSource(RulesFileModel):
    id: Annotated[str, AfterValidator(_is_id)]
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f]+$"),
    ]
    kind: QuestionKind = "text"
    scope: Scope = "video"
    choices: Texts = Field(default=[], max_length=50)
    max_tokens: int = Field(0, ge=1, le=4096)


class _FileSource(RulesFileModel):
    questions: list[Any] = Field(max_length=_MAX_QUESTIONS)


class _Group(RulesFileModel):
    keywords: Texts


class _AllowedTags(RulesFileModel):
    tags: list[_Tag] = Field(min_length=1, max_length=_MAX_VOCABULARY)


def build_questions(settings: Settings) -> tuple[Question, ...]:
    """Return the questions in force. Raises SettingsError."""
    return load_named(settings, "questions", parse_questions)


def parse_questions(text: str, shown: str = "questions.json") -> tuple[Question, ...]:
    """Return the questions in a JSON text. Raises SettingsError, which names file, question and key."""
    entries = validated(_FileSource, parse_json(text, shown), shown).questions
    places = [entry_place(shown, "question", number, entry, "id") for number, entry in enumerate(entries, 1)]
    questions = [parse_question(entry, place) for entry, place in zip(entries, places, strict=True)]
    unique_names((question.id, place) for question, place in zip(questions, places, strict=True))
    return tuple(questions)


def parse_question(entry: Any, where: str = "The question") -> Question:
    """Return one entry of the file, which error messages call `where`, as a question. Raises SettingsError."""
    source = validated(_QuestionSource, entry, where)
    if found := find_control_token(" ".join([source.text, *source.choices])):
        raise SettingsError(f"{where}: {found} is a control token of chat models.", "Rephrase it.")
    if source.kind == "choice":
        if len({choice.casefold() for choice in source.choices}) != len(source.choices):
            raise SettingsError(f'{where}: "choices" contains the same answer twice.', "Remove one of them.")
        if len(source.choices) < 2:
            raise SettingsError(f'{where}: kind choice requires "choices", a list of at least two answers.')
    elif source.choices:
        raise SettingsError(
            f'{where}: "choices" requires kind choice; found kind {source.kind}.',
            'Set "kind": "choice", or remove the choices.',
        )
    return Question(source.id, source.text, source.kind, source.scope, tuple(source.choices), source.max_tokens)


def new_question(
    text: str, *, kind: QuestionKind = "text", scope: Scope = "video", choices: Sequence[str] = (), id: str = ""
) -> Question:
    """Return a new question; without an id it gets one made from its text. Raises SettingsError."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.casefold())[:40].strip("-") or f"question-{digest(text)[:8]}"
    entry = {"id": id or slug, "text": text, "kind": kind, "scope": scope}
    return parse_question(entry | ({"choices": list(choices)} if choices else {}))


def add_question(path: Path, question: Question) -> bool:
    """Add `question` to the file at `path`, which is created if missing; everything else in it is kept.

    Returns:
        False if the file already contains it.

    Raises:
        SettingsError: Its id belongs to another question, or the file cannot be read or written.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_S):
            return _add(path, question)
    except OSError as error:  # includes the timeout of the lock
        raise SettingsError(
            f"{path} cannot be written: {error.strerror or error}.", "Make it writable; the question was not saved."
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
                    "Choose another id, or change the other question in the file.",
                )
        document = parse_json(text, str(path))
    document["questions"] = [*document["questions"], question.plain()]
    changed = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    parse_questions(changed, str(path))
    replace_file(path, changed.encode(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
    return True


@dataclass(frozen=True)
class PriorityKeywords(Versioned):
    """What a describing model is asked to look for first: rules/priority_keywords.json.

    Attributes:
        groups: Name -> keywords as written, sorted by name; a file without groups has one, named "".
    """

    groups: Mapping[str, tuple[str, ...]]

    @property
    def keywords(self) -> tuple[str, ...]:
        """All keywords without duplicates, group by group."""
        return tuple(dict.fromkeys(word for words in self.groups.values() for word in words))

    def normal(self) -> dict[str, Any]:
        """Return the keywords as in a rules file, in their order, which prompts keep."""
        groups = {name: list(words) for name, words in self.groups.items()}
        return {"priority_keywords": groups[""] if set(groups) == {""} else groups}


def build_priority_keywords(settings: Settings) -> PriorityKeywords:
    """Return the priority keywords in force. Raises SettingsError."""
    return load_named(settings, "priority_keywords", parse_priority_keywords)


def parse_priority_keywords(text: str, shown: str = "priority_keywords.json") -> PriorityKeywords:
    """Return the keywords in a JSON text. Raises SettingsError.

    Args:
        text: A list, or an object of group -> list; either may be under the key "priority_keywords".
        shown: What error messages call the file.
    """
    document = parse_json(text, shown)
    if isinstance(document, dict) and "priority_keywords" in document:
        document = value_under(document, "priority_keywords", shown)
    if isinstance(document, list):
        return PriorityKeywords({"": _keywords(document, shown)})
    if isinstance(document, dict):
        return PriorityKeywords(
            {name: _keywords(words, f'{shown}, "{name}"') for name, words in sorted(document.items())}
        )
    raise SettingsError(f'{shown}: expected {{"priority_keywords": [...]}}, a list, or an object of group -> list.')


def _keywords(words: Any, where: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(validated(_Group, {"keywords": words}, where).keywords))


def allowed_tags(settings: Settings) -> tuple[str, ...]:
    """Return the tags that the model may use, from the file of [Rules] TagVocabulary; () if none is set.

    The file holds a list, alone or under the key "tags". Raises SettingsError.
    """
    shown = settings.rules.tag_vocabulary
    if not shown:
        return ()
    document = parse_json(read_text(settings.resolve(Path(shown)), shown, "TagVocabulary"), shown)
    if not isinstance(document, list | dict):
        raise SettingsError(f'{shown}: expected a list of tags, bare or as {{"tags": [...]}}.')
    tags = validated(_AllowedTags, document if isinstance(document, dict) else {"tags": document}, shown).tags
    unique_names((tag, f"{shown}, tag {number}") for number, tag in enumerate(tags, 1))
    return tuple(tags)
