"""The describer that needs no model: sentences made of what the decode measured, and of nothing else.

It says how bright, how colourful, how lively, how loud and how long something is. What is seen and what happens it
cannot know, so it does not say.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from vidpipe.media.facts import SceneStats
from vidpipe.vlm import wording
from vidpipe.vlm.model import Answer, Facts, Reply, Request

#: A scene is told apart when its brightness is this many times the darkest one's, or its motion the mean's.
_WORTH_TELLING = 2.0
#: Below these, brightness and motion are as good as none.
_BLACK, _STILL = 0.05, 0.003


class StatisticsDescriber:
    """Deterministic; the same measurements give the same text. Prompts do not change what it says."""

    name = "statistics"
    measured = True
    version = "statistics-2"

    def texts(self) -> Mapping[str, str]:
        return {}

    def readiness(self) -> str:
        return "sentences made of measurements, no model looks at the pictures"

    def basis(self, request: Request) -> str:
        return request.facts.version

    def answer(self, requests: Sequence[Request], cancelled: threading.Event) -> Iterator[Reply]:
        for request in requests:
            if cancelled.is_set():
                return
            text = describe_video(request.facts) if request.scope == "video" else describe_scene(request.facts)
            yield Reply(request, [Answer(prompt, text) for prompt in request.prompts])

    def close(self) -> None:
        """Nothing to release."""


def describe_scene(facts: Facts) -> str:
    """One or two sentences about one scene."""
    if facts.stats is None:
        return f"A scene of {wording.duration(facts.duration_s)}."
    adjectives = wording.light_words(facts.stats)
    opening = f"{_article(adjectives, 'scene')} of {wording.duration(facts.duration_s)}"
    sentences = [_join(opening, _picture(facts.stats)), wording.sound_phrase(facts.stats, facts.has_sound)]
    return " ".join(sentence for sentence in sentences if sentence)


def describe_video(facts: Facts) -> str:
    """A few sentences about a whole video."""
    adjectives = wording.light_words(facts.stats) if facts.stats else []
    kind = " ".join(part for part in (facts.orientation, facts.resolution, facts.hdr or "", "video") if part)
    opening = f"{_article(adjectives, kind)} of {wording.duration(facts.duration_s)}"
    opening += " in a single shot" if facts.scenes <= 1 else f" in {facts.scenes} scenes"
    sentences = [
        _join(opening, _picture(facts.stats) if facts.stats else []),
        _pace(facts),
        _extremes(facts),
        wording.sound_phrase(facts.stats, facts.has_sound),
        _subtitles(facts.subtitle_languages),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _picture(stats: SceneStats) -> list[str]:
    colors = wording.colors_phrase(stats.colors)
    # black and white footage consists of greys; naming them adds nothing
    grey = wording.BLACK_AND_WHITE in wording.light_words(stats)
    motion = wording.motion_word(stats)
    contrast = wording.word(stats.contrast, wording.CONTRAST)
    return ["" if grey else colors, f"with {wording.listed([part for part in (motion, contrast) if part])}"]


def _pace(facts: Facts) -> str:
    if facts.scenes <= 1:
        return ""
    mean = f"scene lasts {wording.duration(facts.duration_s / facts.scenes)} on average."
    if facts.cuts_per_minute >= wording.FAST and facts.scenes < wording.ENOUGH_SCENES:
        return f"A {mean}"
    return f"It has a {wording.word(facts.cuts_per_minute, wording.PACE)}: a {mean}"


def _extremes(facts: Facts) -> str:
    """Which scene stands out, where scenes differ enough to say so."""
    if len(facts.scene_stats) < 2:
        return ""
    stands_out: dict[float, list[str]] = {}
    brightness = [stats.brightness for _, stats in facts.scene_stats]
    motion = [stats.motion for _, stats in facts.scene_stats]
    if max(brightness) >= _WORTH_TELLING * max(min(brightness), _BLACK):
        stands_out.setdefault(_start_of_highest(facts, brightness), []).append("brightest")
    if max(motion) >= _WORTH_TELLING * max(sum(motion) / len(motion), _STILL):
        stands_out.setdefault(_start_of_highest(facts, motion), []).append("liveliest")
    told = [f"The {wording.listed(how)} scene begins at {_clock(start_s)}." for start_s, how in stands_out.items()]
    return " ".join(told)


def _start_of_highest(facts: Facts, values: Sequence[float]) -> float:
    return facts.scene_stats[values.index(max(values))][0]


def _subtitles(languages: Sequence[str]) -> str:
    if not languages:
        return ""
    named = sorted({wording.language(code) for code in languages if code})
    return f"It is subtitled in {wording.listed(named)}." if named else "It is subtitled."


def _article(adjectives: Sequence[str], noun: str) -> str:
    phrase = f"{', '.join(adjectives)} {noun}".strip()
    return f"{'An' if phrase[0] in 'aeiou' else 'A'} {phrase}"


def _join(opening: str, parts: Sequence[str]) -> str:
    return ", ".join([opening, *(part for part in parts if part)]) + "."


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
