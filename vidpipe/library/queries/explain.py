"""Why a video has a tag or category, or does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import classify
from vidpipe.library.videos import read_fields
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.results import Tag
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.stages.tags import READS
from vidpipe.tagging.categories import CategoryExplanation, build_categories, explain_categories
from vidpipe.tagging.rules import RuleExplanation, build_rules, evaluate, explain


@dataclass(frozen=True)
class Reasons:
    """What each rule and category requires and what was found in a video.

    Attributes:
        video: SHA-256 of the video.
        rules: The current rules.
        categories: The current categories.
        stored_are_out_of_date: Whether the stored tags or category are of other rules or facts.
    """

    video: str
    rules: list[RuleExplanation]
    categories: list[CategoryExplanation]
    stored_are_out_of_date: bool


def reasons(library: Library, sha256: str, specs: Mapping[str, str]) -> Reasons:
    """Explain every rule and category.

    Args:
        library: The library.
        sha256: The video.
        specs: Today's spec of each stage that can run.

    Raises:
        VidpipeError: What the rules read of this video has not been computed.
    """
    settings = library.settings
    analyses = enabled_analyses(settings)
    rules = build_rules(settings, analyses.vocabulary)
    categories = build_categories(settings, analyses.vocabulary)
    stage = library.graph["categories"]
    document = library.videos.get(sha256) or {}
    try:
        reads = (*READS, "descriptions.category", *stage.optional_reads)
        fields: dict[str, Any] = read_fields(library.graph, reads, document, (), stage.optional_reads)
    except KeyError as missing:
        raise VidpipeError(
            f"Video {sha256[:12]} cannot be explained yet: {missing.args[0]} has not been computed.",
            f"Run `vidpipe run {sha256[:12]}`; `vidpipe show {sha256[:12]}` shows failed stages.",
        ) from None
    facts = rule_facts(fields, analyses=analyses)
    given = [Tag(**vars(match)) for match in evaluate(rules, facts)]
    with_tags = rule_facts(fields, given, fields["descriptions.category"], analyses)
    stored = {name: spec for name, spec in specs.items() if name in ("tags", "categories")}
    stale = any(classify(document["stages"][name], spec) != "current" for name, spec in stored.items())
    return Reasons(sha256, explain(rules, facts), explain_categories(categories, with_tags), stale)
