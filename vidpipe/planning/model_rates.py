"""How fast the describing model reads and writes on this installation, and how long its answers are, from the answers
that are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pymongo.collection import Collection

from vidpipe.library.runs import model_figures
from vidpipe.library.schema import Document
from vidpipe.models.prompts import Prompt
from vidpipe.planning.amounts import Amount
from vidpipe.planning.model_speed import Asked, Speed, speed_of
from vidpipe.settings import Settings

#: Answers that the rates are taken from, the latest first.
RECENT = 2000
#: Every answer that is in the wrong form is asked for once more, and no more often.
_MOST_AGAIN = 2.0
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
    answers: that this was measured from; 0: nothing was, and `bounds` is all there is
    first:   scope -> mean tokens read for the answer that the frames were read for
    further: scope -> mean tokens read for each other answer of the same request
    output:  prompt id -> mean tokens of its answer
    again:   times as many tokens are read, and written, since answers in the wrong form are asked for once more
    speed:   None: not measured
    """

    bounds: Bounds
    answers: int = 0
    first: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, float] = field(default_factory=dict)
    output: Mapping[str, float] = field(default_factory=dict)
    again: tuple[float, float] = (1.0, 1.0)
    speed: Speed | None = None

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
        read, written = read * self.again[0], written * self.again[1]
        return Amount(
            frames=frames, asked=len(prompts), prompt_tokens=read, output_tokens=written,
            seconds=self.speed.seconds(read, written) if self.speed else None, at_most=at_most,
        )  # fmt: skip

    @property
    def start(self) -> Amount:
        """What a run takes besides: the loading of the model."""
        return Amount(seconds=self.speed.start_s if self.speed else None)


_WANTED = dict.fromkeys(
    ("video", "scope", "start_s", "end_s", "run", "prompt_id", "tokens", "prompt_tokens", "seconds"), 1
)


def measure_model(
    answers: Collection[Document], runs: Collection[Document], version: str, bounds: Bounds
) -> ModelRates:
    """The rates of the model called `version`, from its latest answers and the figures of the runs that asked it."""
    rows = list(answers.find({"model": version}, _WANTED).sort([("model", -1), ("at", -1)]).limit(RECENT))
    if not rows:
        return ModelRates(bounds)
    asked: dict[tuple[object, ...], Asked] = {}
    output: defaultdict[str, list[int]] = defaultdict(list)
    for row in reversed(rows):
        run = row.get("run") or ""
        place = (row["video"], row["scope"], row["start_s"], row["end_s"], run)
        request = asked.setdefault(place, Asked(row["scope"], run))
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
    cut_off = rows[-1].get("run") if len(rows) == RECENT else None
    return ModelRates(
        bounds=bounds,
        answers=len(rows),
        first=means,
        # One prompt a request tells nothing of a second one: at worst it reads everything again.
        further={scope: fmean(further[scope]) if further[scope] else mean for scope, mean in means.items()},
        output={prompt: fmean(written) for prompt, written in output.items()},
        again=_again(runs, [request for request in asked.values() if request.run != cut_off]),
        speed=speed_of(list(asked.values())),
    )


def _again(runs: Collection[Document], asked: Sequence[Asked]) -> tuple[float, float]:
    """What runs have read and written for each token of the answers that were kept. asked: of runs as a whole"""
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
        factors.append(min(max(of_runs / of_answers, 1.0), _MOST_AGAIN) if of_answers else 1.0)
    return factors[0], factors[1]
