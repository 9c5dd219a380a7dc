"""Categories as in the files in rules/, and what is said of them to models."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.parsing import parse_json
from vidpipe.tagging.rule_files import RuleFile, load_named, read_rule_files
from vidpipe.tagging.rules import BlocksSource
from vidpipe.tagging.validation import ConditionGroups, Text, Texts, unique_names, validated, value_under
from vidpipe.text.messages import did_you_mean

#: That stand for the sentence of a category without one.
_SENTENCE_KEYWORDS = 12

Placed = tuple["CategorySource", str]


class CategorySource(BlocksSource):
    """One category as in the file. `keywords` is short for `description_keywords`.

    Attributes:
        signals: See `SignalSource`.
        excludes: Likewise, but a video for which one of them holds is not of this category.
        parent: Of a subcategory that does not stand within its category: the category.
        subcategories: As the categories of a file.
    """

    name: Text
    sentence: Text = ""
    keywords: Texts = Field(default=[])
    tags: Texts = Field(default=[])
    weights: dict[str, Any] = Field(default={})
    min_score: float = Field(0.0, ge=0)
    signals: ConditionGroups = Field(default=[])
    excludes: ConditionGroups = Field(default=[])
    parent: str = ""
    subcategories: list[Any] | dict[str, Any] = Field(default=[])


class _AnyBlocks(CategorySource):
    """One category, perhaps with keys that plugins add."""

    model_config = ConfigDict(extra="ignore")


def category_file(text: str, shown: str) -> RuleFile:
    """Return the file that [Rules] Categories names, whose categories need not be under a key. Raises SettingsError."""
    document = parse_json(text, shown)
    if isinstance(document, dict) and isinstance(document.get("categories"), dict | list):
        document = value_under(document, "categories", shown)
    return RuleFile(shown, text, {"categories": document})


def category_files(settings: Settings) -> list[RuleFile]:
    """Return the files of categories in force: that of Categories, then those of tag rules. Raises SettingsError."""
    return [load_named(settings, "categories", category_file), *read_rule_files(settings)]


def read_sources(files: Sequence[RuleFile], model: type[CategorySource]) -> list[Placed]:
    """Return each enabled category and subcategory with what error messages call it. Raises SettingsError."""
    found = [one for file in files for one in _entries(file.document.get("categories", []), f"{file.shown}, ", model)]
    unique_names((source.name, place) for source, place in found)
    top = {source.name.casefold(): source.name for source, _ in found if not source.parent}
    for number, (source, place) in enumerate(found):
        if source.parent and source.parent.casefold() not in top:
            near = did_you_mean(source.parent, top.values()) or f"; those are {', '.join(top.values())}."
            raise SettingsError(f'{place}: the parent "{source.parent}" is not a category of the upper level{near}')
        found[number] = source.model_copy(update={"parent": top.get(source.parent.casefold(), "")}), place
    return found


def _entries(document: Any, where: str, model: type[CategorySource], parent: str = "") -> Iterator[Placed]:
    if isinstance(document, dict):
        document = [
            {"name": name} | (body if isinstance(body, dict) else {"keywords": body}) for name, body in document.items()
        ]
    if not isinstance(document, list):
        raise SettingsError(f"{where[:-2]}: expected an object of name and keywords, or a list of categories.")
    for number, entry in enumerate(document, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        place = f'{where}category "{name[:80]}"' if isinstance(name, str) and name else f"{where}category {number}"
        source = validated(model, {"parent": parent} | entry if parent and isinstance(entry, dict) else entry, place)
        if source.enabled:
            yield source, place
            yield from _entries(source.subcategories, f"{place}, ", model, source.name)


def category_sentences(settings: Settings) -> dict[str, str]:
    """Return what videos of each category in force are about: name -> sentence; without words, it has none.

    It reads no blocks, and so needs no plugins. No condition depends on a sentence, nor does the version of the set.

    Raises:
        SettingsError: A file cannot be used.
    """
    sources = [source for source, _ in read_sources(category_files(settings), _AnyBlocks) if not source.parent]
    words = {source.name: [*source.description_keywords, *source.keywords][:_SENTENCE_KEYWORDS] for source in sources}
    return {
        source.name: source.sentence or f"{source.name}: {', '.join(words[source.name])}"
        for source in sources
        if source.sentence or words[source.name]
    }


def subcategory_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the subcategories in force. Raises SettingsError."""
    return tuple(source.name for source, _ in read_sources(category_files(settings), _AnyBlocks) if source.parent)
