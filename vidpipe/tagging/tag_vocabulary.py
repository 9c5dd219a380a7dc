"""The vocabulary of tags: synonyms, a hierarchy, and tags that exclude one another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import Field

from vidpipe.tagging.validation import RulesFileModel, Text, Texts
from vidpipe.text.words import tag_key

_MOST_BROADER = 100


class VocabularySource(RulesFileModel):
    """The key `vocabulary` of a rules file.

    Attributes:
        synonyms: Tag -> other spellings that become it.
        hierarchy: Tag -> narrower tags; a video with one of them also gets the tag.
        exclusive: Groups of tags of which a video has at most one.
    """

    synonyms: dict[Text, Texts] = Field(default={})
    hierarchy: dict[Text, Texts] = Field(default={})
    exclusive: list[Annotated[Texts, Field(min_length=2, max_length=100)]] = Field(default=[], max_length=1000)


@dataclass(frozen=True)
class TagVocabulary:
    """Relations of tags. All keys are those by which tags are compared (`tag_key`).

    Attributes:
        preferred: Key of a synonym -> the tag to use.
        broader: Key of a tag -> the tags that it implies, directly or not.
        exclusive: Key of a tag -> keys of the tags that exclude it.
    """

    preferred: Mapping[str, str] = field(default_factory=dict)
    broader: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.preferred or self.broader or self.exclusive)

    def canonical(self, tag: str) -> str:
        """Return the tag to use instead of `tag`."""
        return self.preferred.get(tag_key(tag), tag)

    def related(self, key: str) -> frozenset[str]:
        """Return the keys of the tags that decide about a tag besides itself: narrower and excluded ones."""
        narrower = {child for child, parents in self.broader.items() if key in map(tag_key, parents)}
        return self.exclusive.get(key, frozenset()) | narrower

    def normal(self) -> dict[str, Any]:
        """Return it as in a rules file, with one spelling for everything that means the same."""
        found: dict[str, Any] = {}
        for kind, pairs in (("synonyms", self.preferred.items()), ("hierarchy", self._links())):
            grouped: dict[str, list[str]] = {}
            for key, tag in sorted(pairs):
                grouped.setdefault(tag, []).append(key)
            found |= {kind: grouped} if grouped else {}
        pairs_of = sorted({tuple(sorted((key, other))) for key, others in self.exclusive.items() for other in others})
        return found | ({"exclusive": [list(pair) for pair in pairs_of]} if pairs_of else {})

    def _links(self) -> Iterator[tuple[str, str]]:
        return ((key, parent) for key, parents in self.broader.items() for parent in parents)


NO_VOCABULARY = TagVocabulary()


def build_vocabulary(sources: list[VocabularySource]) -> TagVocabulary:
    """Return the relations of all `sources` together.

    Raises:
        ValueError: The hierarchy has a cycle, or a tag implies one that excludes it; the message is for the user.
    """
    preferred = {
        tag_key(word): tag for one in sources for tag, words in one.synonyms.items() for word in words
        if tag_key(word) != tag_key(tag)
    }  # fmt: skip
    for word, tag in preferred.items():
        if tag_key(tag) in preferred:
            raise ValueError(f'"{word}" is a synonym of "{tag}", which is itself a synonym: name the tag to use')

    def used(tag: str) -> str:
        return preferred.get(tag_key(tag), tag)

    direct: dict[str, list[str]] = {}
    for one in sources:
        for tag, narrower in one.hierarchy.items():
            for child in narrower:
                direct.setdefault(tag_key(used(child)), []).append(used(tag))
    broader = _closure(direct)
    exclusive: dict[str, frozenset[str]] = {}
    for one in sources:
        for group in one.exclusive:
            keys = frozenset(tag_key(used(tag)) for tag in group)
            for key in keys:
                exclusive[key] = exclusive.get(key, frozenset()) | (keys - {key})
    for key, parents in broader.items():
        for parent in parents:
            if tag_key(parent) in exclusive.get(key, ()):
                raise ValueError(f'"{key}" is a kind of "{parent}" and cannot exclude it')
    return TagVocabulary(preferred, broader, exclusive)


def _closure(direct: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Return all broader tags of each tag, given the next ones."""
    before = {key: {tag_key(parent) for parent in parents} for key, parents in direct.items()}
    try:
        order = [*TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise ValueError(f"the hierarchy has a cycle: {' → '.join(reversed(error.args[1]))}"[:500]) from None
    found: dict[str, dict[str, None]] = {}
    for key in order:
        parents = direct.get(key, ())
        found[key] = dict.fromkeys(broader for tag in parents for broader in (tag, *found[tag_key(tag)]))
        if len(found[key]) > _MOST_BROADER:
            raise ValueError(f'"{key}" has more than {_MOST_BROADER} broader tags')
    return {key: tuple(found[key]) for key in direct}
