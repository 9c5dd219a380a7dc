"""Qwen2-VL: the usual way (one video at a time, one generate a question) against ours, in one run.

    python -m benchmarks.qwen [--configuration tiny 100m 2b 7b] [--layers N] [--json FILE]

The usual way is what the model's own page shows: transformers' processor, qwen-vl-utils and `generate` with pixels, for
each question separately. Both see the same frames, already decoded, through the same weights. tiny is
the tests' checkpoint; the others are random weights, 2b and 7b in the full sizes of Qwen2-VL, made on the GPU in bf16.
Without a GPU tiny and 100m are measured; --layers makes the large ones small enough to try them. Reach on a GPU: five
questions in at most 1.3 times the time of one; at least 5 times the videos a minute of the usual way.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import platform
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info

from benchmarks.qwen_models import SHAPES, build, only, parameters, peak_flops, prefill_work, synchronize
from vidpipe.models.describing_model import Frame, MeasuredFacts, ModelRequest
from vidpipe.models.prompts import DESCRIBE_SCENE, Prompt
from vidpipe.models.qwen.backend import QwenModel, TokenBudget, fill_batches
from vidpipe.models.qwen.inputs import frame_budget, prepare_request
from vidpipe.models.qwen.loading import LoadedModel
from vidpipe.models.qwen.prefill import prefill
from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL

QUESTIONS = (
    DESCRIBE_SCENE, "What is the mood?", "Give tags for this scene.", "Is there a person in it?", "Which category?",
)  # fmt: skip


@dataclass(frozen=True)
class Pictures:
    """Frames that no cache knows."""

    frames: Sequence[Frame]
    version: str = "noise"

    def load(self) -> Sequence[Frame]:
        return self.frames


@dataclass(frozen=True)
class Asked:
    """seconds, and what was said: a text a question, video by video."""

    seconds: float
    texts: list[str]
    tokens: int


@dataclass(frozen=True)
class Measured:
    """Rates and shares of one configuration; a video is one scene of `frames` frames with all questions.

    *_prefill_share: of the FLOP/s of a large matrix product here, while prompts are read
    five_to_one:     time of all questions to that of the first alone, ours
    equal_*:         share of our texts, in batches, that are those of our way one by one, and of the usual way
    """

    configuration: str
    machine: str
    dtype: str
    attention: str
    parameters: int
    videos: int
    questions: int
    frames: int
    tokens_a_video: int
    peak_tflops: float
    usual_videos_a_minute: float
    ours_videos_a_minute: float
    usual_tokens_a_second: float
    ours_tokens_a_second: float
    usual_prefill_share: float
    ours_prefill_share: float
    usual_peak_gib: float
    ours_peak_gib: float
    times_as_fast: float
    five_to_one: float
    equal_to_one_by_one: float
    equal_to_usual: float


def scenes(count: int, frames: int, width: int, height: int, tokens: int) -> list[ModelRequest]:
    """Requests about pictures of noise."""
    random = np.random.default_rng(1)
    prompts = tuple(Prompt(f"q{n}", "scene", text, max_tokens=tokens) for n, text in enumerate(QUESTIONS))

    def jpeg() -> bytes:
        small = Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        made = io.BytesIO()
        small.resize((width, height)).save(made, "JPEG")
        return made.getvalue()

    facts = MeasuredFacts(duration_s=4.0, scenes=1, cuts_per_minute=0.0, stats=None)
    return [
        ModelRequest(
            f"{n:064d}", "scene", 0.0, 4.0, prompts, facts, Pictures([Frame(t / 2, jpeg()) for t in range(frames)])
        )
        for n in range(count)
    ]


def usual_inputs(engine: LoadedModel, request: ModelRequest, prompt: Prompt, max_pixels: int) -> dict[str, Any]:
    """As on the model's page, its frames in place of a file."""
    assert request.frames is not None
    pictures = [Image.open(io.BytesIO(frame.jpeg)) for frame in request.frames.load()]
    video = {"type": "video", "video": pictures, "min_pixels": 28 * 28, "max_pixels": max_pixels}
    messages = [{"role": "user", "content": [video, {"type": "text", "text": prompt.text}]}]
    text = engine.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    _, videos = process_vision_info(messages)
    inputs = engine.processor(
        text=[text], videos=videos, return_tensors="pt",
        videos_kwargs={"do_resize": False, "do_sample_frames": False, "cap_pixels_per_frame": False},
    )  # fmt: skip
    return {name: torch.as_tensor(value).to(engine.device) for name, value in inputs.items()}


