"""Categories: reads rules/categories.json, and decides to which of them a video belongs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any

from pydantic import ConfigDict, Field, create_model

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.block import Block, Explanation, PartExplanation
from vidpipe.tagging.blocks import BLOCKS, TagBlock, tag_key
from vidpipe.tagging.facts import OWN_VOCABULARY, RuleFacts, Vocabulary
from vidpipe.tagging.rules import BlockExplanation, BlocksSource, explain_blocks, with_texts
from vidpipe.tagging.rules_file import (
    RulesFileModel,
    Text,
    Texts,
    Versioned,
    compiled,
    load_named,
    parse_json,
    unique_names,
    validated,
    value_under,
)

UNCLASSIFIED = "Unclassified"
#: Name of the block, and of its weight in the file.
MODEL_CATEGORY = "model_category"
#: That stand for the sentence of a category without one.
_SENTENCE_KEYWORDS = 12

#: What one hit in a block counts: words of a model and tags say more than a measurement, a name, a detected object or
#: spoken words, of which there are many. The model's own choice of a category counts as two words.
DEFAULT_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(BLOCKS, 0.5),
    **dict.fromkeys(("tags", "description_keywords", "ai_generated_tags", "labels"), 1.0),
    MODEL_CATEGORY: 2.0,
}


@cache
def _weights_source(vocabulary: Vocabulary) -> type[RulesFileModel]:
    """Return the model of a category's `weights`."""
    defaults = dict.fromkeys(vocabulary.keyword_blocks, 0.5) | DEFAULT_WEIGHTS
    fields: dict[str, Any] = {
        name: (Annotated[float, Field(gt=0, le=1000)], weight) for name, weight in defaults.items()
    }
    return create_model("WeightsSource", __base__=RulesFileModel, **fields)


class CategorySource(BlocksSource):
    """One category as in the file. `keywords` is short for `description_keywords`."""

    name: Text
    sentence: Text = ""
    keywords: Texts = Field(default=[])
    tags: Texts = Field(default=[])
    weights: dict[str, Any] = Field(default={})
    min_score: float = Field(0.0, ge=0)


class _AnyBlocks(CategorySource):
    """One category, perhaps with keys that plugins add."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True)
class ModelCategoryBlock(Block):
    """Matches if the describing model chose this category. Every category has this block; no file contains it."""

    category: str
    name: str = MODEL_CATEGORY

    def hits(self, facts: RuleFacts) -> list[str]:
        """Return this category if the model chose it."""
        return [self.category] if tag_key(facts.model_category) == tag_key(self.category) else []

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause about the model's choice."""
        sure = "" if facts.model_confidence is None else f", with confidence {facts.model_confidence:.2g}"
        return f"the model proposed it{sure}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return what the model chose."""
        found = f'"{facts.model_category}"' if facts.model_category else "the model proposed none"
        return (PartExplanation(asks=f'"{self.category}"', found=found, matched=self.matches(facts)),)

    def normal(self) -> Any:
        """Return the category's name."""
        return self.category


@dataclass(frozen=True)
class Category:
    """One category.

    Attributes:
        name: Its name.
        blocks: What it checks.
        weights: Block name -> what one hit in it counts.
        min_score: Lowest score of a match.
    """

    name: str
    blocks: tuple[Block, ...]
    weights: Mapping[str, float]
    min_score: float = 0.0

    def score(self, facts: RuleFacts) -> float:
        """Return the sum of all weighted hits."""
        return round(sum(self.weights[block.name] * len(block.hits(facts)) for block in self.blocks), 3)

    def matches(self, facts: RuleFacts) -> bool:
        """Return whether the score is positive and reaches `min_score`."""
        score = self.score(facts)
        return score > 0 and score >= self.min_score

    def reason(self, facts: RuleFacts) -> str:
        """Return a sentence without its full stop; it says so if only measurements support the category."""
        hits = [block for block in self.blocks if block.matches(facts)]
        reason = "; ".join(block.evidence(facts) for block in hits)
        measured = {block.name for block in hits} == {"metadata_conditions"}
        return f"a hint from measurements: {reason}" if measured else reason

    def normal(self) -> dict[str, Any]:
        """Return the category as in a rules file."""
        body: dict[str, Any] = {"name": self.name} | {block.name: block.normal() for block in self.blocks}
        weights = {name: self.weights[name] for name in body if self.weights.get(name) != DEFAULT_WEIGHTS.get(name)}
        del body[MODEL_CATEGORY]
        body |= {"weights": weights} if weights else {}
        return body | ({"min_score": self.min_score} if self.min_score else {})


@dataclass(frozen=True)
class CategorySet(Versioned):
    """Categories in the order of their file, which decides between equal scores."""

    categories: tuple[Category, ...]

    def normal(self) -> dict[str, Any]:
        """Return the categories as in a rules file."""
        return {"categories": [category.normal() for category in self.categories]}


@dataclass(frozen=True)
class Verdict:
    """The category of a video.

    Attributes:
        category: The best match, or "Unclassified" (score 0) if none matched.
        score: Its score.
        reason: Why, as a sentence without its full stop.
        candidates: (name, score) of all matches, best first.
    """

    category: str
    score: float
    reason: str
    candidates: tuple[tuple[str, float], ...] = ()


