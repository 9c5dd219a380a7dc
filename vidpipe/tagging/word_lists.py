"""The priority keywords in rules/priority_keywords.json: what a describing model is asked to look for first.

They are for the prompts of a model that sees. Nothing measured depends on them, so no stage reads them by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from vidpipe.errors import SettingsError
from vidpipe.tagging.rules_file import Source, Texts, Versioned, parse_json, read_text, validated
from typing import Annotated
from pydantic import Field, StringConstraints
from vidpipe.settings import Settings
from vidpipe.tagging.rules_file import Source, parse_json, read_text, unique_names, validated



class _Group(Source):
    keywords: Texts


@dataclass(frozen=True)
class PriorityKeywords(Versioned):
    """groups: name -> keywords as written, sorted by name; a file without groups has one, named ""."""

    groups: Mapping[str, tuple[str, ...]]

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every keyword once, group by group."""
        return tuple(dict.fromkeys(word for words in self.groups.values() for word in words))

    def normal(self) -> dict[str, Any]:
        """The order of the keywords stays, because a prompt holds them in order."""
        groups = {name: list(words) for name, words in self.groups.items()}
        return {"priority_keywords": groups[""] if set(groups) == {""} else groups}


def load_priority_keywords(path: Path, shown: str = "") -> PriorityKeywords:
    """The keywords in the file at `path`; `shown` is what errors call it. Raises SettingsError."""
    shown = shown or str(path)
    return parse_priority_keywords(read_text(path, shown, "PriorityKeywords"), shown)


def parse_priority_keywords(text: str, shown: str = "priority_keywords.json") -> PriorityKeywords:
    """The keywords in a JSON text: a list, or an object of group -> list; either alone or under "priority_keywords".

    Raises SettingsError.
    """
    document = parse_json(text, shown)
    if isinstance(document, dict) and "priority_keywords" in document:
        if unknown := sorted(set(document) - {"priority_keywords", "note"}):
            raise SettingsError(f'{shown}: "{unknown[0]}" stands beside "priority_keywords"; only "note" may.')
        document = document["priority_keywords"]
    if isinstance(document, list):
        return PriorityKeywords({"": _keywords(document, shown)})
    if isinstance(document, dict):
        return PriorityKeywords(
            {name: _keywords(words, f'{shown}, "{name}"') for name, words in sorted(document.items())}
        )
    raise SettingsError(f'{shown}: expected {{"priority_keywords": [...]}}, a list, or an object of group and list.')


def _keywords(words: Any, where: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(validated(_Group, {"keywords": words}, where).keywords))


# DOC """The tags that a model may give, where they are given: the JSON file of [Rules] TagVocabulary."""
# 


#: A prompt holds all of them.
_MOST = 500
_Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]


class _VocabularySource(Source):
    tags: list[_Tag] = Field(min_length=1, max_length=_MOST)


def build_vocabulary(settings: Settings) -> tuple[str, ...]:
    """The tags of the file that is named; none where none is. Raises SettingsError."""
    named = settings.rules.tag_vocabulary
    return parse_vocabulary(read_text(settings.resolve(Path(named)), named, "TagVocabulary"), named) if named else ()


def parse_vocabulary(text: str, shown: str = "tag_vocabulary.json") -> tuple[str, ...]:
    """The tags in a JSON text: a list, alone or under "tags". Raises SettingsError."""
    document = parse_json(text, shown)
    if not isinstance(document, list | dict):
        raise SettingsError(f'{shown}: expected a list of tags, alone or as {{"tags": [...]}}.')
    tags = validated(_VocabularySource, document if isinstance(document, dict) else {"tags": document}, shown).tags
    unique_names(((tag, f"tag {number}") for number, tag in enumerate(tags, 1)), shown)
    return tuple(tags)