@torch.inference_mode()
def usual_way(engine: LoadedModel, asked: Sequence[ModelRequest], max_pixels: int) -> Asked:
    synchronize(engine.device)
    began, texts, tokens = time.perf_counter(), [], 0
    for request in asked:
        for prompt in request.prompts:
            inputs = usual_inputs(engine, request, prompt, max_pixels)
            generated = engine.model.generate(**inputs, max_new_tokens=prompt.max_tokens, do_sample=False)
            said = generated[0, inputs["input_ids"].shape[1] :]
            tokens += len(said)
            texts.append(engine.decoder.decode(said, skip_special_tokens=True).strip())
    return Asked(time.perf_counter() - began, texts, tokens)


def our_way(model: QwenModel, rounds: Sequence[Sequence[ModelRequest]]) -> Asked:
    """One `answer` a round."""
    began, texts, tokens = time.perf_counter(), [], 0
    for requests in rounds:
        replies = {id(reply.request.frames): reply for reply in model.answer(requests, threading.Event())}
        for request in requests:
            reply = replies[id(request.frames)]
            if reply.error:
                raise reply.error
            texts += [answer.text for answer in reply.answers]
            tokens += sum(answer.tokens for answer in reply.answers)
    return Asked(time.perf_counter() - began, texts, tokens)


@torch.inference_mode()
def prefill_shares(
    engine: LoadedModel, asked: Sequence[ModelRequest], settings: QwenVL, peak: float
) -> tuple[float, float]:
    """(usual, ours): FLOP/s to the first token, as a share of `peak`. Pictures are prepared beforehand for both."""
    budget = frame_budget(engine, settings)
    prepared = [prepare_request(engine, request, budget) for request in asked]
    batch = next(fill_batches(prepared, TokenBudget(settings.batch_tokens)))
    inputs = usual_inputs(engine, asked[0], asked[0].prompts[0], settings.max_pixels or 0)
    seconds = []
    for run in (
        lambda: engine.model.generate(**inputs, max_new_tokens=1, do_sample=False),
        lambda: prefill(engine, batch),
    ):
        run()
        synchronize(engine.device)
        began = time.perf_counter()
        run()
        synchronize(engine.device)
        seconds.append(time.perf_counter() - began)
    usual, ours = prefill_work(engine, batch[:1]).all, prefill_work(engine, batch).all
    return usual / seconds[0] / peak, ours / seconds[1] / peak