def classify(categories: CategorySet, facts: RuleFacts) -> Verdict:
    """Return the category with the highest score; the first in the file if several have it."""
    matching = [(category, category.score(facts)) for category in categories.categories if category.matches(facts)]
    if not matching:
        return Verdict(UNCLASSIFIED, 0.0, f"none of the {len(categories.categories)} categories matched")
    ranked = sorted(matching, key=lambda pair: -pair[1])
    best, score = ranked[0]
    return Verdict(best.name, score, best.reason(facts), tuple((category.name, score) for category, score in ranked))


def suggested(categories: CategorySet, nearest: str, runner_up: str, margin: float) -> Verdict | None:
    """Return the verdict on a video that matches no category, but is nearest in meaning to one; None: there is none."""
    if nearest not in (category.name for category in categories.categories):
        return None
    reason = f'a suggestion by meaning: nearest to the sentence of "{nearest}", by {margin:.2f} before "{runner_up}"'
    return Verdict(nearest, 0.0, f"{reason}; none of the {len(categories.categories)} categories matched")


class CategoryExplanation(Explanation):
    """One category.

    Attributes:
        category: Its name.
        matched: Whether the score is positive and reaches `min_score`.
        score: Sum of all weighted hits.
        min_score: Lowest score of a match.
        blocks: Its blocks.
    """

    category: str
    matched: bool
    score: float
    min_score: float
    blocks: tuple[BlockExplanation, ...]


def explain_categories(categories: CategorySet, facts: RuleFacts) -> list[CategoryExplanation]:
    """Explain every category, in the order of the file, whether it matched or not."""
    return [
        CategoryExplanation(
            category=category.name,
            matched=category.matches(facts),
            score=category.score(facts),
            min_score=category.min_score,
            blocks=explain_blocks(category.blocks, facts),
        )
        for category in categories.categories
    ]


def build_categories(settings: Settings, vocabulary: Vocabulary = OWN_VOCABULARY) -> CategorySet:
    """Return the categories in force. Raises SettingsError."""
    return load_named(settings, "categories", partial(parse_categories, vocabulary=vocabulary))


def category_sentences(settings: Settings) -> dict[str, str]:
    """Return what videos of each category in force are about: name -> sentence; without words, it has none.

    It reads no blocks, and so needs no plugins. No condition depends on a sentence, nor does the version of the set.

    Raises:
        SettingsError: The file cannot be used.
    """
    sources = load_named(settings, "categories", partial(_sources, model=_AnyBlocks))
    words = {
        source.name: [*source.description_keywords, *source.keywords][:_SENTENCE_KEYWORDS] for source, _ in sources
    }
    return {
        source.name: source.sentence or f"{source.name}: {', '.join(words[source.name])}"
        for source, _ in sources
        if source.sentence or words[source.name]
    }


def parse_categories(text: str, shown: str = "categories.json", vocabulary: Vocabulary = OWN_VOCABULARY) -> CategorySet:
    """Return the categories in a JSON text.

    Args:
        text: A list of objects, or an object of name -> keywords or name -> object; either may be under the key
            "categories".
        shown: What error messages call the file.
        vocabulary: What plugins add to the rule language.

    Raises:
        SettingsError: It is invalid; the message names file, category and key, what was found and what is allowed.
    """
    sources = _sources(text, shown, with_texts(CategorySource, vocabulary))
    return CategorySet(tuple(_category(source, place, vocabulary) for source, place in sources))


def _sources(text: str, shown: str, model: type[CategorySource]) -> list[tuple[CategorySource, str]]:
    """Return each enabled category with what error messages call it."""
    document = parse_json(text, shown)
    if isinstance(document, dict) and isinstance(document.get("categories"), dict | list):
        document = value_under(document, "categories", shown)
    if isinstance(document, dict):
        document = [
            {"name": name} | (body if isinstance(body, dict) else {"keywords": body}) for name, body in document.items()
        ]
    if not isinstance(document, list):
        raise SettingsError(f"{shown}: expected an object of name and keywords, or a list of categories.")
    places = [_place(shown, number, one) for number, one in enumerate(document, 1)]
    sources = [validated(model, one, place) for one, place in zip(document, places, strict=True)]
    enabled = [(source, place) for source, place in zip(sources, places, strict=True) if source.enabled]
    unique_names(((source.name, f"category {number}") for number, (source, _) in enumerate(enabled, 1)), shown)
    return enabled


def _place(shown: str, number: int, source: Any) -> str:
    name = source.get("name") if isinstance(source, dict) else None
    return f'{shown}, category "{name[:80]}"' if isinstance(name, str) and name else f"{shown}, category {number}"


def _category(source: CategorySource, where: str, vocabulary: Vocabulary) -> Category:
    if source.name.casefold() == UNCLASSIFIED.casefold():
        raise SettingsError(f"{where}: this name is reserved for videos without a category.", "Choose another name.")
    merged = source.model_copy(update={"description_keywords": [*source.description_keywords, *source.keywords]})
    blocks = merged.blocks(where, vocabulary)
    if source.tags:
        counted = [tag for block in blocks if isinstance(block, TagBlock) for tag in block.wanted]
        blocks = (compiled(lambda: TagBlock.parse("tags", source.tags, counted), where, "tags"), *blocks)
    if not blocks:
        raise SettingsError(
            f"{where} has no conditions, so it would never match.",
            f"Add keywords, tags or one of {', '.join(BLOCKS)}.",
        )
    given = {"description_keywords" if name == "keywords" else name: value for name, value in source.weights.items()}
    weights = validated(_weights_source(vocabulary), given, f"{where}, weights").model_dump(exclude={"note"})
    return Category(source.name, (*blocks, ModelCategoryBlock(source.name)), weights, source.min_score)
