"""What the analyses found, as far as it is stated without a vision model: findings, keywords and a summary.

Each finding is a sentence that names its source. A text is quoted, never interpreted: of speech the longest segment, of
texts on screen the longest title, else the longest caption. The summary consists of quotes, too.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from vidpipe.media.facts import Scene, SubtitleCue
from vidpipe.stages.analyses.declaration import FoundText, found_texts
from vidpipe.stages.analyses.results import FrameFaces, ObjectLabel, SceneObjects, SpeechSegment, TextEntry
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.search_fields import Moment
from vidpipe.stages.sentiment import sentences_of_cues
from vidpipe.text.extracts import key_sentences, keywords
from vidpipe.text.messages import join_words, quote
from vidpipe.text.names import language_code, language_name
from vidpipe.text.words import plural

_SPEECH, _SCREEN_TEXT = "speech.segments", "screen_text.entries"
_LABELS, _SCENE_LABELS, _FACES = "objects.labels", "objects.scenes", "faces.frames"
#: The fields that are stated in words of their own; texts of other analyses are quoted.
STATED = (_SPEECH, _SCREEN_TEXT, _LABELS, _SCENE_LABELS, _FACES)
#: Characters of a quoted text and of a quote in a summary, and things that are named.
_MAX_QUOTE, _MAX_SUMMED, _MAX_THINGS = 160, 240, 6
#: Confidence from which faces in a single frame are stated: patterns look like a face with 0.63, for a moment.
_SURE_OF_FACE = 0.7
#: Languages whose sentences do not end with a space.
_UNSPACED = ("zho", "jpn", "tha")


TimedT = TypeVar("TimedT", SubtitleCue, SpeechSegment, TextEntry, SceneObjects, Moment)


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


def findings(item: Item, context: StageContext) -> tuple[str, ...]:
    """Return a sentence about what each analysis found in a whole video."""
    return tuple(_sentences(item.fields, _others(item, context)))


def findings_by_scene(item: Item, context: StageContext) -> list[tuple[str, ...]]:
    """Return the `findings` in each scene."""
    scenes: Sequence[Scene] = item["scenes.scenes"]
    speech, texts, things = (
        by_scene(scenes, item.fields.get(name) or ()) for name in (_SPEECH, _SCREEN_TEXT, _SCENE_LABELS)
    )
    frames: Sequence[FrameFaces] = item.fields.get(_FACES) or ()
    faces = {index: list(group) for index, group in groupby(frames, key=lambda frame: frame.scene)}
    others = [(other, by_scene(scenes, other.moments)) for other in _others(item, context)]
    found = []
    for index in range(len(scenes)):
        labels = [label for part in things[index] for label in part.labels]
        fields = {_SPEECH: speech[index], _SCREEN_TEXT: texts[index], _LABELS: labels, _FACES: faces.get(index)}
        here = (replace(other, moments=tuple(within[index])) for other, within in others if within[index])
        found.append(tuple(_sentences(fields, here)))
    return found


def _others(item: Item, context: StageContext) -> tuple[FoundText, ...]:
    return found_texts(context.resources, {name: value for name, value in item.fields.items() if name not in STATED})


def _sentences(fields: Mapping[str, Any], others: Iterable[FoundText]) -> Iterator[str]:
    segments: Sequence[SpeechSegment] = fields.get(_SPEECH) or ()
    if segments:
        said = max(segments, key=lambda segment: len(segment.text) * (segment.confidence or 1.0))
        # segments that were not recognized, but taken from subtitles, have no confidence
        yield _quoted("Subtitles" if said.confidence is None else "Speech recognized", said.text, said.language)
    if texts := _legible(fields.get(_SCREEN_TEXT)):
        shown = max(texts, key=lambda entry: (entry.kind == "title", len(entry.text), -entry.start_s))
        yield _quoted("Text read on screen", shown.text, shown.language)
    detected: Sequence[ObjectLabel] = fields.get(_LABELS) or ()
    if labels := [label for label in detected if label.certain]:
        ranked = sorted(labels, key=lambda label: (-label.share, -label.confidence, label.label))[:_MAX_THINGS]
        yield f"Objects detected: {join_words([_some(label) for label in ranked])}."
    frames: Sequence[FrameFaces] = fields.get(_FACES) or ()
    if len(frames) > 1 or any(face.confidence >= _SURE_OF_FACE for frame in frames for face in frame.faces):
        most = max(len(frame.faces) for frame in frames)
        yield f"Faces detected: {'up to ' if most > 1 else ''}{most}."
    for other in others:
        longest = max(other.moments, key=lambda moment: len(moment.text))
        yield _quoted(other.says[:1].upper() + other.says[1:], longest.text, longest.language)


def _legible(entries: Sequence[TextEntry] | None) -> list[TextEntry]:
    return [entry for entry in entries or () if entry.kind != "small"]


def _quoted(source: str, text: str, language: str) -> str:
    said = quote(text, _MAX_QUOTE)
    end = "" if said[-2:-1] in ".!?…。！？" else "."
    return f"{source}{f' in {language_name(language)}' if language else ''}: {said}{end}"


def _some(thing: ObjectLabel) -> str:
    """Return "a bicycle", or "bicycles" if several were in one frame."""
    several = plural(thing.label)
    if thing.count > 1 or several == thing.label:
        return several
    return f"{'an' if thing.label[:1].lower() in 'aeiou' else 'a'} {thing.label}"


def extracts(item: Item) -> dict[str, Any]:
    """Return the `keywords` and the `summary` of what is said and written in a video; empty if that is too little.

    The summary is extractive: it quotes the most central sentences of speech, or else of titles and captions.
    """
    heard = list(_spoken_sentences(item.fields.get(_SPEECH) or ()))
    read = [(entry.text, entry.language) for entry in _legible(item.fields.get(_SCREEN_TEXT))]
    opening, chosen = "Said", key_sentences([sentence for sentence, _ in heard])
    if not chosen:
        opening, chosen = "On screen", key_sentences([text for text, _ in read])
    quotes = " ".join(quote(sentence, _MAX_SUMMED) for sentence in chosen)
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