def measure(name: str, given: argparse.Namespace, device: str) -> Measured:
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    engine = build(name, device, dtype, given.layers)
    width, height = (112, 112) if name == "tiny" else (224, 224) if name == "100m" else (420, 360)
    frames = given.frames or (16 if name in ("2b", "7b") else 8)
    asked = scenes(given.scenes or (32 if device == "cuda" else 6), frames, width, height, given.tokens)
    few = asked[: given.usual_scenes or 6]
    settings = QwenVL(backend="qwen", min_pixels=28 * 28, max_pixels=width * height, batch_tokens=given.batch_tokens)
    model = QwenModel(Settings(home=Path("/nowhere"), qwen_vl=settings))
    model._engine = engine  # made here, not loaded
    our_way(model, [asked[:1]])
    usual_way(engine, [only(asked[0], 0)], width * height)  # warm
    peak = peak_flops(device, dtype)
    usual, usual_gib = with_peak(device, lambda: usual_way(engine, few, width * height))
    ours, ours_gib = with_peak(device, lambda: our_way(model, [asked]))
    one = our_way(model, [[only(request, 0) for request in asked]])
    alone = our_way(model, [[only(each, place)] for each in few for place in range(len(each.prompts))])
    shares = prefill_shares(engine, asked, settings, max(peak, peak_flops(device, dtype)))
    prepared = prepare_request(engine, asked[0], frame_budget(engine, settings))
    usual_a_minute, ours_a_minute = 60 * len(few) / usual.seconds, 60 * len(asked) / ours.seconds
    return Measured(
        configuration=name + (f", {given.layers} layers" if given.layers and name != "tiny" else ""),
        machine=torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU {platform.machine()}, {torch.get_num_threads()} threads",
        dtype=engine.dtype,
        attention=engine.attention,
        parameters=sum(parameter.numel() for parameter in engine.model.parameters()),
        videos=len(asked),
        questions=len(QUESTIONS),
        frames=frames,
        tokens_a_video=int((prepared.prefix_types == 2).sum()),
        peak_tflops=peak / 1e12,
        usual_videos_a_minute=usual_a_minute,
        ours_videos_a_minute=ours_a_minute,
        usual_tokens_a_second=usual.tokens / usual.seconds,
        ours_tokens_a_second=ours.tokens / ours.seconds,
        usual_prefill_share=shares[0],
        ours_prefill_share=shares[1],
        usual_peak_gib=usual_gib,
        ours_peak_gib=ours_gib,
        times_as_fast=ours_a_minute / usual_a_minute,
        five_to_one=ours.seconds / one.seconds,
        equal_to_one_by_one=equal(ours.texts, alone.texts),
        equal_to_usual=equal(ours.texts, usual.texts),
    )


def with_peak(device: str, run: Any) -> tuple[Asked, float]:
    """What `run` gives, and the most memory in GiB: of the GPU; without one, of the process until then."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    said = run()
    most = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return said, most / 2**30


def equal(ours: Sequence[str], others: Sequence[str]) -> float:
    """Of the first videos, which both have."""
    return sum(a == b for a, b in zip(ours, others, strict=False)) / len(others)


def summary(found: Measured) -> str:
    shares = f"{found.equal_to_one_by_one:.0%} of texts as one by one, {found.equal_to_usual:.0%} as the usual way"
    lines = [
        f"{found.configuration}: {found.parameters / 1e6:,.1f} M parameters, {found.machine}, {found.dtype}, "
        f"{found.attention}, matrix product {found.peak_tflops:.2f} TFLOP/s",
        f"  {found.videos} videos, {found.frames} frames ({found.tokens_a_video} tokens), {found.questions} questions",
        "              videos/min   tokens/s   of peak in prefill   peak memory",
        f"  usual way {found.usual_videos_a_minute:12.1f} {found.usual_tokens_a_second:10.0f} "
        f"{found.usual_prefill_share:20.0%} {found.usual_peak_gib:9.2f} GiB",
        f"  ours      {found.ours_videos_a_minute:12.1f} {found.ours_tokens_a_second:10.0f} "
        f"{found.ours_prefill_share:20.0%} {found.ours_peak_gib:9.2f} GiB",
        f"  {found.times_as_fast:.1f} times as fast; all questions take {found.five_to_one:.2f} times one; {shares}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configuration", nargs="+", choices=["tiny", *SHAPES], help="default: what fits the machine")
    parser.add_argument("--layers", type=int, help="of text and vision, fewer than the real ones: to try 2b and 7b")
    parser.add_argument("--scenes", type=int, help="videos for our way")
    parser.add_argument("--usual-scenes", type=int, help="videos for the usual way, which is slow")
    parser.add_argument("--frames", type=int, help="of a video")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer, at most")
    parser.add_argument("--batch-tokens", type=int, default=65_536, help="BatchTokens of [QwenVL]")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = []
    for name in given.configuration or (["tiny", "100m", "2b", "7b"] if device == "cuda" else ["tiny", "100m"]):
        if name != "tiny" and (published := SHAPES[name].parameters):
            assert abs(parameters(SHAPES[name]) / 1e9 - published) < 0.05, "the size of the real model"
        found.append(measure(name, given, device))
        print(summary(found[-1]), flush=True)
        if device == "cuda":
            torch.cuda.empty_cache()
        if given.json:
            given.json.write_text(json.dumps([dataclasses.asdict(each) for each in found], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
