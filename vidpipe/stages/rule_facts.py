"""Converts the results of stages to the flat facts that rules and categories check.

A fact is made when a rule asks for it, from the fields that `needed_reads` names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

from vidpipe.media.facts import AudioStream, Scene, SceneStats, SubtitleStream
from vidpipe.sources.urls import url_spellings
from vidpipe.stages.analyses.declaration import NO_ANALYSES, EnabledAnalyses, FoundText
from vidpipe.stages.analyses.results import ObjectLabel, SceneObjects
from vidpipe.stages.ingest_facts import StatedVerdict
from vidpipe.stages.results import ModelCategory, QuestionAnswer, Tag
from vidpipe.tagging.facts import Judgement, RuleFacts, SeenObject
from vidpipe.tagging.fields import COLOR_SHARE, STANDARD_RANGE, FieldSpec
from vidpipe.text import names
from vidpipe.text.names import UNKNOWN_LANGUAGES, language_code
from vidpipe.text.words import TimedText, normalize, tag_key

#: Dates that cameras and muxers write instead of an unknown date.
_UNSET_DATES = ("1904-01-01", "1970-01-01")


class _Maker(NamedTuple):
    """Makes a fact.

    Attributes:
        reads: The fields that it is made from.
        make: Takes their values.
    """

    reads: tuple[str, ...]
    make: Callable[..., Any] = lambda value: value


def _of_audio(make: Callable[[list[AudioStream]], Any]) -> _Maker:
    return _Maker(("metadata.audio",), lambda streams: make([stream for stream in streams if not stream.empty]))


def _languages(streams: Iterable[AudioStream | SubtitleStream]) -> tuple[str, ...] | None:
    """Return the languages of streams; None if there are streams but all of unknown language."""
    found = [language_code(stream.language or "") for stream in streams]
    known = sorted(set(found) - UNKNOWN_LANGUAGES)
    return None if found and not known else tuple(known)


def _year(created: str | None) -> int | None:
    if not created or created.startswith(_UNSET_DATES) or not created[:4].isdecimal():
        return None
    return int(created[:4])


def _measured(name: str, stats: SceneStats | None) -> Any:
    if stats is None or name != "color":
        return getattr(stats, name, None)
    return tuple(names.color(color.name) for color in stats.colors if color.share >= COLOR_SHARE)


_STATS = (
    "brightness", "contrast", "saturation", "motion", "dark_share", "colored_share", "colorful_share", "moving_share",
    "loudness_db", "silence_share", "color",
)  # fmt: skip
_PLAIN = (
    "metadata.bit_depth", "metadata.bit_rate", "metadata.frame_rate", "metadata.height", "metadata.orientation",
    "metadata.rotation", "metadata.size_bytes", "metadata.variable_frame_rate", "metadata.width",
    "scenes.cuts_per_minute", "scenes.duration_s", "scenes.mean_scene_s",
)  # fmt: skip

#: What conditions can check, without what analyses add.
_VALUES: Mapping[str, _Maker] = {
    **{read.partition(".")[2]: _Maker((read,)) for read in _PLAIN},
    **{name: _Maker(("scenes.stats",), partial(_measured, name)) for name in _STATS},
    "container": _Maker(("metadata.container",), names.container),
    "video_codec": _Maker(("metadata.video_codec",), names.codec),
    "resolution": _Maker(("metadata.resolution",), names.resolution),
    "aspect_ratio": _Maker(("metadata.width", "metadata.height"),
                           lambda width, height: round(width / height, 4) if height else None),
    "hdr": _Maker(("metadata.hdr",), lambda hdr: names.plain(hdr or STANDARD_RANGE)),
    "year": _Maker(("metadata.created",), _year),
    "has_audio": _of_audio(bool),
    "audio_streams": _of_audio(len),
    "audio_codec": _of_audio(lambda streams: tuple(sorted({names.codec(stream.codec) for stream in streams}))),
    "audio_language": _of_audio(_languages),
    "channels": _of_audio(lambda streams: max((one.channels for one in streams if one.channels), default=None)),
    "has_subtitles": _Maker(("metadata.subtitles",), bool),
    "subtitle_language": _Maker(("metadata.subtitles",), _languages),
    "scene_count": _Maker(("scenes.count",)),
    "damaged": _Maker(("scenes.damage",), lambda damage: damage is not None and not damage.truncated),
    "truncated": _Maker(("scenes.damage",), lambda damage: damage is not None and damage.truncated),
    "sentiment": _Maker(("sentiment.label",)),
    "sentiment_score": _Maker(("sentiment.score",)),
}  # fmt: skip

_SAID = ("metadata.cues", "metadata.title", "ingest.titles", "speech.segments", "metadata.audio")
#: Text or list -> what it is made from; those of analyses that are not here are made from what they declare.
_TEXT_READS: Mapping[str, tuple[str, ...]] = {
    "description": ("descriptions.text", "descriptions.found"),
    **dict.fromkeys(("subtitles", "title", "said"), _SAID),
    "text": (*_SAID, "screen_text.entries"),
    "file_name": ("ingest.names",),
    "source": ("ingest.urls",),
    "answers": ("descriptions.questions",),
    **dict.fromkeys(("uploader", "source_description", "licence", "site"), ("ingest.source_data",)),
    "speech": ("metadata.audio",),
    "label": ("ingest.labels",),
    "model_tags": ("descriptions.tags",),
    "category": ("descriptions.category",),
    "objects": ("objects.labels",),
}

#: Of a scene: fact -> its maker, which takes the scene first.
_SCENE_VALUES: Mapping[str, _Maker] = {
    **{name: _Maker((), lambda scene, name=name: _measured(name, scene.stats)) for name in _STATS},
    "duration_s": _Maker((), lambda scene: scene.end_s - scene.start_s),
    "object": _Maker(("objects.scenes",), lambda scene, found: tuple(sorted(
        {names.plain(label.label) for one in _of_scene(scene, found) for label in one.labels}))),
    "moderation_score": _Maker(("moderation.scenes",), lambda scene, scores: next(
        (one.score for one in _of_scene(scene, scores)), None)),
    "face_count": _Maker(("faces.frames",), lambda scene, frames: max(
        (len(frame.faces) for frame in frames if frame.scene == scene.index), default=0)),
    "face_share": _Maker(("faces.frames",), lambda scene, frames: min(
        1.0, sum(frame.scene == scene.index for frame in frames) / max(1, scene.frames))),
}  # fmt: skip
_SCENE_READS = {"description": "descriptions.scenes", "answers": "descriptions.scenes", "objects": "objects.scenes"}


def needed_reads(
    checked: Iterable[str], of_scenes: Iterable[str] | None = None, analyses: EnabledAnalyses = NO_ANALYSES
) -> frozenset[str]:
    """Return the fields of stages that facts are made from; some of them may not be known to the library.

    Args:
        checked: Names of the facts that are checked, of videos or scenes (`RuleSet.fields`).
        of_scenes: Names of those that are checked of scenes; None: scenes are not looked at.
        analyses: The enabled analyses.
    """
    reads: set[str] = set()
    for name in {name.partition(".")[0] for name in checked}:
        if name in _VALUES or name in _TEXT_READS:
            reads.update(_VALUES[name].reads if name in _VALUES else _TEXT_READS[name])
        reads.update(one.reads for one in analyses.rule_fields if one.spec.name == name)
        reads.update(one.reads for one in analyses.evidence if one.name == name)
    if of_scenes is not None:
        reads.add("scenes.scenes")
        for name in {name.partition(".")[0] for name in of_scenes}:
            reads.update(_SCENE_VALUES[name].reads if name in _SCENE_VALUES else [_SCENE_READS.get(name, "")])
    return frozenset(reads - {""})


def rule_facts(
    fields: Mapping[str, Any],
    tags: Sequence[Tag] = (),
    proposal: ModelCategory | None = None,
    analyses: EnabledAnalyses = NO_ANALYSES,
) -> RuleFacts:
    """Return the facts of one video.

    Args:
        fields: "stage.field" -> value, at least those in `needed_reads`; what analyses found is None if they have no
            result.
        tags: Tags given by rules; only categories check them.
        proposal: The model's category, if it is not among `fields`.
        analyses: The enabled analyses.
    """
    return _VideoFacts(fields, tags, proposal or fields.get("descriptions.category"), analyses)


class _Values(dict[str, Any]):
    """Fact -> value, made on first use."""

    def __init__(self, fields: Mapping[str, Any], analyses: EnabledAnalyses) -> None:
        self._fields = fields
        self._of_analyses = analyses.rule_fields_by_name

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]

    def __missing__(self, name: str) -> Any:
        self[name] = made = self._made(name)
        return made

    def _made(self, name: str) -> Any:
        if (maker := _VALUES.get(name)) is not None:
            return maker.make(*[self._fields[read] for read in maker.reads])
        if (known := self._of_analyses.get(name)) is None:
            return None
        value = self._fields.get(known.reads)
        return None if value is None else _canonical(known.spec, known.value(value))


class _SceneValues(_Values):
    def __init__(self, video: "_VideoFacts", scene: Scene) -> None:
        super().__init__(video.fields, video.analyses)
        self._video, self._scene = video.values, scene

    def _made(self, name: str) -> Any:
        if (maker := _SCENE_VALUES.get(name)) is None:
            return self._video.get(name)
        values = [self._fields.get(read) for read in maker.reads]
        return None if None in values else maker.make(self._scene, *values)


#: Makes an attribute on first use; it takes the place of one of `RuleFacts`.
_made: Any = cached_property


class _VideoFacts(RuleFacts):
    """The facts of a video."""

    def __init__(
        self, fields: Mapping[str, Any], tags: Sequence[Tag], proposal: ModelCategory | None, analyses: EnabledAnalyses
    ) -> None:
        self.fields, self.analyses, self.given = fields, analyses, tags
        self.model_category = proposal.category if proposal else ""
        self.model_confidence = proposal.confidence if proposal else None

    values = _made(lambda self: _Values(self.fields, self.analyses))
    description = _made(
        # without what was heard, read and detected, which have blocks of their own
        lambda self: self.fields["descriptions.text"].removeprefix(self.fields.get("descriptions.found") or "").strip()
    )
    cues = _made(lambda self: self.fields["metadata.cues"])
    # rolling captions and streams in one language repeat texts
    subtitles = _made(lambda self: "\n".join(dict.fromkeys(cue.text for cue in self.cues)))
    title = _made(lambda self: self.fields["metadata.title"] or "")
    model_tags = _made(lambda self: tuple(tag.tag for tag in self.fields["descriptions.tags"]))
    model_confidences = _made(
        lambda self: {
            tag_key(tag.tag): tag.confidence for tag in self.fields["descriptions.tags"] if tag.confidence is not None
        }
    )
    names = _made(lambda self: self.fields["ingest.names"])
    urls = _made(lambda self: tuple({one: None for url in self.fields["ingest.urls"] for one in url_spellings(url)}))
    labels = _made(lambda self: self.fields["ingest.labels"])
    source_titles = _made(lambda self: self.fields["ingest.titles"])
    tags = _made(lambda self: tuple(tag.tag for tag in self.given))
    tag_sources = _made(lambda self: {normalize(one.tag).strip(): frozenset(one.model_tags) for one in self.given})
    moments = _made(lambda self: self.analyses.found(self.fields))
    found = _made(lambda self: tuple(map(_timed, self.moments)))
    examined = _made(
        lambda self: {one.name for one in self.analyses.evidence if self.fields.get(one.reads) is not None}
    )
    objects = _made(lambda self: _seen(self.fields.get("objects.labels") if self.analyses.analyses else None))
    answers = _made(lambda self: _answers(self.fields.get("descriptions.questions")))
    source_data = _made(lambda self: self.fields.get("ingest.source_data") or {})
    stated = _made(lambda self: self.fields.get("ingest.verdicts") or ())
    verdicts = _made(lambda self: judgements(one for one in self.stated if one.start_s is None))
    scenes = _made(lambda self: tuple(_SceneFacts(self, scene) for scene in self.fields.get("scenes.scenes") or ()))


class _SceneFacts(_VideoFacts):
    """The facts of a scene: its own where they are known, else those of the video."""

    def __init__(self, video: _VideoFacts, scene: Scene) -> None:
        self.video, self.scene = video, scene
        self.fields, self.analyses, self.given = video.fields, video.analyses, ()
        self.model_category, self.model_confidence = video.model_category, video.model_confidence
        self.start_s: float = scene.start_s
        self.end_s: float = scene.end_s
        self.scenes = ()

    def covers(self, part: Any) -> bool:
        return bool(part.start_s < self.end_s and part.end_s > self.start_s)

    values = _made(lambda self: _SceneValues(self.video, self.scene))
    own = _made(lambda self: next(_of_scene(self.scene, self.fields.get("descriptions.scenes")), None))
    description = _made(lambda self: self.own.description if self.own else "")
    cues = _made(lambda self: filter(self.covers, self.video.cues))
    moments = _made(
        lambda self: [replace(text, moments=tuple(filter(self.covers, text.moments))) for text in self.video.moments]
    )
    objects = _made(lambda self: _seen_in(self.scene, self.fields.get("objects.scenes")))
    answers = _made(lambda self: {**self.video.answers, **_answers(self.own and self.own.answers)})
    verdicts = _made(lambda self: judgements(
        one for one in self.stated if one.start_s is not None and self.start_s <= one.start_s < self.end_s
    ))  # fmt: skip


def _timed(found: FoundText) -> TimedText:
    return TimedText.of(found.name, found.says, ((part.start_s, part.text) for part in found.moments))


def _of_scene(scene: Scene, entries: Iterable[Any] | None) -> Iterator[Any]:
    return (one for one in entries or () if one.index == scene.index)


def _seen_in(scene: Scene, found: Iterable[SceneObjects] | None) -> tuple[SeenObject, ...] | None:
    return None if found is None else _seen(label for one in _of_scene(scene, found) for label in one.labels)


def _answers(answers: Iterable[QuestionAnswer] | None) -> dict[str, Any]:
    return {answer.id: answer.value for answer in answers or () if answer.value is not None}


def _seen(labels: Iterable[ObjectLabel] | None) -> tuple[SeenObject, ...] | None:
    if labels is None:
        return None
    return tuple(SeenObject(**label.model_dump(exclude={"certain"})) for label in labels)


def judgements(stated: Iterable[StatedVerdict], kind: Literal["tag", "category"] = "tag") -> dict[str, Judgement]:
    """Return tag key -> what a person said of the tag or category."""
    found = {}
    for one in stated:
        if one.kind == kind:
            when = f" on {one.on.isoformat()}" if one.on else ""
            says = f"{one.by or 'someone'} said so{when}{f': {one.note}' if one.note else ''}"
            found[tag_key(one.name)] = Judgement(one.name, one.right, says)
    return found


def _canonical(spec: FieldSpec, value: Any) -> Any:
    """Return names in the spelling that conditions compare; an empty name is not known."""
    if spec.kind == "names" and value is not None:
        return tuple(sorted({spec.canonical(name) for name in value if name}))
    return (spec.canonical(value) if value else None) if spec.kind == "name" else value
