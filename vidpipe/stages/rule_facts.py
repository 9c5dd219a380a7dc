"""Converts the results of stages to the flat facts that rules and categories check."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidpipe.media.facts import AudioStream, Damage, SceneStats, SubtitleCue, SubtitleStream
from vidpipe.sources.urls import url_spellings
from vidpipe.stages.analyses.declaration import NO_ANALYSES, EnabledAnalyses
from vidpipe.stages.analyses.results import ObjectLabel
from vidpipe.stages.results import ModelCategory, ModelTag, Tag
from vidpipe.tagging.facts import COLOR_SHARE, STANDARD_RANGE, FieldSpec, RuleFacts, SeenObject
from vidpipe.text import names
from vidpipe.text.names import UNKNOWN_LANGUAGES, language_code
from vidpipe.text.words import TimedText, normalize

#: Facts that have the name and the value of a field: stage -> fields.
_SAME_NAME: Mapping[str, Sequence[str]] = {
    "metadata": (
        "bit_depth", "bit_rate", "frame_rate", "height", "orientation", "rotation", "size_bytes", "variable_frame_rate",
        "width",
    ),
    "scenes": ("cuts_per_minute", "duration_s", "mean_scene_s"),
}  # fmt: skip
_FROM_STATS = (
    "brightness", "contrast", "saturation", "motion", "dark_share", "colored_share", "colorful_share", "moving_share",
    "loudness_db", "silence_share",
)  # fmt: skip

#: Dates that cameras and muxers write instead of an unknown date.
_UNSET_DATES = ("1904-01-01", "1970-01-01")


def rule_facts(
    fields: Mapping[str, Any],
    tags: Sequence[Tag] = (),
    proposal: ModelCategory | None = None,
    analyses: EnabledAnalyses = NO_ANALYSES,
) -> RuleFacts:
    """Return the facts of one video.

    Args:
        fields: "stage.field" -> value, at least those in `vidpipe.stages.tags.READS`; and what the enabled analyses
            found, None if they have no result.
        tags: Tags given by rules; only categories check them.
        proposal: The model's category; only categories check it.
        analyses: The enabled analyses.
    """
    cues: tuple[SubtitleCue, ...] = fields["metadata.cues"]
    audio = [stream for stream in fields["metadata.audio"] if not stream.empty]
    subtitles: tuple[SubtitleStream, ...] = fields["metadata.subtitles"]
    model_tags: tuple[ModelTag, ...] = fields["descriptions.tags"]
    damage: Damage | None = fields["scenes.damage"]
    width, height = fields["metadata.width"], fields["metadata.height"]
    values = {
        **_analyzed(fields, analyses),
        "container": names.container(fields["metadata.container"]),
        "video_codec": names.codec(fields["metadata.video_codec"]),
        "resolution": names.resolution(fields["metadata.resolution"]),
        "aspect_ratio": round(width / height, 4) if height else None,
        "hdr": names.plain(fields["metadata.hdr"] or STANDARD_RANGE),
        "year": _year(fields["metadata.created"]),
        "has_audio": bool(audio),
        "audio_streams": len(audio),
        "audio_codec": tuple(sorted({names.codec(stream.codec) for stream in audio})),
        "audio_language": _languages(audio),
        "channels": max((stream.channels for stream in audio if stream.channels), default=None),
        "has_subtitles": bool(subtitles),
        "subtitle_language": _languages(subtitles),
        "scene_count": fields["scenes.count"],
        "damaged": damage is not None and not damage.truncated,
        "truncated": damage is not None and damage.truncated,
        "sentiment": fields["sentiment.label"],
        "sentiment_score": fields["sentiment.score"],
        **{name: fields[f"{stage}.{name}"] for stage, same in _SAME_NAME.items() for name in same},
        **_measured(fields["scenes.stats"]),
    }
    seen: Iterable[ObjectLabel] | None = fields.get("objects.labels") if analyses.analyses else None
    return RuleFacts(
        values=values,
        # rules have blocks of their own for what was heard, read and detected
        description=fields["descriptions.text"].removeprefix(fields.get("descriptions.found") or "").strip(),
        # rolling captions and streams in one language repeat texts
        subtitles="\n".join(dict.fromkeys(cue.text for cue in cues)),
        title=fields["metadata.title"] or "",
        model_tags=tuple(tag.tag for tag in model_tags),
        names=fields["ingest.names"],
        urls=tuple(dict.fromkeys(spelling for url in fields["ingest.urls"] for spelling in url_spellings(url))),
        labels=fields["ingest.labels"],
        source_titles=fields["ingest.titles"],
        tags=tuple(tag.tag for tag in tags),
        tag_sources={normalize(tag.tag).strip(): frozenset(tag.model_tags) for tag in tags},
        model_category=proposal.category if proposal else "",
        model_confidence=proposal.confidence if proposal else None,
        found=tuple(
            TimedText.of(text.name, text.says, ((moment.start_s, moment.text) for moment in text.moments))
            for text in analyses.found(fields)
        ),
        objects=None if seen is None else tuple(SeenObject(**label.model_dump(exclude={"certain"})) for label in seen),
    )


def _analyzed(fields: Mapping[str, Any], analyses: EnabledAnalyses) -> dict[str, Any]:
    specs = analyses.vocabulary.names
    return {name: _canonical(specs[name], value) for name, value in analyses.rule_values(fields).items()}


def _canonical(spec: FieldSpec, value: Any) -> Any:
    """Return names in the spelling that conditions compare; an empty name is not known."""
    if spec.kind == "names" and value is not None:
        return tuple(sorted({spec.canonical(name) for name in value if name}))
    return (spec.canonical(value) if value else None) if spec.kind == "name" else value


def _measured(stats: SceneStats | None) -> dict[str, Any]:
    if stats is None:
        return {}
    colors = tuple(names.color(color.name) for color in stats.colors if color.share >= COLOR_SHARE)
    return {"color": colors} | {name: getattr(stats, name) for name in _FROM_STATS}


def _languages(streams: Iterable[AudioStream | SubtitleStream]) -> tuple[str, ...] | None:
    """Return the languages of streams; None if there are streams but all of unknown language."""
    found = [language_code(stream.language or "") for stream in streams]
    known = sorted(set(found) - UNKNOWN_LANGUAGES)
    return None if found and not known else tuple(known)


def _year(created: str | None) -> int | None:
    if not created or created.startswith(_UNSET_DATES) or not created[:4].isdecimal():
        return None
    return int(created[:4])
