"""Tokens and memory: budgets hold, batches are filled and halved, and one process holds one model."""

from __future__ import annotations

import gc
import io
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vidpipe.errors import UnavailableError
from vidpipe.models.describing_model import Frame
from vidpipe.models.prompts import Prompt, sample_evenly
from vidpipe.models.qwen import loading
from vidpipe.models.qwen.backend import QwenModel, TokenBudget, batch_tokens, fill_batches
from vidpipe.models.qwen.inputs import FrameBudget, frame_budget, prepare_request, to_video
from vidpipe.models.qwen.loading import LoadedModel
from vidpipe_tests.models.qwen.conftest import DESCRIBE, clip, engine_of, needs_torch, request, settings

pytestmark = needs_torch

COLORS = ("red", "green", "blue", "yellow", "white")


def grey(count: int, width: int, height: int) -> list[Frame]:
    jpeg = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(jpeg, "JPEG")
    return [Frame(index / 2, jpeg.getvalue()) for index in range(count)]


@contextmanager
def memory_for(engine: LoadedModel, tokens: int) -> Iterator[list[int]]:
    """A limit hook: torch's own OutOfMemoryError, as a GPU raises it, above `tokens` at once. Gives the sizes."""
    import torch

    sizes: list[int] = []

    def limit(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        rows, new = named["input_ids"].shape
        sizes.append(rows * (named["past_key_values"].get_seq_length() + new))
        if sizes[-1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. (injected)")

    hook = engine.model.register_forward_pre_hook(limit, with_kwargs=True)
    try:
        yield sizes
    finally:
        hook.remove()


@pytest.mark.parametrize("count", [1, 2, 7, 16, 96])
@pytest.mark.parametrize(("width", "height"), [(420, 360), (64, 48), (1920, 180)])
@pytest.mark.parametrize("most", [64, 1000, 16_384])
def test_the_token_budget_holds(count: int, width: int, height: int, most: int) -> None:
    budget = FrameBudget(min_pixels=28 * 28, max_pixels=360 * 420, max_tokens=most)
    video, times_s = to_video(grey(count, width, height), budget)
    frames, _, shown_height, shown_width = video.shape
    assert frames == len(times_s)
    assert budget.tokens(frames, shown_height, shown_width) <= most
    assert shown_height % 28 == shown_width % 28 == 0
    assert shown_height * shown_width <= 360 * 420
    if most == 16_384:
        assert frames == count, "where there is room no frame is left out"


def test_the_models_own_tokens_are_those_of_the_budget(model: QwenModel) -> None:
    """Counted by the model's processor, not by our arithmetic."""
    engine = engine_of(model)
    wanted = settings(max_video_tokens=100, max_pixels=200_000).qwen_vl
    prepared = prepare_request(engine, request(grey(12, 420, 360)), frame_budget(engine, wanted))
    tokens = int((prepared.prefix_types == 2).sum())
    assert 60 <= tokens <= 100
    assert tokens == int(prepared.seen["video_grid_thw"].prod()) // 4


def test_left_out_frames_are_evenly_spread() -> None:
    frames = [Frame(float(index), b"") for index in range(11)]
    assert [frame.time_s for frame in sample_evenly(frames, 3)] == [0.0, 5.0, 10.0]
    assert sample_evenly(frames, 11) == frames
    assert [frame.time_s for frame in sample_evenly(frames, 1)] == [5.0]


def test_batches_are_filled_by_tokens_not_by_count(model: QwenModel) -> None:
    engine = engine_of(model)
    budget = frame_budget(engine, settings().qwen_vl)
    asked = [
        prepare_request(engine, request(clip("red", "square", frames=frames)), budget)
        for frames in (1, 1, 1, 1, 40, 40)
    ]
    most = 4 * asked[0].length
    assert [len(batch) for batch in fill_batches(asked, TokenBudget(most))] == [4, 1, 1]
    assert all(batch_tokens(batch) <= most or len(batch) == 1 for batch in fill_batches(asked, TokenBudget(most)))


def test_out_of_memory_halves_the_batch_and_says_the_same(model: QwenModel) -> None:
    engine = engine_of(model)
    asked = [request(clip(color, "square"), video=color[0]) for color in COLORS]
    with memory_for(engine, tokens=300) as sizes:
        said = list(model.answer(asked, threading.Event()))
    assert max(sizes) > 300, "the limit was met"
    assert [reply.error for reply in said] == [None] * len(COLORS)
    assert sorted(reply.answers[0].text for reply in said) == sorted(f"A {color} square." for color in COLORS)


def test_out_of_memory_divides_the_prompts_of_one_request(model: QwenModel) -> None:
    prompts = [Prompt(f"prompt_{number}", "scene", "Which colour is it?", max_tokens=24) for number in range(4)]
    with memory_for(engine_of(model), tokens=150) as sizes:
        (reply,) = model.answer([request(clip("blue", "picture"), *prompts)], threading.Event())
    assert max(sizes) > 150, "the limit was met"
    assert reply.error is None
    assert [answer.prompt.id for answer in reply.answers] == [prompt.id for prompt in prompts]
    assert {answer.text for answer in reply.answers} == {"A blue picture."}


def test_what_does_not_fit_alone_fails_that_request_only(model: QwenModel) -> None:
    large = request(clip("red", "square", frames=60), video="b")
    small = [request(clip(color, "square"), video="a") for color in ("green", "blue")]
    with memory_for(engine_of(model), tokens=350):
        said = list(model.answer([small[0], large, small[1]], threading.Event()))
    failed = [reply for reply in said if reply.error]
    assert [reply.request for reply in failed] == [large]
    assert "video bbbbbbbbbbbb does not fit" in str(failed[0].error)
    assert "MaxVideoTokens" in str(failed[0].error)
    assert {reply.answers[0].text for reply in said if not reply.error} == {"A green square.", "A blue square."}


def test_two_users_hold_one_model_and_the_last_close_frees_it(model: QwenModel) -> None:
    model.close()
    assert loading.users() == 0
    first, second = QwenModel(settings()), QwenModel(settings(batch_tokens=512))
    asked = request(clip("red", "square"), DESCRIBE)
    texts = [[reply.answers[0].text for reply in each.answer([asked], threading.Event())] for each in (first, second)]
    assert texts == [["A red square."]] * 2
    assert engine_of(first) is engine_of(second)
    weights = weakref.ref(engine_of(first).model)
    first.close()
    first.close()
    assert loading.users() == 1, "closing twice counts once"
    assert weights() is not None
    second.close()
    gc.collect()
    assert weights() is None, "the weights are gone"
    assert [reply.answers[0].text for reply in first.answer([asked], threading.Event())] == ["A red square."]
    first.close()


def test_a_process_holds_no_second_checkpoint(model: QwenModel, tmp_path: Path) -> None:
    engine_of(model)
    other = QwenModel(settings(model_dir=str(tmp_path)))
    with pytest.raises(UnavailableError, match="can hold only one"):
        list(other.answer([request(clip("red", "square"))], threading.Event()))
