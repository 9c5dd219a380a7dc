"""How fast the describing model reads and writes on this installation, and how long its answers are, from the answers
that are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from pymongo.collection import Collection

from vidpipe.library.schema import Document
from vidpipe.planning.amounts import Amount
from vidpipe.planning.fit import Sample, two_rates
from vidpipe.settings import Settings
from vidpipe.vlm.prompts import Prompt

#: Answers that the rates are taken from, the latest first.
RECENT = 2000
#: The time of answers that came together stands with the first of them: it is compared in parts of this number.
_PARTS = 24
#: Letters of a token, at the least, in most languages that models were made for.
_LETTERS_A_TOKEN = 2
#: Of a Qwen model: pixels along a side of a visual token, and frames that one spans.
_TOKEN_SIDE, _FRAMES_A_TOKEN = 28, 2


@dataclass(frozen=True)
class Bounds:
    """The most that a request can come to, where nothing was measured.

    frame_tokens, most_frame_tokens: of one frame, and of all frames of a request
    most_frames: that are shown at once
    shares:      several prompts about the same frames read them once
    """

    frame_tokens: float
    most_frame_tokens: float
    most_frames: float
    shares: bool

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """By the pixels that frames are kept in, and the limits of [QwenVL]."""
        qwen = settings.qwen_vl
        pixels = settings.scene_detection.frame_max_pixels
        if qwen.backend == "endpoint":
            as_video = qwen.api_style == "openai" and qwen.video_format == "video_url"
            frame_tokens = pixels / _TOKEN_SIDE**2 / (_FRAMES_A_TOKEN if as_video else 1)
            return cls(frame_tokens, float("inf"), qwen.max_frames or float("inf"), shares=False)
        pixels = max(min(pixels, qwen.max_pixels or pixels), qwen.min_pixels or 0)
        return cls(pixels / _TOKEN_SIDE**2 / _FRAMES_A_TOKEN, qwen.max_video_tokens, float("inf"), shares=True)

    def prompt_tokens(self, frames: float, prompts: Sequence[Prompt]) -> float:
        shown = min((frames + 1) * self.frame_tokens, self.most_frame_tokens) if frames else 0.0
        text = sum(len(prompt.text) for prompt in prompts) / _LETTERS_A_TOKEN
        return shown * (1 if self.shares else len(prompts)) + text


@dataclass(frozen=True)
class ModelRates:
    """
    answers:      that this was measured from; 0: nothing was, and `bounds` is all there is
    first:        scope -> mean tokens read for the answer that the frames were read for
    further:      scope -> mean tokens read for each other answer of the same request
    output:       prompt id -> mean tokens of its answer
    a_prompt_token, a_output_token: seconds for each; None: not measured
    apart:        reading and writing could be told apart
    """

    bounds: Bounds
    answers: int = 0
    first: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, float] = field(default_factory=dict)
    output: Mapping[str, float] = field(default_factory=dict)
    a_prompt_token: float | None = None
    a_output_token: float | None = None
    apart: bool = False

    def amount(self, scope: str, frames: float, prompts: Sequence[Prompt]) -> Amount:
        """What asking `prompts` about `frames` frames of a scene or video takes; nothing for no prompts."""
        if not prompts:
            return Amount()
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
        return Amount(
            frames=frames, asked=len(prompts), prompt_tokens=read, output_tokens=written,
            seconds=self._seconds(read, written), at_most=at_most,
        )  # fmt: skip

    def _seconds(self, read: float, written: float) -> float | None:
        if self.a_prompt_token is None or self.a_output_token is None:
            return None
        return read * self.a_prompt_token + written * self.a_output_token


@dataclass
class _Asked:
    """The answers to one request, in one run."""

    scope: str
    read: list[int] = field(default_factory=list)
    written: int = 0
    seconds: float = 0.0


_WANTED = dict.fromkeys(
    ("video", "scope", "start_s", "end_s", "run", "prompt_id", "tokens", "prompt_tokens", "seconds"), 1
)


def measure_model(answers: Collection[Document], version: str, settings: Settings) -> ModelRates:
    """The rates of the model called `version`, from its latest answers."""
    rows = list(answers.find({"model": version}, _WANTED).sort([("model", -1), ("at", -1)]).limit(RECENT))
    if not rows:
        return ModelRates(Bounds.of(settings))
    asked: dict[tuple[object, ...], _Asked] = {}
    output: defaultdict[str, list[int]] = defaultdict(list)
    for row in reversed(rows):
        place = (row["video"], row["scope"], row["start_s"], row["end_s"], row.get("run"))
        request = asked.setdefault(place, _Asked(row["scope"]))
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
    bounds = Bounds.of(settings)
    a_prompt_token, a_output_token, apart = _speeds(asked.values())
    means = {scope: fmean(read) for scope, read in first.items()}
    return ModelRates(
        bounds=bounds,
        answers=len(rows),
        first=means,
        # One prompt a request tells nothing of a second one: at worst it reads everything again.
        further={scope: fmean(further[scope]) if further[scope] else mean for scope, mean in means.items()},
        output={prompt: fmean(written) for prompt, written in output.items()},
        a_prompt_token=a_prompt_token,
        a_output_token=a_output_token,
        apart=apart,
    )


def _speeds(asked: Iterable[_Asked]) -> tuple[float | None, float | None, bool]:
    """Seconds for a token read and for one written, and whether these are two measurements or one."""
    requests = list(asked)
    size = max(1, -(-len(requests) // _PARTS))
    parts = [requests[start : start + size] for start in range(0, len(requests), size)]
    samples: list[Sample] = [
        (
            float(sum(sum(request.read) for request in part)),
            float(sum(request.written for request in part)),
            sum(request.seconds for request in part),
        )
        for part in parts
    ]
    rates = two_rates(samples)
    if rates is not None:
        return *rates, True
    speeds = [seconds / (read + written) for read, written, seconds in samples if seconds and read + written]
    return (median(speeds), median(speeds), False) if speeds else (None, None, False)
