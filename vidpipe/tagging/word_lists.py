"""Word lists for prompts: the priority keywords, and the vocabulary of the model's own tags.

They are used in the prompts of a vision-language model only, so no stage reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.rules_file import (
    RulesFileModel,
    Texts,
    Versioned,
    load_named,
    parse_json,
    read_text,
    unique_names,
    validated,
    value_under,
)


class _Group(RulesFileModel):
    keywords: Texts


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


#: One prompt contains all of them.
_MAX_VOCABULARY = 500
_Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]


class _VocabularySource(RulesFileModel):
    tags: list[_Tag] = Field(min_length=1, max_length=_MAX_VOCABULARY)


def build_vocabulary(settings: Settings) -> tuple[str, ...]:
    """Return the tags that the model may use, from the file of [Rules] TagVocabulary; () if none is set."""
    named = settings.rules.tag_vocabulary
    return parse_vocabulary(read_text(settings.resolve(Path(named)), named, "TagVocabulary"), named) if named else ()


def parse_vocabulary(text: str, shown: str = "tag_vocabulary.json") -> tuple[str, ...]:
    """Return the tags in a JSON text: a list, alone or under the key "tags". Raises SettingsError."""
    document = parse_json(text, shown)
    if not isinstance(document, list | dict):
        raise SettingsError(f'{shown}: expected a list of tags, bare or as {{"tags": [...]}}.')
    tags = validated(_VocabularySource, document if isinstance(document, dict) else {"tags": document}, shown).tags
    unique_names(((tag, f"tag {number}") for number, tag in enumerate(tags, 1)), shown)
    return tuple(tags)
