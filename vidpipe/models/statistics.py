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
from collections.abc import Sequence
from vidpipe.media.facts import ColorShare, SceneStats



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


# DOC """Words for measurements. Each word stands for a range of one number, and for nothing else."""
# 


#: (upper end of the range, word), in the order of the scale.
Scale = Sequence[tuple[float, str]]

#: Mean luma, 0 to 1.
BRIGHTNESS: Scale = ((0.12, "very dark"), (0.28, "dark"), (0.62, ""), (0.8, "bright"), (9.0, "very bright"))
#: Least dark share of a picture that is called dark: pure blue has a low luma, too.
DARK_SHARE = 0.5
#: Shares of the time that count as never, and as colourful; the default rules use the same.
NEVER, COLORFUL_SHARE = 0.002, 0.5
BLACK_AND_WHITE = "black and white"
#: Mean saturation, 0 to 1, below which a picture is muted.
MUTED = 0.12
#: Mean luma change in 1/25 s, 0 to 1; the steps were chosen on real footage between a title card and a handheld pan.
MOTION: Scale = (
    (0.0004, "a still picture"), (0.006, "little movement"), (0.018, "some movement"), (0.045, "much movement"),
    (9.0, "very much movement"),
)  # fmt: skip
#: Standard deviation of luma within a frame, 0 to 0.5.
CONTRAST: Scale = ((0.06, "low contrast"), (0.28, ""), (9.0, "high contrast"))
#: RMS level in dBFS.
LOUDNESS: Scale = ((-45.0, "very quiet"), (-30.0, "quiet"), (-14.0, "of medium loudness"), (99.0, "loud"))
#: Cuts a minute.
PACE: Scale = ((4.0, "slow pace"), (12.0, "moderate pace"), (24.0, "fast pace"),
               (1e9, "very fast pace with fast cuts"))  # fmt: skip
#: From this many cuts a minute on, a pace is stated only for this many scenes: a few fast cuts may be chance.
FAST, ENOUGH_SCENES = 12.0, 8

#: Share of silence (below -50 dBFS) and level in dBFS from which sound counts as silent; quiet speech is louder.
SILENT_SHARE, SILENT_DBFS = 0.95, -70.0
#: Share of silence that is worth a word.
PARTLY_SILENT_SHARE = 0.3
#: A colour is named from this share on; from the second, alone or with others, it is most of the picture.
NAMED_SHARE, DOMINANT_SHARE = 0.12, 0.6
_MOST_COLORS = 3

#: ISO 639-1 and 639-2 codes (both of its variants) of languages that subtitles are often in.
_LANGUAGES = {
    code: name
    for codes, name in (
        ("en eng", "English"), ("de deu ger", "German"), ("fr fra fre", "French"), ("es spa", "Spanish"),
        ("it ita", "Italian"), ("pt por", "Portuguese"), ("nl nld dut", "Dutch"), ("pl pol", "Polish"),
        ("ru rus", "Russian"), ("uk ukr", "Ukrainian"), ("cs ces cze", "Czech"), ("sv swe", "Swedish"),
        ("da dan", "Danish"), ("no nor nob", "Norwegian"), ("fi fin", "Finnish"), ("el ell gre", "Greek"),
        ("tr tur", "Turkish"), ("ar ara", "Arabic"), ("he heb", "Hebrew"), ("fa fas per", "Persian"),
        ("hi hin", "Hindi"), ("zh zho chi", "Chinese"), ("ja jpn", "Japanese"), ("ko kor", "Korean"),
        ("vi vie", "Vietnamese"), ("th tha", "Thai"), ("id ind", "Indonesian"), ("hu hun", "Hungarian"),
        ("ro ron rum", "Romanian"),
    )
    for code in codes.split()
}  # fmt: skip


def word(value: float, scale: Scale) -> str:
    """The word for `value`; empty for the ordinary middle of a scale."""
    return next((name for upper, name in scale if value < upper), scale[-1][1])


def light_words(stats: SceneStats) -> list[str]:
    """Adjectives for light, colour and contrast: ["dark", "colourful"]."""
    light = word(stats.brightness, BRIGHTNESS)
    if "dark" in light and (stats.dark_share or 0.0) < DARK_SHARE:
        light = ""
    return [found for found in (light, _color_word(stats)) if found]


def _color_word(stats: SceneStats) -> str:
    if stats.colored_share is not None and stats.colored_share <= NEVER:
        # a blank picture is not what "black and white" means
        return "" if stats.contrast < CONTRAST[0][0] else BLACK_AND_WHITE
    if (stats.colorful_share or 0.0) >= COLORFUL_SHARE:
        return "colourful"
    return "muted" if stats.saturation < MUTED else ""


def motion_word(stats: SceneStats) -> str:
    """How much moves; a picture is still only where no part of it moves."""
    found = word(stats.motion, MOTION)
    return MOTION[1][1] if found == MOTION[0][1] and (stats.moving_share or 0.0) > NEVER else found


def colors_phrase(colors: Sequence[ColorShare]) -> str:
    """The largest colours: "mostly blue and black", "in green and red among others"; empty where none stands out."""
    named = [color for color in colors if color.share >= NAMED_SHARE][:_MOST_COLORS]
    if not named:
        return ""
    if named[0].share >= DOMINANT_SHARE:
        return f"mostly {named[0].name}"
    names = listed([color.name for color in named])
    return f"mostly {names}" if sum(color.share for color in named) >= DOMINANT_SHARE else f"in {names} among others"


def sound_phrase(stats: SceneStats | None, has_sound: bool) -> str:
    """A sentence about the sound; empty where nothing was measured."""
    if not has_sound:
        return "It is silent: there is no sound track."
    if stats is None or stats.loudness_db is None:
        return ""
    silence = stats.silence_share or 0.0
    if silence >= SILENT_SHARE and stats.loudness_db <= SILENT_DBFS:
        return "The sound track is silent."
    loudness = f"The sound is {word(stats.loudness_db, LOUDNESS)}"
    return f"{loudness}, with long silences." if silence >= PARTLY_SILENT_SHARE else f"{loudness}."


def language(code: str) -> str:
    """The English name of a language by its code; the code itself where it is none of the common ones."""
    return _LANGUAGES.get(code.lower().partition("-")[0], code)


def duration(seconds: float) -> str:
    """A length of time in words: "9.7 seconds", "3 minutes 20 seconds", "1 hour 12 minutes"."""
    rounded = round(seconds, 1) or round(seconds, 2)
    if rounded < 60:
        return _count(rounded, "second")
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = (
        [_count(hours, "hour"), _count(minutes, "minute")]
        if hours
        else [_count(minutes, "minute"), _count(rest, "second")]
    )
    return " ".join(part for part in parts if not part.startswith("0 "))


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"
