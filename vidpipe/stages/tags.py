"""tags: what the rules in custom_tags.json and the describing model say about a video, each tag with its evidence.

A tag that both a rule and the model give is attributed to the rule. Facets come after all other tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from vidpipe.stages.analyses.declaration import NO_ANALYSES
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, per_video
from vidpipe.stages.results import MODEL_TAGS, ModelTag, Tag, Tags

if TYPE_CHECKING:
    from vidpipe.tagging.rules import RuleSet, TagMatch

#: The fields of other stages that rules can check; `rule_facts` needs all of them. Their order is part of stored specs.
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
)  # fmt: skip


@per_video
def give_tags(item: Item, context: StageContext) -> Outcome:
    """Return the tags. Added and removed tags, and changed rules and evidence, are in the outcome's lineage."""
    from vidpipe.stages.rule_facts import rule_facts
    from vidpipe.tagging.blocks import tag_key
    from vidpipe.tagging.rules import evaluate

    rules: RuleSet = context.resources["custom_tags"]
    facts = rule_facts(item.fields, analyses=context.resources.get("analyses", NO_ANALYSES))
    tags = [Tag(**vars(match)) for match in evaluate(rules, facts)]
    given = {tag_key(tag.tag) for tag in tags}
    suggested: Sequence[ModelTag] = item["descriptions.tags"]
    for suggestion in suggested:
        key = tag_key(suggestion.tag)
        if key and key not in given:
            given.add(key)
            sure = "" if suggestion.confidence is None else f", with confidence {suggestion.confidence:.2g}"
            tags.append(
                Tag(
                    tag=suggestion.tag,
                    rule=MODEL_TAGS,
                    given_by="model",
                    evidence=f"{item['descriptions.model']} saw it in the frames{sure}.",
                    confidence=suggestion.confidence,
                )
            )
    result = Tags(tags=tuple(sorted(tags, key=lambda tag: tag.facet)))
    previous = item.previous.tags if isinstance(item.previous, Tags) else ()
    changes = tag_changes(previous, result.tags)
    lineage = [{"kind": "tag", **asdict(change), "rules_version": rules.version} for change in changes]
    return Outcome(item.sha256, result, lineage=lineage)


@dataclass(frozen=True)
class TagChange:
    """One difference between the tags that a video had and has.

    Attributes:
        tag: The tag.
        change: What happened to it.
        rule: The rule that gives it now, or gave it if it was removed.
        evidence: The new evidence.
        was: The old evidence.
    """

    tag: str
    change: Literal["added", "removed", "rule changed", "evidence changed"]
    rule: str
    evidence: str = ""
    was: str = ""


def tag_changes(before: Iterable[Tag | TagMatch], after: Iterable[Tag | TagMatch]) -> list[TagChange]:
    """Return how two lists of tags differ: removed tags first, then the others in their order."""
    from vidpipe.tagging.blocks import tag_key

    old = {tag_key(tag.tag): tag for tag in before}
    new = {tag_key(tag.tag): tag for tag in after}
    changes = [TagChange(tag.tag, "removed", tag.rule, was=tag.evidence) for key, tag in old.items() if key not in new]
    for key, tag in new.items():
        if key not in old:
            changes.append(TagChange(tag.tag, "added", tag.rule, tag.evidence))
        elif tag.rule != old[key].rule:
            changes.append(TagChange(tag.tag, "rule changed", tag.rule, tag.evidence, old[key].evidence))
        elif tag.evidence != old[key].evidence:
            changes.append(TagChange(tag.tag, "evidence changed", tag.rule, tag.evidence, old[key].evidence))
    return changes


STAGE = Stage(
    name="tags",
    job="label",
    description="Tags given by the rules in custom_tags.json and by the describing model, each with who and why.",
    result=Tags,
    function=give_tags,
    reads=(*READS, "descriptions.model"),
    resources=("custom_tags",),
    code_version="3",
    stored_as="tags",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    reads_previous=True,
    quick=True,
)
