"""Joins the same text in consecutive frames to one entry, and tells captions and titles from small print."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from vidpipe.stages.analyses.results import Box, TextEntry
from vidpipe.stages.analyses.screen_lines import Block, overlap
from vidpipe.text.languages import detected_language

#: More entries than this are not stored; a ticker can make one per frame.
_MOST_ENTRIES = 500
#: Share of the smaller box from which two texts are at the same place.
_SAME_PLACE = 0.3
#: Shares of the longer text that two readings of it have in common, and of readings of which one is part of the other.
_SIMILAR, _PART = 0.75, 0.4
#: Confidence from which a differing digit is another text, not another reading.
_SURE = 0.9
#: Least confidence of texts seen in one frame only, and of texts seen in two or shorter than five letters: pattern and
#: movement are sometimes read as short words, and never for long.
_ONCE, _SHORT = 0.9, 0.8
#: Sizes of a line as a share of the picture's shorter side, and the longest time that a caption stays.
_TITLE_SIZE, _CAPTION_SIZE, _CAPTION_S = 0.11, (0.03, 0.16), 15.0
#: Fewer letters say little about their language, in scripts that many languages share.
_LANGUAGE_LETTERS = 20
_DIGITS, _KANA, _HANGUL, _HAN = map(
    re.compile, (r"\d+", "[\u3040-\u30ff]", "[\uac00-\ud7af\u1100-\u11ff]", "[\u3400-\u9fff\uf900-\ufaff]")
)


class FrameTexts(NamedTuple):
    """The blocks of one frame, its time, and the time at which the next frame or the next scene starts."""

    time_s: float
    end_s: float
    blocks: Sequence[Block]


@dataclass
class _Shown:
    """A text while it is shown: its readings, and when it was seen last."""

    start_s: float
    end_s: float
    frame: int
    readings: list[Block] = field(default_factory=list)

    def best(self) -> Block:
        """Return the reading with most votes; long ones count more, since text that is partly hidden reads short."""
        votes: dict[str, float] = {}
        for reading in self.readings:
            votes[reading.text] = votes.get(reading.text, 0.0) + reading.confidence * len(reading.text) ** 2
        return max(self.readings, key=lambda reading: (votes[reading.text], reading.confidence))


def entries(frames: Sequence[FrameTexts]) -> tuple[TextEntry, ...]:
    """Return the entries of a video in order of time, given its frames in order of time."""
    found = [entry for shown in _shown(frames) if (entry := _entry(shown))]
    if len(found) > _MOST_ENTRIES:
        found.sort(key=lambda entry: (entry.kind == "small", -len(entry.text) * entry.confidence, entry.start_s))
    kept = found[:_MOST_ENTRIES]
    return tuple(sorted(kept, key=lambda entry: (entry.start_s, entry.box[1], entry.box[0], entry.text)))


def languages(found: Sequence[TextEntry]) -> tuple[str, ...]:
    """Return the known languages of entries, that of most letters first."""
    letters: dict[str, int] = {}
    for entry in found:
        letters[entry.language] = letters.get(entry.language, 0) + len(entry.text)
    return tuple(sorted(letters.keys() - {""}, key=lambda language: (-letters[language], language)))


def language_of(text: str) -> str:
    """Return the language code of a text, "" if it does not say."""
    letters = sum(map(str.isalpha, text))
    if _KANA.search(text):
        return "ja"
    if len(_HANGUL.findall(text)) * 2 > letters:
        return "ko"
    if len(_HAN.findall(text)) * 2 > letters:
        return "zh"
    return detected_language(text.lower()) if letters >= _LANGUAGE_LETTERS else ""


def _shown(frames: Sequence[FrameTexts]) -> Iterator[_Shown]:
    """Yield every text when it is gone; one frame that misses it is bridged if nothing else is in its place."""
    current: list[_Shown] = []
    for number, frame in enumerate(frames):
        fresh: list[_Shown] = []
        for block in sorted(frame.blocks, key=lambda block: -block.confidence):
            waiting = [shown for shown in current if shown.frame < number]
            place = max(waiting, key=lambda shown: _likeness(shown.readings[-1], block), default=None)
            if place is None or not _likeness(place.readings[-1], block):
                place = _Shown(frame.time_s, frame.end_s, number)
                fresh.append(place)
            place.end_s, place.frame = frame.end_s, number
            place.readings.append(block)
        boxes = [block.box for block in frame.blocks]
        kept = []
        for shown in current:
            missed = shown.frame < number
            replaced = missed and any(overlap(shown.readings[-1].box, box) > _SAME_PLACE for box in boxes)
            if replaced or shown.frame < number - 1:
                yield shown
            else:
                kept.append(shown)
        current = kept + fresh
    yield from current


def _likeness(before: Block, now: Block) -> float:
    """Return how alike two readings are, 0 if they are not of the same text at about the same place."""
    if before.text == now.text:
        return 1.0 + overlap(before.box, now.box)
    if overlap(before.box, now.box) <= _SAME_PLACE:
        return 0.0
    sure = min(before.confidence, now.confidence) >= _SURE
    if sure and _DIGITS.findall(before.text) != _DIGITS.findall(now.text):
        return 0.0
    short, long = sorted((before.text, now.text), key=len)
    if short in long:
        return 1.0 if len(short) >= _PART * len(long) else 0.0
    matcher = SequenceMatcher(None, before.text, now.text, autojunk=False)
    share = sum(part.size for part in matcher.get_matching_blocks()) / len(long)
    return share if share >= _SIMILAR else 0.0


def _entry(shown: _Shown) -> TextEntry | None:
    """Return the entry of a text, None if it is too uncertain to be one."""
    best = shown.best()
    seen = len(shown.readings)
    least = _ONCE if seen == 1 else _SHORT if seen == 2 or sum(map(str.isalnum, best.text)) < 5 else 0.0
    if best.confidence < least:
        return None
    return TextEntry(
        text=best.text, start_s=round(shown.start_s, 3), end_s=round(shown.end_s, 3), box=best.box,
        confidence=round(best.confidence, 3), language=language_of(best.text),
        kind=_kind(best.box, best.size, shown.end_s - shown.start_s),
    )  # fmt: skip


def _kind(box: Box, size: float, duration_s: float) -> Literal["title", "caption", "small"]:
    """Return caption for centered lines near the lower or upper edge that change, title for large text."""
    across, down = box[0] + box[2] / 2, box[1] + box[3] / 2
    in_band = abs(across - 0.5) < 0.1 and (down > 0.6 or down < 0.2)
    if in_band and duration_s <= _CAPTION_S and _CAPTION_SIZE[0] <= size <= _CAPTION_SIZE[1]:
        return "caption"
    return "title" if size >= _TITLE_SIZE else "small"
