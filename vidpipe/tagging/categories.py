"""Categories: reads them from the files in rules/, and decides to which of them a video belongs."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Annotated, Any

from pydantic import Field, create_model

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.block import Block, Explanation, PartExplanation
from vidpipe.tagging.blocks import BLOCKS, TagBlock
from vidpipe.tagging.category_files import CategorySource, category_files, read_sources
from vidpipe.tagging.explanation import BlockExplanation
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import OWN_VOCABULARY, Vocabulary
from vidpipe.tagging.rule_files import RuleFile, Versioned
from vidpipe.tagging.rules import with_texts
from vidpipe.tagging.signals import Signal
from vidpipe.tagging.validation import RulesFileModel, compiled, validated
from vidpipe.text.words import tag_key

UNCLASSIFIED = "Unclassified"
#: Name of the block, and of its weight in the file.
MODEL_CATEGORY = "model_category"

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
    number = Annotated[float, Field(gt=0, le=1000)]
    fields: dict[str, Any] = {name: (number, weight) for name, weight in defaults.items()}
    return create_model("WeightsSource", __base__=RulesFileModel, **fields)


@dataclass(frozen=True)
class ModelCategoryBlock(Block):
    """Matches if the describing model chose this category. Every category has this block; no file contains it."""

    category: str
    name: str = MODEL_CATEGORY

    fields = frozenset({"category"})

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
    """A category or subcategory.

    Attributes:
        name: Its name.
        blocks: What it checks, signals included.
        weights: Block name -> what one hit in it counts.
        min_score: Lowest score of a match.
        parent: Of a subcategory: the name of its category.
        excludes: What must not be true.
    """

    name: str
    blocks: tuple[Block, ...]
    weights: Mapping[str, float]
    min_score: float = 0.0
    parent: str = ""
    excludes: tuple[Signal, ...] = ()

    def score(self, facts: RuleFacts) -> float | None:
        """Return the sum of all weighted hits, without those of subcategories; None: the category is excluded."""
        if any(one.truth(facts) for one in self.excludes):
            return None
        return round(sum(self.weights[block.name] * len(block.hits(facts)) for block in self.blocks), 3)

    def reason(self, facts: RuleFacts) -> str:
        """Return a sentence without its full stop; it says so if only measurements support the category."""
        hits = [block for block in self.blocks if block.matches(facts)]
        reason = "; ".join(block.evidence(facts) for block in hits)
        return f"a hint from measurements: {reason}" if hits and all(block.measured for block in hits) else reason

    def normal(self) -> dict[str, Any]:
        """Return the category as in a rules file."""
        signals = [block for block in self.blocks if isinstance(block, Signal)]
        body: dict[str, Any] = {"name": self.name}
        body |= {block.name: block.normal() for block in self.blocks if block not in signals}
        weights = {name: self.weights[name] for name in body if self.weights.get(name) != DEFAULT_WEIGHTS.get(name)}
        body |= {MODEL_CATEGORY: None, "weights": weights, "min_score": self.min_score, "parent": self.parent}
        body |= {"signals": [*map(Signal.normal, signals)], "excludes": [*map(Signal.normal, self.excludes)]}
        return {key: value for key, value in body.items() if value}


@dataclass(frozen=True)
class CategorySet(Versioned):
    """Categories and subcategories in the order of their files, which decides between equal scores."""

    categories: tuple[Category, ...]

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the facts that the categories check."""
        return frozenset().union(
            *(block.fields for category in self.categories for block in (*category.blocks, *category.excludes))
        )

    def normal(self) -> dict[str, Any]:
        """Return the categories as in a rules file."""
        return {"categories": [category.normal() for category in self.categories]}

    def scores(self, facts: RuleFacts) -> dict[str, float]:
        """Return the score by name; that of a category includes that of its best subcategory."""
        own = {category.name: category.score(facts) for category in self.categories}
        best: dict[str, float] = {}
        for category in self.categories:
            best[category.parent] = max(best.get(category.parent, 0.0), own[category.name] or 0.0)
        return {name: 0.0 if score is None else round(score + best.get(name, 0.0), 3) for name, score in own.items()}

    def ranked(self, scores: Mapping[str, float], parent: str = "") -> list[Category]:
        """Return the categories, or the subcategories of `parent`, with a positive score, best first."""
        found = [one for one in self.categories if one.parent == parent and scores[one.name] > 0]
        return sorted(found, key=lambda one: -scores[one.name])

    def matching(self, scores: Mapping[str, float], parent: str = "") -> list[Category]:
        """Return those of them that reach their `min_score`."""
        return [one for one in self.ranked(scores, parent) if scores[one.name] >= one.min_score]

    @cached_property
    def of_blocks(self) -> bool:
        """Whether there are blocks only; results are then stored as before there was anything else."""
        return not any(one.parent or one.excludes or {*map(type, one.blocks)} & {Signal} for one in self.categories)


