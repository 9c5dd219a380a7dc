"""tags: what the rules in custom_tags.json and the describing model say about a video, each tag with its evidence.

A tag that both a rule and the model give is attributed to the rule. Facets come after all other tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from vidpipe.stages.analyses.declaration import NO_ANALYSES
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, per_video
from vidpipe.stages.results import MODEL_TAGS, ModelTag, SceneTag, Tag, Tags
from vidpipe.text.words import tag_key

if TYPE_CHECKING:
    from vidpipe.tagging.evaluation import TagMatch
    from vidpipe.tagging.rules import RuleSet

#: The fields of other stages that rules can check. Their order is part of stored specs.
READS: tuple[str, ...] = (
    "ingest.labels", "ingest.names", "ingest.titles", "ingest.urls",
    "metadata.audio", "metadata.bit_depth", "metadata.bit_rate", "metadata.container", "metadata.created",
    "metadata.cues", "metadata.frame_rate", "metadata.hdr", "metadata.height",
    "metadata.orientation", "metadata.resolution", "metadata.rotation", "metadata.size_bytes", "metadata.subtitles",
    "metadata.title", "metadata.variable_frame_rate", "metadata.video_codec", "metadata.width",
    "scenes.count", "scenes.cuts_per_minute", "scenes.damage", "scenes.duration_s", "scenes.mean_scene_s",
    "scenes.stats",
    "descriptions.tags", "descriptions.text",
    "sentiment.label", "sentiment.score",
    "ingest.verdicts", "ingest.source_data", "descriptions.questions", "descriptions.category",
)  # fmt: skip
#: What analyses say of scenes; read if they are enabled.
SCENE_READS = ("faces.frames", "moderation.scenes", "objects.scenes")


@per_video
def give_tags(item: Item, context: StageContext) -> Outcome:
    """Return the tags. Added and removed tags, and changed rules and evidence, are in the outcome's lineage."""
    from vidpipe.stages.rule_facts import rule_facts
    from vidpipe.tagging.evaluation import evaluate

    rules: RuleSet = context.resources["custom_tags"]
    facts = rule_facts(item.fields, analyses=context.resources.get("analyses", NO_ANALYSES))
    tagging = evaluate(rules, facts)
    tags = [Tag(**vars(match)) for match in tagging.tags]
    given = {tag_key(tag.tag) for tag in tags} | tagging.removed
    given |= {other for tag in tags for other in rules.vocabulary.exclusive.get(tag_key(tag.tag), ())}
    suggested: Sequence[ModelTag] = item["descriptions.tags"]
    for suggestion in suggested:
        tag = rules.vocabulary.canonical(suggestion.tag)
        key = tag_key(tag)
        if key and key not in given:
            given.add(key)
            sure = "" if suggestion.confidence is None else f", with confidence {suggestion.confidence:.2g}"
            tags.append(
                Tag(
                    tag=tag,
                    rule=MODEL_TAGS,
                    given_by="model",
                    evidence=f"{item['descriptions.model']} saw it in the frames{sure}.",
                    confidence=suggestion.confidence,
                )
            )
    scene_tags = tuple(SceneTag(**vars(match)) for match in tagging.scenes)
    result = Tags(tags=tuple(sorted(tags, key=lambda tag: tag.facet)), scene_tags=scene_tags)
    previous = item.previous.tags if isinstance(item.previous, Tags) else ()
    changes = tag_changes(previous, result.tags)
    lineage = [{"kind": "tag", **asdict(change), "rules_version": rules.version} for change in changes]
    return Outcome(item.sha256, result, lineage=lineage)


def looks_at(resources: Mapping[str, Any], judged_scenes: bool) -> set[str]:
    """Return what the stage looks at under these rules; see `Stage.looks_at`."""
    from vidpipe.stages.rule_facts import needed_reads

    rules: RuleSet = resources["custom_tags"]
    of_scenes = frozenset[str]() if rules.scene_fields is None and judged_scenes else rules.scene_fields
    needed = needed_reads(rules.fields, of_scenes, resources.get("analyses", NO_ANALYSES))
    return {*needed, "descriptions.tags", "descriptions.model", "ingest.verdicts"}


@dataclass(frozen=True)
class TagChange:
    """One difference between the tags that a video had and has.

    Attributes:
        tag: The tag.
        change: What happened to it.
        rule: The rule that gives it now, or gave it if it was removed.
        evidence: The new evidence.
        was: The old evidence.
        was_rule: The rule that gave it before.
        was_tag: Its old spelling.
    """

    tag: str
    change: Literal["added", "removed", "rule changed", "evidence changed"]
    rule: str
    evidence: str = ""
    was: str = ""
    was_rule: str = ""
    was_tag: str = ""


def tag_changes(before: Iterable[Tag | TagMatch], after: Iterable[Tag | TagMatch]) -> list[TagChange]:
    """Return how two lists of tags differ: removed tags first, then the others in their order."""
    old = {tag_key(tag.tag): tag for tag in before}
    new = {tag_key(tag.tag): tag for tag in after}
    changes = [TagChange(tag.tag, "removed", tag.rule, was=tag.evidence) for key, tag in old.items() if key not in new]
    for key, tag in new.items():
        was = old.get(key)
        if was is None:
            changes.append(TagChange(tag.tag, "added", tag.rule, tag.evidence))
        elif (tag.rule, tag.evidence, tag.tag) != (was.rule, was.evidence, was.tag):
            change: Any = "rule changed" if tag.rule != was.rule else "evidence changed"
            changes.append(TagChange(tag.tag, change, tag.rule, tag.evidence, was.evidence, was.rule, was.tag))
    return changes


STAGE = Stage(
    name="tags",
    job="label",
    description="Tags given by the rules in custom_tags.json and by the describing model, each with who and why.",
    result=Tags,
    function=give_tags,
    reads=(*READS, "descriptions.scenes", "scenes.scenes", "descriptions.model"),
    resources=("custom_tags",),
    code_version="4",
    stored_as="tags",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    reads_previous=True,
    quick=True,
    looks_at=looks_at,
)
