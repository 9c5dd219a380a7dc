"""sentiment: how positive or negative a video is.

If a describing model was asked, its judgment counts: it saw the frames and read the subtitles. Otherwise the words of
the video are rated: its subtitles; or else what was heard; or else the titles and captions on screen, if these analyses
are enabled; or else the model's description (never measurements: light and loudness express no opinion). They are rated
by VADER (Hutto & Gilbert, 2014), a lexicon for English sentences: each sentence gets its compound score (-1 to 1), and
the video their mean, weighted by their number of words, so that "Yes." counts less than a speech. Labels follow VADER's
own thresholds: positive from 0.05, negative from -0.05.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar

from vidpipe.media.facts import SubtitleCue, SubtitleStream
from vidpipe.stages.analyses.results import SpeechSegment, TextEntry
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.stages.results import ModelSentiment, Sentiment
from vidpipe.text.words import normalize

PartT = TypeVar("PartT", SpeechSegment, TextEntry)

_METHOD = "VADER: mean of the sentences' compound scores, weighted by their words"
_LIMIT = 0.05
_ENGLISH = re.compile(r"^en(?:g(?:lish)?)?(?:[-_].*)?$", re.I)
#: Words that occur in most English sentences and in few other languages.
_COMMON = (
    "the and of to is it that you this with are not have they we he she what i my your from there but all do don't "
    "it's i'm was were be been for his her our their who when where why how would could should can can't"
)
_FUNCTION_WORDS = frozenset(_COMMON.split())
_MIN_FUNCTION_WORDS = 0.2
#: Different words, and their confidence, from which what was recognized is rated: noise may be taken for "Thank you."
_MIN_WORDS, _MIN_CONFIDENCE = 5, 0.5

#: A longer pause, or this many words, end a sentence without punctuation.
_PAUSE_S = 1.5
_MAX_SENTENCE_WORDS = 60
_SOUND_NOTES = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|[♪♫#*]+")
_SPEAKER = re.compile(r"^(?:-\s*)?(?:>>\s*)?[A-Z][A-Z0-9 .'’-]{0,30}:\s+|^-\s*|^>>\s*", re.M)
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@per_video
def judge_sentiment(item: Item, context: StageContext) -> Sentiment:
    """Return the sentiment; "no basis", with the reason, if there are no English words to rate."""
    judged: ModelSentiment | None = item["descriptions.sentiment"]
    if judged is not None:
        return Sentiment(
            label=judged.label,
            score=judged.score,
            read_from="frames",
            method=f"{item['descriptions.model']}, asked",
            reason=judged.reason,
        )
    sentences, reason = choose_stream(item["metadata.subtitles"], item["metadata.cues"])
    if sentences:
        return _judged(sentences, "subtitles", reason)
    lacking: list[str] = []
    for read_from, sentences in _recognized(item):
        if len({word for sentence in sentences for word in normalize(sentence).split()}) >= _MIN_WORDS:
            said = f"{len(sentences)} sentence{'s'[: len(sentences) != 1]}"
            return _judged(sentences, read_from, f"Read from {read_from} in English: {said}")
        lacking.append(read_from)
    if lacking:
        reason += f", there are too few English words in {' and '.join(lacking)}"
    text: str = item["descriptions.text"]
    if item["descriptions.measured"] or not text.strip():
        return Sentiment(
            label="no basis",
            read_from="nothing",
            reason=f"{reason}, and what was measured of the pictures carries no opinion.",
        )
    return _judged(list(_sentences(text)), "description", f"{reason}; the model's description was judged")


def _recognized(item: Item) -> Iterator[tuple[Literal["speech", "screen text"], Sequence[str]]]:
    """Yield the English sentences that the enabled analyses recognized; small print, logos and signs do not count."""
    segments: Sequence[SpeechSegment] | None = item.fields.get("speech.segments")
    if segments is not None:
        yield "speech", sentences_of_cues(_in_english(segments))
    entries: Sequence[TextEntry] | None = item.fields.get("screen_text.entries")
    if entries is not None:
        # texts on screen stand for themselves
        texts = [entry.text for entry in _in_english(entries) if entry.kind != "small"]
        yield "screen text", [sentence for text in texts for sentence in _sentences(text)]


def _in_english(parts: Sequence[PartT]) -> list[PartT]:
    return [
        part
        for part in parts
        if (part.confidence is None or part.confidence >= _MIN_CONFIDENCE)
        and (_ENGLISH.match(part.language) if part.language else reads_as_english(part.text))
    ]


def choose_stream(streams: Sequence[SubtitleStream], cues: Sequence[SubtitleCue]) -> tuple[Sequence[str], str]:
    """Return the sentences of the longest English stream, none if there is none, and why that stream was chosen.

    A stream marked as English comes before one of unknown language that reads as English. Only one is rated, since the
    same words in two streams are not twice as positive.
    """
    spoken: dict[int, list[str]] = {}
    for index, group in itertools.groupby(sorted(cues, key=lambda cue: cue.stream), key=lambda cue: cue.stream):
        spoken[index] = sentences_of_cues(list(group))
    candidates = [stream for stream in streams if spoken.get(stream.index)]
    if not candidates:
        reason = "The subtitles are pictures or empty" if streams else "There are no subtitles"
        return (), reason

    def rank(stream: SubtitleStream) -> tuple[bool, bool, int, int]:
        words = sum(map(_count_words, spoken[stream.index]))
        return (bool(stream.language), not stream.forced, words, -stream.index)

    english = [
        stream
        for stream in candidates
        if (_ENGLISH.match(stream.language) if stream.language else reads_as_english(" ".join(spoken[stream.index])))
    ]
    if not english:
        named = sorted({stream.language or "a language that is not named and does not read as English"
                        for stream in candidates})  # fmt: skip
        return (), f"The subtitles are in {', '.join(named)}; the lexicon knows English only"
    best = max(english, key=rank)
    sentences = spoken[best.index]
    return sentences, f"Read from subtitle stream {best.index}: {len(sentences)} sentence{'s'[: len(sentences) != 1]}"


def reads_as_english(text: str) -> bool:
    """Return whether a fifth of the words are English function words (two fifths in English text)."""
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    return bool(words) and sum(word in _FUNCTION_WORDS for word in words) >= _MIN_FUNCTION_WORDS * len(words)


def sentences_of_cues(cues: Sequence[SubtitleCue | SpeechSegment]) -> list[str]:
    """Return the spoken sentences of cues or segments, joined across them, without sound notes and speakers' names."""
    sentences: list[str] = []
    run: list[str] = []
    end_s, last = 0.0, ""
    for cue in sorted(cues, key=lambda cue: cue.start_s):
        text = " ".join(_SPEAKER.sub("", _SOUND_NOTES.sub(" ", cue.text)).split())
        if not text or text == last:
            continue  # rolling captions repeat a line until it has scrolled away
        if run and (cue.start_s - end_s > _PAUSE_S or sum(map(_count_words, run)) >= _MAX_SENTENCE_WORDS):
            sentences += _sentences(" ".join(run))
            run = []
        run.append(text)
        end_s, last = cue.end_s, text
    return [*sentences, *_sentences(" ".join(run))]


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(" ".join(text.split())):
        words = sentence.split(" ")
        # VADER's time grows with the square of a sentence's length
        for start in range(0, len(words), _MAX_SENTENCE_WORDS):
            part = " ".join(words[start : start + _MAX_SENTENCE_WORDS])
            if _WORD.search(part):
                yield part


