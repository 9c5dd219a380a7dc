"""Joins the same text in consecutive frames to one entry, and tells captions and titles from small print."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from typing import Literal

from vidpipe.stages.analyses.results import TextEntry
from vidpipe.stages.analyses.screen_lines import TextBlock, overlap
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
_ONCE, _SHORT, _SHORT_LETTERS = 0.9, 0.8, 5
#: Sizes of a line as a share of the picture's shorter side, and the longest time that a caption stays.
_TITLE_SIZE, _CAPTION_SIZE, _CAPTION_S = 0.11, (0.03, 0.16), 15.0
#: Fewer letters say little about their language, in scripts that many languages share.
_LANGUAGE_LETTERS = 20
#: Languages that are known by their script: which, and the share of a text's letters that must exceed.
_SCRIPTS = (
    ("ja", re.compile("[\u3041-\u3096\u30a1-\u30fa]"), 0.0),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]"), 0.5),
    ("zh", re.compile("[\u3400-\u9fff\uf900-\ufaff]"), 0.5),
)
_DIGITS = re.compile(r"\d+")


#: What a frame shows: its time, the end of its scene, its blocks.
FrameTexts = tuple[float, float, Sequence[TextBlock]]


@dataclass(eq=False)
class _Shown:
    """A text while it is shown: its readings, and when it was seen last."""

    start_s: float
    end_s: float = 0.0
    frame: int = 0
    readings: list[TextBlock] = field(default_factory=list)

    @cached_property
    def best(self) -> TextBlock:
        """The reading with most votes; long ones count more, since text that is partly hidden reads short."""
        votes: dict[str, float] = defaultdict(float)
        for reading in self.readings:
            votes[reading.text] += reading.confidence * len(reading.text) ** 2
        return max(self.readings, key=lambda reading: (votes[reading.text], reading.confidence))

    @property
    def certain(self) -> bool:
        """Whether it is likely to be a text."""
        seen = len(self.readings)
        short = seen == 2 or sum(map(str.isalnum, self.best.text)) < _SHORT_LETTERS
        return self.best.confidence >= (_ONCE if seen == 1 else _SHORT if short else 0.0)

    @property
    def kind(self) -> Literal["title", "caption", "small"]:
        """Caption: centered lines near the lower or upper edge that change. Title: large text."""
        box, size = self.best.box, self.best.size
        across, down = box[0] + box[2] / 2, box[1] + box[3] / 2
        in_band = abs(across - 0.5) < 0.1 and (down > 0.6 or down < 0.2)
        if in_band and self.end_s - self.start_s <= _CAPTION_S and _CAPTION_SIZE[0] <= size <= _CAPTION_SIZE[1]:
            return "caption"
        return "title" if size >= _TITLE_SIZE else "small"

    def entry(self) -> TextEntry:
        """Return what is stored of it."""
        text, box, confidence, _ = self.best
        return TextEntry(
            text=text, start_s=round(self.start_s, 3), end_s=round(self.end_s, 3), box=box,
            confidence=round(confidence, 3), language=language_of(text), kind=self.kind,
        )  # fmt: skip


def entries(frames: Sequence[FrameTexts]) -> tuple[TextEntry, ...]:
    """Return the entries of a video in order of time, given its frames in order of time."""
    found = sorted(
        (shown for shown in _shown(frames) if shown.certain),
        key=lambda shown: (shown.kind == "small", -len(shown.best.text) * shown.best.confidence, shown.start_s),
    )
    kept = [shown.entry() for shown in _wholes(found[:_MOST_ENTRIES])]
    return tuple(sorted(kept, key=lambda entry: (entry.start_s, entry.box[1], entry.box[0], entry.text)))


def languages(found: Sequence[TextEntry]) -> tuple[str, ...]:
    """Return the known languages of entries, that of most letters first."""
    letters: Counter[str] = Counter()
    for entry in found:
        letters[entry.language] += len(entry.text)
    return tuple(sorted(letters.keys() - {""}, key=lambda language: (-letters[language], language)))


def language_of(text: str) -> str:
    """Return the language code of a text, "" if it does not say."""
    letters = sum(map(str.isalpha, text))
    for language, script, share in _SCRIPTS:
        if len(script.findall(text)) > share * letters:
            return language
    return detected_language(text.lower()) if letters >= _LANGUAGE_LETTERS else ""


def _shown(frames: Sequence[FrameTexts]) -> Iterator[_Shown]:
    """Yield every text when it is gone; one frame that misses it is bridged if nothing else is in its place."""
    current: list[_Shown] = []
    next_times = [*(time_s for time_s, *_ in frames[1:]), math.inf]
    for number, ((time_s, scene_end_s, blocks), next_s) in enumerate(zip(frames, next_times, strict=False)):
        for block in sorted(blocks, key=lambda block: -block.confidence):
            likeness = {shown: _likeness(shown.readings[-1], block) for shown in current if shown.frame < number}
            place = max(likeness, key=lambda shown: likeness[shown], default=None)
            if place is None or not likeness[place]:
                current.append(place := _Shown(time_s))
            place.end_s, place.frame = min(next_s, scene_end_s), number
            place.readings.append(block)
        missed = [shown for shown in current if shown.frame < number]
        gone = [shown for shown in missed if shown.frame < number - 1 or _replaced(shown.readings[-1], blocks)]
        yield from gone
        current = [shown for shown in current if shown not in gone]
    yield from current


def _replaced(block: TextBlock, blocks: Iterable[TextBlock]) -> bool:
    return any(overlap(block.box, other.box) > _SAME_PLACE for other in blocks)


def _likeness(before: TextBlock, now: TextBlock) -> float:
    """Return how alike two readings are, 0 if they are not of the same text at about the same place."""
    if before.text == now.text:
        return 1.0 + overlap(before.box, now.box)
    if overlap(before.box, now.box) <= _SAME_PLACE:
        return 0.0
    sure = min(before.confidence, now.confidence) >= _SURE
    if sure and _DIGITS.findall(before.text) != _DIGITS.findall(now.text):
        return 0.0
    short, long = sorted((before.text, now.text), key=len)
    matching = SequenceMatcher(None, short, long, autojunk=False).get_matching_blocks()
    share = sum(part.size for part in matching) / len(long)
    return share if share >= (_PART if short in long else _SIMILAR) else 0.0


def _wholes(found: Sequence[_Shown]) -> list[_Shown]:
    """Return the texts without fragments of small print, which extend the texts that they are fragments of.

    Small print over a busy picture is read in parts for a while. A fragment has no digits, its letters occur in the
    same order in the longer texts at its place, and one of these is still shown, or was until then. Captions are no
    fragments: a short one may follow a long one.
    """
    fragments = set()
    for shown in (shown for shown in found if shown.kind == "small" and not _DIGITS.search(shown.best.text)):
        text, box, *_ = shown.best
        at_place = [other for other in found if overlap(other.best.box, box) > _SAME_PLACE]
        longer = sorted((o for o in at_place if len(o.best.text) > len(text)), key=lambda other: other.best.box[:2])
        wholes = [other for other in longer if other.start_s <= shown.start_s <= other.end_s]
        letters = iter("".join(other.best.text for other in longer))
        if wholes and all(letter in letters for letter in text.replace(" ", "")):
            fragments.add(shown)
            for whole in wholes:
                whole.end_s = max(whole.end_s, shown.end_s)
    return [shown for shown in found if shown not in fragments]
