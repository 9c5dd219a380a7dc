"""What the analyses found, as far as it is stated without a vision model: findings, keywords and a summary.

A text is quoted, never interpreted: of speech the longest segment, of texts on screen the first title, else the first
caption, else the longest text. The summary consists of quotes, too.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar

from vidpipe.media.facts import Scene
from vidpipe.models.describing_model import Finding
from vidpipe.stages.analyses.declaration import FoundText, found_texts
from vidpipe.stages.analyses.results import FrameFaces, ObjectLabel, SceneObjects, SpeechSegment, TextEntry
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.search_fields import Moment
from vidpipe.stages.sentiment import sentences_of_cues
from vidpipe.text.extracts import key_sentences, keywords
from vidpipe.text.messages import quote
from vidpipe.text.names import language_code

_SPEECH, _SCREEN_TEXT = "speech.segments", "screen_text.entries"
_LABELS, _SCENE_LABELS, _FACES = "objects.labels", "objects.scenes", "faces.frames"
#: The fields that are stated in words of their own; texts of other analyses are quoted.
STATED = (_SPEECH, _SCREEN_TEXT, _LABELS, _SCENE_LABELS, _FACES)
_KINDS = ("title", "caption", "small")
_MAX_QUOTE = 240
#: Languages whose sentences do not end with a space.
_UNSPACED = ("zho", "jpn", "tha")


class _Timed(Protocol):
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


TimedT = TypeVar("TimedT", bound=_Timed)


def by_scene(scenes: Sequence[Scene], parts: Iterable[TimedT]) -> list[list[TimedT]]:
    """Return the parts (cues, segments, texts) in each scene; one across a cut belongs to both sides."""
    starts = [scene.start_s for scene in scenes]
    found: list[list[TimedT]] = [[] for _ in scenes]
    for part in parts:
        first = max(bisect.bisect_right(starts, part.start_s) - 1, 0)
        end = max(bisect.bisect_left(starts, part.end_s), first + 1)
        for index in range(first, min(end, len(scenes))):
            found[index].append(part)
    return found


def findings(item: Item, context: StageContext) -> tuple[Finding, ...]:
    """Return what the analyses found in a whole video: what was heard, read, seen, and the texts of plugins."""
    fields = item.fields
    return (
        *_heard(fields.get(_SPEECH) or ()),
        *_read(fields.get(_SCREEN_TEXT) or ()),
        *_seen(fields.get(_LABELS) or ()),
        *_faces(fields.get(_FACES) or ()),
        *(finding for found in _others(item, context) for finding in _quoted(found, found.moments)),
    )


def findings_by_scene(item: Item, context: StageContext) -> list[tuple[Finding, ...]]:
    """Return the `findings` in each scene."""
    scenes: Sequence[Scene] = item["scenes.scenes"]
    found: list[list[Finding]] = [[] for _ in scenes]

    def add(parts: Iterable[TimedT], state: Callable[[Sequence[TimedT]], Iterable[Finding]]) -> None:
        for index, within in enumerate(by_scene(scenes, parts)):
            found[index] += state(within) if within else ()

    fields = item.fields
    add(fields.get(_SPEECH) or (), _heard)
    add(fields.get(_SCREEN_TEXT) or (), _read)
    things: Sequence[SceneObjects] = fields.get(_SCENE_LABELS) or ()
    add(things, lambda within: _seen([label for part in within for label in part.labels]))
    for index, frames in groupby(fields.get(_FACES) or (), key=lambda frame: frame.scene):
        if index < len(found):
            found[index] += _faces(list(frames))
    for other in _others(item, context):
        add(other.moments, partial(_quoted, other))
    return [tuple(of_scene) for of_scene in found]


def extracts(item: Item) -> dict[str, Any]:
    """Return the `keywords` and the `summary` of what is said and written in a video; empty if that is too little.

    The summary is extractive: it quotes the most central sentences of speech, or else of titles and captions.
    """
    entries: Sequence[TextEntry] = item.fields.get(_SCREEN_TEXT) or ()
    heard = list(_spoken_sentences(item.fields.get(_SPEECH) or ()))
    read = [(entry.text, entry.language) for entry in entries if entry.kind != "small"]
    if not heard and not read:
        return {}
    opening, chosen = "Said", key_sentences([sentence for sentence, _ in heard])
    if not chosen:
        opening, chosen = "On screen", key_sentences([text for text, _ in read])
    quotes = " ".join(quote(sentence, _MAX_QUOTE) for sentence in chosen)
    return {
        "summary": f"{opening}: {quotes}" if quotes else "",
        "keywords": keywords((*heard, *read), item["metadata.title"] or ""),
    }


def _spoken_sentences(segments: Iterable[SpeechSegment]) -> Iterator[tuple[str, str]]:
    """Yield (sentence, language); where sentences do not end with a space, each segment is one."""
    for language, group in groupby(segments, key=lambda segment: segment.language):
        parts = list(group)
        joined = language_code(language) not in _UNSPACED
        yield from ((text, language) for text in (sentences_of_cues(parts) if joined else [p.text for p in parts]))


def _heard(segments: Sequence[SpeechSegment]) -> Iterator[Finding]:
    if segments:
        best = max(segments, key=lambda segment: len(segment.text) * (segment.confidence or 1.0))
        yield Finding("speech", best.text, best.language)


def _read(entries: Sequence[TextEntry]) -> Iterator[Finding]:
    def rank(entry: TextEntry) -> tuple[int, float]:
        return _KINDS.index(entry.kind), -len(entry.text) if entry.kind == "small" else entry.start_s

    if entries:
        best = min(entries, key=rank)
        yield Finding("screen_text", best.text, best.language)


def _seen(labels: Sequence[ObjectLabel]) -> Iterator[Finding]:
    certain = [label for label in labels if label.certain]
    if certain:
        ranked = sorted(certain, key=lambda label: (-label.share, -label.confidence, label.label))
        yield Finding("objects", things=tuple((label.label, label.count) for label in ranked))


def _faces(frames: Sequence[FrameFaces]) -> Iterator[Finding]:
    if count := max((len(frame.faces) for frame in frames), default=0):
        yield Finding("faces", things=(("face", count),))


def _others(item: Item, context: StageContext) -> tuple[FoundText, ...]:
    return found_texts(context.resources, {name: value for name, value in item.fields.items() if name not in STATED})


def _quoted(found: FoundText, moments: Sequence[Moment]) -> Iterator[Finding]:
    best = max(moments, key=lambda moment: len(moment.text))
    yield Finding(found.name, best.text, best.language, says=found.says)
