"""Words for measurements. Each word stands for a range of one number, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from vidpipe.media.facts import ColorShare, SceneStats

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