@dataclass(frozen=True)
class Verdict:
    """The category of a video.

    Attributes:
        category: The best match, or "Unclassified" (score 0) if none matched.
        score: Its score.
        reason: Why, as a sentence without its full stop.
        candidates: (name, score) of all matches, best first.
        subcategory: The best match within the category; None: none matched.
        other_reasons: Why the candidates after the first matched, in their order.
    """

    category: str
    score: float
    reason: str
    candidates: tuple[tuple[str, float], ...] = ()
    subcategory: str | None = None
    other_reasons: tuple[str, ...] = ()


def classify(categories: CategorySet, facts: RuleFacts) -> Verdict:
    """Return the category with the highest score, and within it the subcategory with the highest score."""
    scores = categories.scores(facts)
    found = categories.matching(scores)
    if not found:
        return Verdict(UNCLASSIFIED, 0.0, f"none of the {len(categories.categories)} categories matched")
    reasons = []
    for category in found[:1] if categories.of_blocks else found:
        best = [f"{one.name}: {one.reason(facts)}" for one in categories.ranked(scores, category.name)[:1]]
        reasons.append("; ".join(filter(None, [category.reason(facts), *best])))
    name = found[0].name
    return Verdict(
        name, scores[name], reasons[0], tuple((one.name, scores[one.name]) for one in found),
        next((one.name for one in categories.matching(scores, name)), None), tuple(reasons[1:]),
    )  # fmt: skip


def suggested(categories: CategorySet, nearest: str, runner_up: str, margin: float) -> Verdict | None:
    """Return the verdict on a video that matches no category, but is nearest in meaning to one; None: there is none."""
    if nearest not in (category.name for category in categories.categories):
        return None
    reason = f'a suggestion by meaning: nearest to the sentence of "{nearest}", by {margin:.2f} before "{runner_up}"'
    return Verdict(nearest, 0.0, f"{reason}; none of the {len(categories.categories)} categories matched")


class SignalExplanation(BlockExplanation):
    """One block or signal of a category, or what excludes videos from it.

    Attributes:
        weight: What one hit counts.
        contribution: What it adds to the score; what is unknown adds nothing.
    """

    weight: float
    contribution: float


class CategoryExplanation(Explanation):
    """One category or subcategory.

    Attributes:
        category: Its name.
        parent: Of a subcategory: its category.
        matched: Whether the score is positive and reaches `min_score`.
        score: Sum of all contributions; 0 if it is excluded.
        min_score: Lowest score of a match.
        rival: The best other match, among the subcategories of the same category or among all categories.
        margin: By how much its score exceeds the rival's; None: there is no other match.
        blocks: What adds to its score.
    """

    category: str
    parent: str = ""
    matched: bool
    score: float
    min_score: float
    rival: str = ""
    margin: float | None = None
    blocks: tuple[SignalExplanation, ...]


