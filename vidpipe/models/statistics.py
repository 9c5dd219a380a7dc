"""The backend `statistics`, also called `measured`, which needs no vision model: sentences made of measurements.

First come sentences about what the enabled analyses heard, read and detected, each from one of them: quotes and counts,
without conclusions. Then it states how bright, colorful, lively, loud and long something is. Each word describes a
range of one measurement. It cannot know what happens, so it does not say.
"""

import threading
from collections.abc import Iterator, Sequence

from vidpipe.media.facts import ColorShare, SceneStats
from vidpipe.models.describing_model import DescribingModel, MeasuredFacts, ModelAnswer, ModelReply, ModelRequest
from vidpipe.text.messages import duration_in_words, join_words
from vidpipe.text.names import language_name

#: (upper end of the range, word), in ascending order.
Scale = Sequence[tuple[float, str]]

#: Mean luma, 0 to 1.
BRIGHTNESS: Scale = ((0.12, "very dark"), (0.28, "dark"), (0.62, ""), (0.8, "bright"), (9.0, "very bright"))
#: Minimum dark share of a picture that is called dark: pure blue has a low luma, too.
DARK_SHARE = 0.5
#: Shares of the time that count as never, and as colorful; the default rules use the same.
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
#: Cuts per minute.
PACE: Scale = ((4.0, "slow pace"), (12.0, "moderate pace"), (24.0, "fast pace"),
               (1e9, "very fast pace with fast cuts"))  # fmt: skip
#: From this many cuts per minute, the pace is stated only if there are this many scenes: a few fast cuts may be chance.
FAST, ENOUGH_SCENES = 12.0, 8

#: Share of silence (below -50 dBFS) and level in dBFS from which sound counts as silent; quiet speech is louder.
SILENT_SHARE, SILENT_DBFS = 0.95, -70.0
#: Share of silence that is mentioned.
PARTLY_SILENT_SHARE = 0.3
#: A color is named from the first share; from the second, alone or with others, it is most of the picture.
NAMED_SHARE, DOMINANT_SHARE = 0.12, 0.6
_MAX_COLORS = 3

#: A scene stands out if its brightness is this multiple of the darkest one's, or its motion of the mean.
_STANDS_OUT = 2.0
#: Below these, brightness and motion are negligible.
_BLACK, _STILL = 0.05, 0.003


