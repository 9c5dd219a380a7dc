"""How fast the describing model is, and how many tokens its answers take, measured from its latest answers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles

from pymongo.collection import Collection

from vidpipe.library.runs import model_figures
from vidpipe.library.schema import Document
from vidpipe.models.prompts import Prompt
from vidpipe.runner.budget import ModelWork
from vidpipe.runner.stage_rates import Sample, two_rates
from vidpipe.settings import Settings

#: Most answers that rates are measured from, latest first.
_RECENT_ANSWERS = 2000
#: A malformed answer is asked for once more, and no more often.
_MAX_REPEATS = 2.0
#: Fewest letters of a token in most languages of the models.
_LETTERS_PER_TOKEN = 2
#: Of a Qwen model: side of a visual token in pixels, and frames that a token spans.
_TOKEN_SIDE_PX, _FRAMES_PER_TOKEN = 28, 2
#: Answers that came one by one are compared in this many parts.
_PARTS = 24
#: Answers came together if a quarter of them took less than this share of the mean, and less than these seconds.
_JOINT_SHARE, _JOINT_MAX_S = 0.1, 0.05
_MIN_ANSWERS = 4
#: A part this many times slower than most was disturbed, and is ignored.
_OUTLIER_FACTOR = 5.0


@dataclass(frozen=True)
class TokenBounds:
    """Upper bounds of a request, used until something has been measured.

    Attributes:
        frame_tokens: Tokens of one frame.
        most_frame_tokens: Most tokens of all frames of a request.
        most_frames: Most frames shown in one request.
        shares: Several prompts about the same frames read them once.
    """

    frame_tokens: float
    most_frame_tokens: float
    most_frames: float
    shares: bool

    @classmethod
    def of(cls, settings: Settings) -> "TokenBounds":
        """Derive the bounds from the size of stored frames and the limits of [QwenVL]."""
        qwen = settings.qwen_vl
        pixels = settings.scene_detection.frame_max_pixels
        if qwen.backend == "endpoint":
            as_video = qwen.api_style == "openai" and qwen.video_format == "video_url"
            frame_tokens = pixels / _TOKEN_SIDE_PX**2 / (_FRAMES_PER_TOKEN if as_video else 1)
            return cls(frame_tokens, float("inf"), qwen.max_frames or float("inf"), shares=False)
        pixels = max(min(pixels, qwen.max_pixels or pixels), qwen.min_pixels or 0)
        return cls(pixels / _TOKEN_SIDE_PX**2 / _FRAMES_PER_TOKEN, qwen.max_video_tokens, float("inf"), shares=True)

    def prompt_tokens(self, frames: float, prompts: Sequence[Prompt]) -> float:
        """Return the most tokens read for `prompts` about `frames` frames."""
        shown = min((frames + 1) * self.frame_tokens, self.most_frame_tokens) if frames else 0.0
        text = sum(len(prompt.text) for prompt in prompts) / _LETTERS_PER_TOKEN
        return shown * (1 if self.shares else len(prompts)) + text


@dataclass(frozen=True)
class ModelRates:
    """How many tokens the answers of a model take, and how fast it is.

    Attributes:
        bounds: Upper bounds, for what was not measured.
        answers: Number of answers measured; with 0, only `bounds` applies.
        first: Scope -> mean tokens read for the answer for which the frames were read.
        further: Scope -> mean tokens read for each further answer of the same request.
        output: Prompt id -> mean tokens of its answer.
        repeats: Factors of the tokens read and written, since malformed answers are asked for once more.
        speed: None if not measured.
    """

    bounds: TokenBounds
    answers: int = 0
    first: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, float] = field(default_factory=dict)
    output: Mapping[str, float] = field(default_factory=dict)
    repeats: tuple[float, float] = (1.0, 1.0)
    speed: "TokenSpeed | None" = None

    def work(self, scope: str, frames: float, prompts: Sequence[Prompt]) -> ModelWork:
        """Return what asking `prompts` about `frames` frames of a scene or video takes; nothing without prompts."""
        if not prompts:
            return ModelWork()
        frames = min(frames, self.bounds.most_frames)
        at_most = scope not in self.first
        if at_most:
            read = self.bounds.prompt_tokens(frames, prompts)
        else:
            read = self.first[scope] + (len(prompts) - 1) * self.further[scope]
        written = 0.0
        for prompt in prompts:
            at_most = at_most or prompt.id not in self.output
            written += self.output.get(prompt.id, prompt.max_tokens)
        read, written = read * self.repeats[0], written * self.repeats[1]
        return ModelWork(
            frames=frames, asked=len(prompts), prompt_tokens=read, output_tokens=written,
            seconds=self.speed.seconds(read, written) if self.speed else None, at_most=at_most,
        )  # fmt: skip

    @property
    def start(self) -> ModelWork:
        """What a run takes in addition: loading the model."""
        return ModelWork(seconds=self.speed.start_s if self.speed else None)


_FIELDS = dict.fromkeys(
    ("video", "scope", "start_s", "end_s", "run", "prompt_id", "tokens", "prompt_tokens", "seconds"), 1
)


def measure_model(
    answers: Collection[Document], runs: Collection[Document], version: str, bounds: TokenBounds
) -> ModelRates:
    """Measure the rates of the model `version` from its latest answers and the figures of the runs that asked it."""
    rows = list(answers.find({"model": version}, _FIELDS).sort([("model", -1), ("at", -1)]).limit(_RECENT_ANSWERS))
    if not rows:
        return ModelRates(bounds)
    asked: dict[tuple[object, ...], AnsweredRequest] = {}
    output: defaultdict[str, list[int]] = defaultdict(list)
    for row in reversed(rows):
        run = row.get("run") or ""
        place = (row["video"], row["scope"], row["start_s"], row["end_s"], run)
        request = asked.setdefault(place, AnsweredRequest(row["scope"], run))
        request.read.append(row.get("prompt_tokens") or 0)
        request.written += row.get("tokens") or 0
        request.seconds += row.get("seconds") or 0.0
        output[row["prompt_id"]].append(row.get("tokens") or 0)
    first: defaultdict[str, list[int]] = defaultdict(list)
    further: defaultdict[str, list[int]] = defaultdict(list)
    for request in asked.values():
        most, *others = sorted(request.read, reverse=True)
        first[request.scope].append(most)
        further[request.scope] += others
    means = {scope: fmean(read) for scope, read in first.items()}
    cut_off = rows[-1].get("run") if len(rows) == _RECENT_ANSWERS else None
    return ModelRates(
        bounds=bounds,
        answers=len(rows),
        first=means,
        # With one prompt per request nothing is known of a second one: at worst it reads everything again.
        further={scope: fmean(further[scope]) if further[scope] else mean for scope, mean in means.items()},
        output={prompt: fmean(written) for prompt, written in output.items()},
        repeats=_repeat_factors(runs, [request for request in asked.values() if request.run != cut_off]),
        speed=measure_speed(list(asked.values())),
    )


def _repeat_factors(runs: Collection[Document], asked: "Sequence[AnsweredRequest]") -> tuple[float, float]:
    """Return the tokens read, and written, by whole runs for each token of the answers that were kept."""
    kept: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for request in asked:
        kept[request.run][0] += sum(request.read)
        kept[request.run][1] += request.written
    figures = {
        run["_id"]: model_figures(run.get("stages") or {})
        for run in runs.find({"_id": {"$in": list(kept)}, "status": "success"}, {"stages": 1})
    }
    factors = []
    for place, used in enumerate(("prompt_tokens", "output_tokens")):
        of_answers = sum(kept[run][place] for run in figures)
        of_runs = sum(getattr(use, used) for use in figures.values())
        factors.append(min(max(of_runs / of_answers, 1.0), _MAX_REPEATS) if of_answers else 1.0)
    return factors[0], factors[1]


@dataclass
class AnsweredRequest:
    """The answers to one request, in one run.

    Attributes:
        scope: Scene or video.
        run: The id of the run.
        read: Prompt tokens of each answer.
        written: Output tokens of all answers.
        seconds: Model time.
    """

    scope: str
    run: str
    read: list[int] = field(default_factory=list)
    written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TokenSpeed:
    """Seconds per token of a model.

    Attributes:
        per_prompt_token_s: Seconds for each token read.
        per_output_token_s: Seconds for each token written.
        start_s: Seconds before the first answer of a run, in addition to its tokens.
        separated: Whether reading and writing could be measured separately.
    """

    per_prompt_token_s: float
    per_output_token_s: float
    start_s: float = 0.0
    separated: bool = False

    def seconds(self, read: float, written: float) -> float:
        """Return the model time for tokens read and written."""
        return read * self.per_prompt_token_s + written * self.per_output_token_s


def _sums(requests: Sequence[AnsweredRequest]) -> Sample:
    """Return the tokens read, the tokens written and the seconds of all of `requests`."""
    return (
        float(sum(sum(request.read) for request in requests)),
        float(sum(request.written for request in requests)),
        sum(request.seconds for request in requests),
    )


def measure_speed(requests: Sequence[AnsweredRequest]) -> TokenSpeed | None:
    """Measure the speed from requests, in the order in which they were answered.

    Time is recorded with the first of the answers that come together, and loading the model with the first of a run,
    so only sums are right: answers are grouped as they came before anything is concluded.

    Returns:
        None if the requests carry no information.
    """
    runs: dict[str, list[AnsweredRequest]] = {}
    for request in requests:
        runs.setdefault(request.run, []).append(request)
    first: list[Sample] = []
    rest: list[list[AnsweredRequest]] = []
    together = _joint_answers_limit_s([request.seconds for each in runs.values() for request in each[1:]])
    for each in runs.values():
        parts = _parts(each, together)
        first.append(_sums(parts[0]))
        rest += parts[1:]
    if not together:
        flat = [request for part in rest for request in part]
        size = max(1, -(-len(flat) // _PARTS))
        rest = [flat[start : start + size] for start in range(0, len(flat), size)]
    speed = _fit_speed([_sums(part) for part in rest]) or _fit_speed(first)
    if speed is None or not rest:
        return speed
    waits = [max(seconds - speed.seconds(read, written), 0.0) for read, written, seconds in first]
    return TokenSpeed(speed.per_prompt_token_s, speed.per_output_token_s, median(waits), speed.separated)


def _joint_answers_limit_s(seconds: Sequence[float]) -> float | None:
    """Return the limit below which an answer came together with the one before; None if answers came one by one.

    The first of those that came together took longer than the mean, since the others took next to nothing.
    """
    if len(seconds) < _MIN_ANSWERS:
        return None
    least, mean = quantiles(seconds, n=4)[0], sum(seconds) / len(seconds)
    return mean if least < min(_JOINT_SHARE * mean, _JOINT_MAX_S) else None


def _parts(requests: Sequence[AnsweredRequest], together: float | None) -> list[list[AnsweredRequest]]:
    """Group the requests as they came."""
    parts: list[list[AnsweredRequest]] = []
    for request in requests:
        if parts and together is not None and request.seconds < together:
            parts[-1].append(request)
        else:
            parts.append([request])
    return parts


def _fit_speed(parts: Sequence[Sample]) -> TokenSpeed | None:
    paces = {part: part[2] / (part[0] + part[1]) for part in parts if part[2] > 0 and part[0] + part[1] > 0}
    if not paces:
        return None
    usual = _OUTLIER_FACTOR * median(paces[part] for part in parts if part in paces)
    parts = [part for part in parts if part in paces and paces[part] <= usual]
    rates = two_rates(parts)
    if rates is not None:
        return TokenSpeed(*rates, separated=True)
    pace = sum(seconds for _, _, seconds in parts) / sum(read + written for read, written, _ in parts)
    return TokenSpeed(pace, pace)