def explain_categories(categories: CategorySet, facts: RuleFacts) -> list[CategoryExplanation]:
    """Explain every category and subcategory, in the order of the files, whether it matched or not."""
    scores = categories.scores(facts)
    return [
        CategoryExplanation(
            category=category.name, parent=category.parent, matched=category in matching, score=scores[category.name],
            min_score=category.min_score, rival=rival,
            margin=round(scores[category.name] - scores[rival], 3) if rival else None,
            blocks=tuple(_explained(category, {one.name: scores[one.name] for one in best}, facts)),
        )
        for category in categories.categories
        for matching in (categories.matching(scores, category.parent),)
        for rival in (next((one.name for one in matching if one is not category), ""),)
        for best in (categories.ranked(scores, category.name)[:1],)
    ]  # fmt: skip


def _explained(category: Category, best: Mapping[str, float], facts: RuleFacts) -> Iterator[SignalExplanation]:
    checks = [(block.name, block, category.weights[block.name]) for block in category.blocks]
    for name, block, weight in (*checks, *((f"excluded by {one.name}", one, 0.0) for one in category.excludes)):
        adds = round(weight * len(block.hits(facts)), 3)
        yield SignalExplanation(
            block=name, matched=block.truth(facts), parts=block.parts(facts), weight=weight, contribution=adds
        )
    for name, adds in best.items():
        parts = (PartExplanation(asks="the best of them", found=name, matched=True),)
        yield SignalExplanation(block="subcategories", matched=True, parts=parts, weight=1, contribution=adds)


def build_categories(settings: Settings, vocabulary: Vocabulary = OWN_VOCABULARY) -> CategorySet:
    """Return the categories in force. Raises SettingsError."""
    return parse_category_set(category_files(settings), vocabulary)


def parse_category_set(files: Sequence[RuleFile], vocabulary: Vocabulary = OWN_VOCABULARY) -> CategorySet:
    """Return the categories of several files; the first one decides between equal scores.

    Args:
        files: The files (see `category_file`).
        vocabulary: What plugins add to the rule language.

    Raises:
        SettingsError: One is invalid; the message names file, category and key, what was found and what is allowed.
    """
    sources = read_sources(files, with_texts(CategorySource, vocabulary))
    parents = {source.parent for source, _ in sources}
    return CategorySet(tuple(_category(source, place, vocabulary, parents) for source, place in sources))


def _category(source: CategorySource, where: str, vocabulary: Vocabulary, parents: Container[str]) -> Category:
    if source.name.casefold() == UNCLASSIFIED.casefold():
        raise SettingsError(f"{where}: this name is reserved for videos without a category.", "Choose another name.")
    merged = source.model_copy(update={"description_keywords": [*source.description_keywords, *source.keywords]})
    blocks = merged.blocks(where, vocabulary)
    if source.tags:
        counted = [tag for block in blocks if isinstance(block, TagBlock) for tag in block.wanted]
        blocks = (compiled(lambda: TagBlock.parse("tags", source.tags, counted), where, "tags"), *blocks)
    signals, excludes = (
        tuple(compiled(partial(Signal.parse, one, number, vocabulary), where, f"{key}, entry {number}")
              for number, one in enumerate(listed, 1))
        for key, listed in (("signals", source.signals), ("excludes", source.excludes))
    )  # fmt: skip
    if not (blocks or signals or source.name in parents):
        hint = f"Add keywords, tags or one of {', '.join(BLOCKS)}."
        raise SettingsError(f"{where} has no conditions, so it would never match.", hint)
    given = {"description_keywords" if name == "keywords" else name: value for name, value in source.weights.items()}
    weights = validated(_weights_source(vocabulary), given, f"{where}, weights").model_dump(exclude={"note"})
    weights |= {signal.name: signal.source.weight for signal in signals}
    blocks = (*blocks, ModelCategoryBlock(source.name), *signals)
    return Category(source.name, blocks, weights, source.min_score, source.parent, excludes)
