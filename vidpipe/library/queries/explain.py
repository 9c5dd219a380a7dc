"""Why a video has a tag or category, or does not: for the command, the page and the API alike."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any

from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.queries.show import answers_of, described_by
from vidpipe.library.schema import Document
from vidpipe.library.states import classify
from vidpipe.library.videos import read_fields
from vidpipe.settings.analyses import ANALYSES
from vidpipe.stages.analyses.declaration import EnabledAnalyses
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.results import SceneTag, Tag
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.tagging.block import Explanation, PartExplanation
from vidpipe.tagging.categories import CategoryExplanation, build_categories, explain_categories
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.explanation import RuleExplanation, explain, tag_effects
from vidpipe.tagging.rules import RuleSet, build_rules
from vidpipe.text.words import tag_key

#: Field of rules -> stage that makes it of what a model says; analyses declare theirs.
_BY_MODEL = dict.fromkeys(("description", "model_tags", "category", "answers"), "descriptions") | dict.fromkeys(
    ("sentiment", "sentiment_score"), "sentiment"
)


class TagReasons(Explanation):
    """One tag of a video, or one that was asked for.

    Attributes:
        tag: The tag.
        stored: Whether the video has it.
        rule: The rule that gave it; of a tag that is not there, the closest one, if any.
        evidence: What was found.
        since: When it was last added; None: it is not there, or the lineage does not tell.
        rules_version: Version of the rules that gave it.
        right: How many verdicts say that tags of this rule are right.
        wrong: How many say that they are wrong.
        effects: What people, removals, synonyms, the hierarchy and exclusive tags do to it, in sentences.
    """

    tag: str
    stored: bool
    rule: str | None
    evidence: str
    since: datetime | None
    rules_version: str
    right: int
    wrong: int
    effects: tuple[str, ...] = ()


class Reasons(Explanation):
    """What each rule and category requires and what was found in a video.

    Attributes:
        video: SHA-256 of the video.
        rules_version: Version of the current rules.
        tags: The tags of the video; or the tag that was asked for.
        scene_tags: The tags of its scenes, with their times; or likewise.
        rules: The current rules; or those that decide about the tag.
        categories: The current categories; or the category that was asked for.
        scenes: Its scenes by time, to show their thumbnails.
        made_by: Field of rules -> stage, models and prompts that it was made by.
        missing: Field of rules that is unknown -> what would have to run, in a sentence.
        stored_are_out_of_date: Whether the stored tags or category are of other rules or facts.
    """

    video: str
    rules_version: str
    tags: list[TagReasons]
    scene_tags: list[SceneTag]
    rules: list[RuleExplanation]
    categories: list[CategoryExplanation]
    scenes: list[dict[str, Any]]
    made_by: dict[str, dict[str, Any]]
    missing: dict[str, str]
    stored_are_out_of_date: bool


def reasons(
    library: Library, sha256: str, specs: Mapping[str, str], tag: str | None = None, category: str | None = None
) -> Reasons:
    """Explain every rule and category, or those about one tag or category.

    Args:
        library: The library.
        sha256: The video.
        specs: Today's spec of each stage that can run.
        tag: Only this tag.
        category: Only this category.

    Raises:
        SettingsError: No rule decides about the tag, and no category has the name.
        VidpipeError: What the rules read of this video has not been computed.
    """
    analyses = enabled_analyses(library.settings)
    rules = build_rules(library.settings, analyses.vocabulary)
    categories = build_categories(library.settings, analyses.vocabulary)
    document = library.videos.get(sha256) or {}
    scenes = library.videos.scenes([sha256]).get(sha256, [])
    fields = rule_fields(library, sha256, document, scenes)
    facts = rule_facts(fields, analyses=analyses)
    tagging = evaluate(rules, facts)
    given = [Tag(**vars(match)) for match in tagging.tags]
    found = explain(rules, facts)
    with_tags = rule_facts(fields, given, fields["descriptions.category"], analyses)
    of_categories = explain_categories(categories, with_tags)
    stored = {tag_key(one["tag"]): one for one in document.get("tags") or ()}
    scene_tags = [SceneTag(**vars(match)) for match in tagging.scenes]
    wanted = {key: one["tag"] for key, one in stored.items()}
    if tag is not None:
        asked = rules.vocabulary.canonical(tag)
        decisive = {tag_key(asked), *rules.vocabulary.related(tag_key(asked))}
        found = [one for one in found if decisive & set(map(tag_key, (*one.gives, *one.removes)))]
        if not found and tag_key(asked) not in stored:
            raise _unknown("rule gives the tag", tag, (name for rule in rules.rules for name in rule.tags))
        wanted = {tag_key(asked): tag}
        scene_tags = [one for one in scene_tags if tag_key(one.tag) == tag_key(asked)]
    if category is not None:
        of_categories = [one for one in of_categories if tag_key(one.category) == tag_key(category)]
        if not of_categories:
            raise _unknown("category is called", category, (one.name for one in categories.categories))
    now = {name: spec for name, spec in specs.items() if name in ("tags", "categories")}
    blocks = [*(block for one in found for block in (*one.blocks, *one.exclusions)),
              *(block for entry in of_categories for block in entry.blocks)]  # fmt: skip
    made_by, missing = _origins(library, document, analyses, [part for block in blocks for part in block.parts])
    tags = _tags(library, document, wanted, rules, found)
    effects = {one.tag: tuple(tag_effects(rules.vocabulary, one.tag, facts, tagging, found)) for one in tags}
    return Reasons(
        video=sha256, rules_version=rules.version, scene_tags=scene_tags, made_by=made_by, missing=missing,
        tags=[one.model_copy(update={"effects": effects[one.tag]}) for one in tags],
        rules=found if category is None or tag is not None else [],
        categories=of_categories if tag is None or category is not None else [],
        scenes=[{name: one.get(name) for name in ("index", "start_s", "end_s", "thumbnail")} for one in scenes],
        stored_are_out_of_date=any(classify(document["stages"][name], now[name]) != "current" for name in now),
    )  # fmt: skip


def rule_fields(library: Library, sha256: str, document: Document, scenes: Sequence[Document]) -> dict[str, Any]:
    """Return what rules and categories read of a video. Raises VidpipeError if something has not been computed."""
    stages = [library.graph[name] for name in ("tags", "categories")]
    reads = dict.fromkeys(read for stage in stages for read in stage.all_reads if not read.startswith("tags."))
    optional = tuple(read for stage in stages for read in stage.optional_reads)
    try:
        return read_fields(library.graph, tuple(reads), document, scenes, optional)
    except KeyError as missing:
        raise VidpipeError(
            f"Video {sha256[:12]} cannot be explained yet: {missing.args[0]} has not been computed.",
            f"Run `vidpipe run {sha256[:12]}`; `vidpipe show {sha256[:12]}` shows failed stages.",
        ) from None


def _unknown(what: str, name: str, known: Iterable[str]) -> SettingsError:
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[match] for match in difflib.get_close_matches(name[:200].lower(), by_lower, n=3)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(sorted(by_lower.values()))}."
    return SettingsError(f"No {what} '{name[:200]}'.", hint)


def _tags(
    library: Library, document: Document, wanted: Mapping[str, str], rules: RuleSet, found: Sequence[RuleExplanation]
) -> list[TagReasons]:
    """Return the reasons of each wanted tag, without effects."""
    stored = {tag_key(one["tag"]): one for one in document.get("tags") or ()}
    since: dict[str, datetime] = {}
    versions: dict[str, str] = {}
    for row in library.collections["lineage"].find({"video": document["_id"], "kind": "tag"}).sort("at", 1):
        key = tag_key(row["tag"])
        versions[key] = row.get("rules_version") or ""
        if row["change"] == "added":
            since[key] = row["at"]
    group = {"_id": {"rule": "$rule", "verdict": "$verdict"}, "n": {"$sum": 1}}
    told = {(row["_id"].get("rule"), row["_id"].get("verdict")): row["n"]
            for row in library.collections["verdicts"].aggregate([{"$group": group}])}  # fmt: skip
    made = []
    for key, tag in wanted.items():
        one = stored.get(key, {})
        narrower = {key, *(child for child, tags in rules.vocabulary.broader.items() if key in map(tag_key, tags))}
        giving = [rule for rule in found if narrower & set(map(tag_key, rule.gives))]
        nearest = max(giving, key=lambda rule: rule.closeness).rule if giving else None
        rule = one.get("rule", nearest)
        made.append(TagReasons(
            tag=tag, stored=bool(one), rule=rule, evidence=one.get("evidence", ""),
            since=since.get(key) if one else None, rules_version=versions.get(key, "") if one else "",
            right=told.get((rule, "yes"), 0), wrong=told.get((rule, "no"), 0),
        ))  # fmt: skip
    return made


def _origins(
    library: Library, document: Document, analyses: EnabledAnalyses, parts: Iterable[PartExplanation]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what made each field that the parts check, and what would have to run for those that are not known."""
    own = [import_module(f"vidpipe.stages.analyses.{name}").ANALYSIS for name in ANALYSES]
    declared = [*own, *analyses.analyses]
    stages = {spec.spec.name: one.stage for one in declared for spec in one.rule_fields}
    stages |= {text.name: one.stage for one in declared for text in one.evidence}
    stages |= {name: library.graph[stage] for name, stage in _BY_MODEL.items() if stage in library.graph}
    video = document["_id"][:12]
    answers = {f"{one['prompt_id']} {one['prompt_hash'] or one['template']}"
               for one in answers_of(library, document["_id"]) if one["in_force"]}  # fmt: skip
    made_by: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(name for part in parts for name in (part.field, *part.unknown)):
        stage = stages.get(name.partition(".")[0])
        result = document.get(stage.key) if stage else None
        if stage is None:
            missing[name] = "the file or the picture does not tell it"
        elif result is None:
            todo = f"`vidpipe run {video} --stages {stage.name}`"
            enable = "" if stage.name in library.graph else f"add {stage.name} to Enabled in [Analyses], then "
            missing[name] = f"the stage {stage.name} has not run: {enable}{todo}"
        else:
            described = stage.name == "descriptions"
            models = [described_by(result)] if described else [one["name"] for one in result.get("models") or ()]
            prompts = sorted(answers) if described else []
            made_by[name.partition(".")[0]] = {"stage": stage.name, "models": models, "prompts": prompts}
            missing[name] = f"the stage {stage.name} has run, but gave no value"
            if name.startswith("answers."):
                missing[name] += "; rules/questions.json says what the model is asked"
    unknown = {name for part in parts for name in part.unknown}
    return made_by, {name: why for name, why in missing.items() if name in unknown}
