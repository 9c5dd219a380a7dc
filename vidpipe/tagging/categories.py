"""Categories: the model of rules/categories.json, and which of them a video belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vidpipe.errors import SettingsError
from vidpipe.tagging.blocks import BLOCKS, Block, Part, TagBlock, tag_key
from vidpipe.tagging.facts import TagFacts
from vidpipe.tagging.rules import BlocksSource
from vidpipe.tagging.rules_file import (
    Source,
    Text,
    Texts,
    Versioned,
    compiled,
    parse_json,
    read_text,
    unique_names,
    validated,
)

UNCLASSIFIED = "Unclassified"
#: Name of the block, and of its weight in the file.
MODEL_CATEGORY = "model_category"

#: What one hit in a block is worth: words of a model and tags say more than a measurement or a name,
#: and than words that are spoken, of which there are many. The model's own choice of a category is worth two words.
DEFAULT_WEIGHTS: dict[str, float] = {
    "tags": 1.0,
    "description_keywords": 1.0,
    "subtitle_keywords": 0.5,
    "ai_generated_tags": 1.0,
    "labels": 1.0,
    "filename_patterns": 0.5,
    "source_patterns": 0.5,
    "metadata_conditions": 0.5,
    MODEL_CATEGORY: 2.0,
}


Weight = Annotated[float, Field(gt=0, le=1000)]


class WeightsSource(Source):
    """Other values than the default weights."""

    tags: Weight = DEFAULT_WEIGHTS["tags"]
    description_keywords: Weight = DEFAULT_WEIGHTS["description_keywords"]
    subtitle_keywords: Weight = DEFAULT_WEIGHTS["subtitle_keywords"]
    ai_generated_tags: Weight = DEFAULT_WEIGHTS["ai_generated_tags"]
    labels: Weight = DEFAULT_WEIGHTS["labels"]
    filename_patterns: Weight = DEFAULT_WEIGHTS["filename_patterns"]
    source_patterns: Weight = DEFAULT_WEIGHTS["source_patterns"]
    metadata_conditions: Weight = DEFAULT_WEIGHTS["metadata_conditions"]
    model_category: Weight = DEFAULT_WEIGHTS[MODEL_CATEGORY]


class CategorySource(BlocksSource):
    """One category as the file holds it. `keywords` is `description_keywords` under a shorter name."""

    name: Text
    keywords: Texts = Field(default=[])
    tags: Texts = Field(default=[])
    weights: dict[str, Any] = Field(default={})
    min_score: float = Field(0.0, ge=0)


@dataclass(frozen=True)
class ModelCategoryBlock:
    """Matches when the describing model chose this category. Every category has this block; no file contains it."""

    category: str
    name: str = MODEL_CATEGORY

    def matches(self, facts: TagFacts) -> bool:
        return tag_key(facts.model_category) == tag_key(self.category)

    def count(self, facts: TagFacts) -> int:
        return int(self.matches(facts))

    def evidence(self, facts: TagFacts) -> str:
        sure = "" if facts.model_confidence is None else f", with confidence {facts.model_confidence:.2g}"
        return f"the model proposed it{sure}"

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        found = f'"{facts.model_category}"' if facts.model_category else "the model proposed none"
        return (Part(f'"{self.category}"', found, self.matches(facts)),)

    def normal(self) -> Any:
        return self.category


@dataclass(frozen=True)
class Category:
    """weights: block name -> what one hit in it is worth. min_score: less than that is no match."""

    name: str
    blocks: tuple[Block, ...]
    weights: Mapping[str, float]
    min_score: float = 0.0

    def score(self, facts: TagFacts) -> float:
        return round(sum(self.weights[block.name] * block.count(facts) for block in self.blocks), 3)

    def matches(self, facts: TagFacts) -> bool:
        score = self.score(facts)
        return score > 0 and score >= self.min_score

    def reason(self, facts: TagFacts) -> str:
        """A sentence without its full stop; it says so where nothing but measurements spoke for the category."""
        hits = [block for block in self.blocks if block.matches(facts)]
        reason = "; ".join(block.evidence(facts) for block in hits)
        return (
            f"a hint from measurements: {reason}"
            if {block.name for block in hits} == {"metadata_conditions"}
            else reason
        )

    def normal(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.name} | {block.name: block.normal() for block in self.blocks}
        weights = {name: self.weights[name] for name in body if self.weights.get(name) != DEFAULT_WEIGHTS.get(name)}
        del body[MODEL_CATEGORY]
        return (
            body | ({"weights": weights} if weights else {}) | ({"min_score": self.min_score} if self.min_score else {})
        )


@dataclass(frozen=True)
class CategorySet(Versioned):
    """Categories in the order of their file, which decides between equal scores."""

    categories: tuple[Category, ...]

    def normal(self) -> dict[str, Any]:
        return {"categories": [category.normal() for category in self.categories]}


@dataclass(frozen=True)
class Verdict:
    """category:   the best one, or "Unclassified" (score 0) where none matched
    candidates: all that matched, best first
    """

    category: str
    score: float
    reason: str
    candidates: tuple[tuple[str, float], ...] = ()


def classify(categories: CategorySet, facts: TagFacts) -> Verdict:
    """The category with the highest score; of equal ones the first in the file."""
    matching = [(category, category.score(facts)) for category in categories.categories if category.matches(facts)]
    if not matching:
        return Verdict(UNCLASSIFIED, 0.0, f"none of the {len(categories.categories)} categories matched")
    ranked = sorted(matching, key=lambda pair: -pair[1])
    best, score = ranked[0]
    return Verdict(best.name, score, best.reason(facts), tuple((category.name, score) for category, score in ranked))


def load_categories(path: Path, shown: str = "") -> CategorySet:
    """The categories in the file at `path`; `shown` is what errors call it. Raises SettingsError."""
    shown = shown or str(path)
    return parse_categories(read_text(path, shown, "Categories"), shown)


def parse_categories(text: str, shown: str = "categories.json") -> CategorySet:
    """The categories in a JSON text: a list of objects, or an object of name -> keywords or name -> object;
    either alone or under the key "categories".

    Raises SettingsError that names the file, the category, the key, what was found and what is allowed.
    """
    document = parse_json(text, shown)
    if isinstance(document, dict) and isinstance(document.get("categories"), dict | list):
        if unknown := sorted(set(document) - {"categories", "note"}):
            raise SettingsError(f'{shown}: "{unknown[0]}" stands beside "categories"; only "note" may.')
        document = document["categories"]
    if isinstance(document, dict):
        document = [_named(name, body) for name, body in document.items()]
    if not isinstance(document, list):
        raise SettingsError(f"{shown}: expected an object of name and keywords, or a list of categories.")
    places = [_place(shown, number, one) for number, one in enumerate(document, 1)]
    sources = [validated(CategorySource, one, place) for one, place in zip(document, places, strict=True)]
    enabled = [(source, place) for source, place in zip(sources, places, strict=True) if source.enabled]
    unique_names(((source.name, f"category {number}") for number, (source, _) in enumerate(enabled, 1)), shown)
    return CategorySet(tuple(_category(source, place) for source, place in enabled))


def _named(name: str, body: Any) -> Any:
    if isinstance(body, dict):
        return {"name": name} | body
    return {"name": name, "keywords": body}


def _place(shown: str, number: int, source: Any) -> str:
    name = source.get("name") if isinstance(source, dict) else None
    return f'{shown}, category "{name[:80]}"' if isinstance(name, str) and name else f"{shown}, category {number}"


def _category(source: CategorySource, where: str) -> Category:
    if source.name.casefold() == UNCLASSIFIED.casefold():
        raise SettingsError(f"{where}: this name is kept for videos that no category matches.", "Choose another name.")
    merged = source.model_copy(update={"description_keywords": [*source.description_keywords, *source.keywords]})
    blocks = merged.blocks(where)
    if source.tags:
        counted = [tag for block in blocks if isinstance(block, TagBlock) for tag in block.wanted]
        blocks = (compiled(lambda: TagBlock.parse("tags", source.tags, counted), where, "tags"), *blocks)
    if not blocks:
        raise SettingsError(
            f"{where} asks for nothing, so no video would ever be in it.",
            f"Give it keywords, tags or one of {', '.join(BLOCKS)}.",
        )
    given = {"description_keywords" if name == "keywords" else name: value for name, value in source.weights.items()}
    weights = validated(WeightsSource, given, f"{where}, weights").model_dump(exclude={"note"})
    return Category(source.name, (*blocks, ModelCategoryBlock(source.name)), weights, source.min_score)
