"""The tags that a model may give, where they are given: the JSON file of [Rules] TagVocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.rules_file import Source, parse_json, read_text, unique_names, validated

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
