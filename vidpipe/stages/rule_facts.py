"""What the stages found out about a video, as the flat facts that rules and categories ask about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidpipe.media.facts import AudioStream, Damage, SceneStats, SubtitleCue, SubtitleStream
from vidpipe.sources.urls import url_spellings
from vidpipe.stages.model_results import ModelCategory, ModelTag
from vidpipe.stages.results import Tag
from vidpipe.tagging import names
from vidpipe.tagging.facts import COLOR_SHARE, STANDARD_RANGE, TagFacts
from vidpipe.tagging.words import normalise

#: The fields of other stages that rules can ask about; `rule_facts` needs them all.
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

#: Dates that cameras and muxers write when they know none.
_UNSET_DATES = ("1904-01-01", "1970-01-01")


def rule_facts(fields: Mapping[str, Any], tags: Sequence[Tag] = (), proposal: ModelCategory | None = None) -> TagFacts:
    """The facts of one video. fields: "stage.field" -> value, at least those in `READS`.

    tags: that rules gave; proposal: the model's category. Only categories look at them.
    """
    cues: tuple[SubtitleCue, ...] = fields["metadata.cues"]
    audio = [stream for stream in fields["metadata.audio"] if not stream.empty]
    subtitles: tuple[SubtitleStream, ...] = fields["metadata.subtitles"]
    model_tags: tuple[ModelTag, ...] = fields["descriptions.tags"]
    damage: Damage | None = fields["scenes.damage"]
    width, height = fields["metadata.width"], fields["metadata.height"]
    return TagFacts(
        duration_s=fields["scenes.duration_s"],
        size_bytes=fields["metadata.size_bytes"],
        bit_rate=fields["metadata.bit_rate"],
        container=names.container(fields["metadata.container"]),
        video_codec=names.codec(fields["metadata.video_codec"]),
        resolution=names.resolution(fields["metadata.resolution"]),
        width=width,
        height=height,
        aspect_ratio=round(width / height, 4) if height else None,
        orientation=fields["metadata.orientation"],
        rotation=fields["metadata.rotation"],
        frame_rate=fields["metadata.frame_rate"],
        variable_frame_rate=fields["metadata.variable_frame_rate"],
        bit_depth=fields["metadata.bit_depth"],
        hdr=names.plain(fields["metadata.hdr"] or STANDARD_RANGE),
        year=_year(fields["metadata.created"]),
        has_audio=bool(audio),
        audio_streams=len(audio),
        audio_codec=tuple(sorted({names.codec(stream.codec) for stream in audio})),
        audio_language=_languages(audio),
        channels=max((stream.channels for stream in audio if stream.channels), default=None),
        has_subtitles=bool(subtitles),
        subtitle_language=_languages(subtitles),
        scene_count=fields["scenes.count"],
        cuts_per_minute=fields["scenes.cuts_per_minute"],
        mean_scene_s=fields["scenes.mean_scene_s"],
        damaged=damage is not None and not damage.truncated,
        truncated=damage is not None and damage.truncated,
        sentiment=fields["sentiment.label"],
        sentiment_score=fields["sentiment.score"],
        description=fields["descriptions.text"],
        # rolling captions, and streams in one language, say the same again
        subtitles="\n".join(dict.fromkeys(cue.text for cue in cues)),
        title=fields["metadata.title"] or "",
        model_tags=tuple(tag.tag for tag in model_tags),
        names=fields["ingest.names"],
        urls=tuple(dict.fromkeys(spelling for url in fields["ingest.urls"] for spelling in url_spellings(url))),
        labels=fields["ingest.labels"],
        source_titles=fields["ingest.titles"],
        tags=tuple(tag.tag for tag in tags),
        tag_sources={normalise(tag.tag).strip(): frozenset(tag.model_tags) for tag in tags},
        model_category=proposal.category if proposal else "",
        model_confidence=proposal.confidence if proposal else None,
        **_measured(fields["scenes.stats"]),
    )


def _measured(stats: SceneStats | None) -> dict[str, Any]:
    if stats is None:
        return {}
    return {
        "brightness": stats.brightness,
        "contrast": stats.contrast,
        "saturation": stats.saturation,
        "motion": stats.motion,
        "dark_share": stats.dark_share,
        "colored_share": stats.colored_share,
        "colorful_share": stats.colorful_share,
        "moving_share": stats.moving_share,
        "loudness_db": stats.loudness_db,
        "silence_share": stats.silence_share,
        "color": tuple(names.color(color.name) for color in stats.colors if color.share >= COLOR_SHARE),
    }


def _languages(streams: Iterable[AudioStream | SubtitleStream]) -> tuple[str, ...] | None:
    """None where there are streams, but none of them says its language."""
    found = [names.language(stream.language or "") for stream in streams]
    known = sorted(set(found) - names.UNKNOWN_LANGUAGES)
    return None if found and not known else tuple(known)


def _year(created: str | None) -> int | None:
    if not created or created.startswith(_UNSET_DATES) or not created[:4].isdecimal():
        return None
    return int(created[:4])