def _judged(
    sentences: Sequence[str], read_from: Literal["subtitles", "description", "speech", "screen text"], reason: str
) -> Sentiment:
    score = mean_score(sentences)
    label: Literal["positive", "neutral", "negative"]
    label = "positive" if score >= _LIMIT else "negative" if score <= -_LIMIT else "neutral"
    return Sentiment(label=label, score=score, read_from=read_from, method=_METHOD, reason=f"{reason}.")


def mean_score(sentences: Sequence[str]) -> float:
    """Return the mean compound score of the sentences, weighted by their words: -1 to 1."""
    analyzer = _analyzer()
    weights = [max(1, _count_words(sentence)) for sentence in sentences]
    scores = [float(analyzer.polarity_scores(sentence)["compound"]) for sentence in sentences]
    return round(sum(score * weight for score, weight in zip(scores, weights, strict=True)) / sum(weights), 4)


def _count_words(text: str) -> int:
    return len(_WORD.findall(text))


@functools.cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # reads its lexicon: 20 ms

    return SentimentIntensityAnalyzer()


STAGE = Stage(
    name="sentiment",
    job="label",
    description="How positive or negative the video is: judged by the describing model, or by its words.",
    result=Sentiment,
    function=judge_sentiment,
    reads=(
        "metadata.subtitles",
        "metadata.cues",
        "descriptions.text",
        "descriptions.measured",
        "descriptions.model",
        "descriptions.sentiment",
    ),
    pool="cpu",
    batch_size=16,
    kinds=("vader",),
    quick=True,
)