class StatisticsModel(DescribingModel):
    """Describes measurements. The same measurements give the same text, whatever the prompt."""

    name = "statistics"
    measured = True
    version = "statistics-2"

    def readiness(self) -> str:
        """Return what `vidpipe doctor` reports."""
        return "sentences made of measurements, no model looks at the pictures"

    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield one reply per request, until `cancelled` is set."""
        for request in requests:
            if cancelled.is_set():
                return
            measured = describe_video(request.facts) if request.scope == "video" else describe_scene(request.facts)
            text = " ".join((*request.facts.findings, measured))
            yield ModelReply(request, [ModelAnswer(prompt, text) for prompt in request.prompts])


def describe_scene(facts: MeasuredFacts) -> str:
    """Return one or two sentences about one scene."""
    if facts.stats is None:
        return f"A scene of {duration_in_words(facts.duration_s)}."
    adjectives = light_words(facts.stats)
    opening = f"{_article(adjectives, 'scene')} of {duration_in_words(facts.duration_s)}"
    sentences = [_join(opening, _picture(facts.stats)), sound_phrase(facts.stats, facts.has_sound)]
    return " ".join(sentence for sentence in sentences if sentence)


def describe_video(facts: MeasuredFacts) -> str:
    """Return a few sentences about a whole video."""
    adjectives = light_words(facts.stats) if facts.stats else []
    kind = " ".join(part for part in (facts.orientation, facts.resolution, facts.hdr or "", "video") if part)
    opening = f"{_article(adjectives, kind)} of {duration_in_words(facts.duration_s)}"
    opening += " in a single shot" if facts.scenes <= 1 else f" in {facts.scenes} scenes"
    sentences = [
        _join(opening, _picture(facts.stats) if facts.stats else []),
        _pace(facts),
        _extremes(facts),
        sound_phrase(facts.stats, facts.has_sound),
        _subtitles(facts.subtitle_languages),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _picture(stats: SceneStats) -> list[str]:
    colors = colors_phrase(stats.colors)
    # black and white footage consists of greys; naming them adds nothing
    grey = BLACK_AND_WHITE in light_words(stats)
    motion = motion_word(stats)
    contrast = word(stats.contrast, CONTRAST)
    return ["" if grey else colors, f"with {join_words([part for part in (motion, contrast) if part])}"]


def _pace(facts: MeasuredFacts) -> str:
    if facts.scenes <= 1:
        return ""
    mean = f"scene lasts {duration_in_words(facts.duration_s / facts.scenes)} on average."
    if facts.cuts_per_minute >= FAST and facts.scenes < ENOUGH_SCENES:
        return f"A {mean}"
    return f"It has a {word(facts.cuts_per_minute, PACE)}: a {mean}"


def _extremes(facts: MeasuredFacts) -> str:
    """Return which scenes stand out, if they differ enough."""
    if len(facts.scene_stats) < 2:
        return ""
    stands_out: dict[float, list[str]] = {}
    brightness = [stats.brightness for _, stats in facts.scene_stats]
    motion = [stats.motion for _, stats in facts.scene_stats]
    if max(brightness) >= _STANDS_OUT * max(min(brightness), _BLACK):
        stands_out.setdefault(_start_of_highest(facts, brightness), []).append("brightest")
    if max(motion) >= _STANDS_OUT * max(sum(motion) / len(motion), _STILL):
        stands_out.setdefault(_start_of_highest(facts, motion), []).append("liveliest")
    sentences = [f"The {join_words(how)} scene begins at {_clock(start_s)}." for start_s, how in stands_out.items()]
    return " ".join(sentences)


def _start_of_highest(facts: MeasuredFacts, values: Sequence[float]) -> float:
    return facts.scene_stats[values.index(max(values))][0]


def _subtitles(languages: Sequence[str]) -> str:
    if not languages:
        return ""
    named = sorted({language_name(code) for code in languages if code})
    return f"It is subtitled in {join_words(named)}." if named else "It is subtitled."


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


def word(value: float, scale: Scale) -> str:
    """Return the word for `value`; "" for the ordinary middle of a scale."""
    return next((name for upper, name in scale if value < upper), scale[-1][1])


def light_words(stats: SceneStats) -> list[str]:
    """Return adjectives for light and color: ["dark", "colourful"]."""
    light = word(stats.brightness, BRIGHTNESS)
    if "dark" in light and (stats.dark_share or 0.0) < DARK_SHARE:
        light = ""
    return [found for found in (light, _color_word(stats)) if found]


def _color_word(stats: SceneStats) -> str:
    if stats.colored_share is not None and stats.colored_share <= NEVER:
        # a blank picture is not black and white
        return "" if stats.contrast < CONTRAST[0][0] else BLACK_AND_WHITE
    if (stats.colorful_share or 0.0) >= COLORFUL_SHARE:
        return "colourful"
    return "muted" if stats.saturation < MUTED else ""


def motion_word(stats: SceneStats) -> str:
    """Return how much moves. A picture is still only if no part of it moves."""
    found = word(stats.motion, MOTION)
    return MOTION[1][1] if found == MOTION[0][1] and (stats.moving_share or 0.0) > NEVER else found


def colors_phrase(colors: Sequence[ColorShare]) -> str:
    """Return the largest colors: "mostly blue and black", "in green and red among others"; "" if none stands out."""
    named = [color for color in colors if color.share >= NAMED_SHARE][:_MAX_COLORS]
    if not named:
        return ""
    if named[0].share >= DOMINANT_SHARE:
        return f"mostly {named[0].name}"
    names = join_words([color.name for color in named])
    return f"mostly {names}" if sum(color.share for color in named) >= DOMINANT_SHARE else f"in {names} among others"


def sound_phrase(stats: SceneStats | None, has_sound: bool) -> str:
    """Return a sentence about the sound; "" if nothing was measured."""
    if not has_sound:
        return "It is silent: there is no sound track."
    if stats is None or stats.loudness_db is None:
        return ""
    silence = stats.silence_share or 0.0
    if silence >= SILENT_SHARE and stats.loudness_db <= SILENT_DBFS:
        return "The sound track is silent."
    loudness = f"The sound is {word(stats.loudness_db, LOUDNESS)}"
    return f"{loudness}, with long silences." if silence >= PARTLY_SILENT_SHARE else f"{loudness}."
