"""What prompts begin with is computed once, and says what each of them would be told alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from vidpipe.models.prompts import Prompt
from vidpipe.models.qwen.backend import QwenModel, TokenBudget, batch_tokens, fill_batches
from vidpipe.models.qwen.inputs import PreparedRequest, frame_budget, prepare_request, shared_tokens
from vidpipe.models.qwen.loading import LoadedModel
from vidpipe.models.qwen.prefill import answer_batch
from vidpipe_tests.models.qwen.conftest import (
    QUESTIONS,
    SEEN,
    clip,
    engine_of,
    needs_torch,
    replies,
    request,
    requests_of,
    settings,
)

if TYPE_CHECKING:
    import torch

pytestmark = needs_torch

#: What is known of a video, before the question: some hundred tokens that all prompts share.
CONTEXT = "What is known of the video:\n" + "\n".join(f"- scene {n}: a square is shown, it moves" for n in range(40))
LONG = tuple(
    Prompt(f"long_{number}", "scene", f"{CONTEXT}\n\n{text}", max_tokens=most)
    for number, (text, most) in enumerate(
        (
            ("Describe this scene in one sentence.", 24),
            ("Describe this scene in one sentence. Say nothing else.", 40),
            ("Which colour is it?", 4),
            ("?", 24),
        )
    )
)
APART = (
    Prompt("a", "scene", "Which colour?", max_tokens=24),
    Prompt("b", "scene", "See what is there.", max_tokens=24),
)
PROMPTS = pytest.mark.parametrize(
    "prompts", [LONG, APART, LONG[:1], QUESTIONS], ids=["long beginning", "nothing in common", "one", "several"]
)


def prepared(
    model: QwenModel, seen: tuple[str, str, int, str], prompts: Sequence[Prompt]
) -> tuple[LoadedModel, PreparedRequest]:
    engine = engine_of(model)
    return engine, prepare_request(engine, requests_of([seen], *prompts)[0], frame_budget(engine, settings().qwen_vl))


def stock(engine: LoadedModel, one: PreparedRequest, place: int) -> str:
    """One plain `generate` with pixels, from which positions and padding are worked out inside."""
    import torch

    question = torch.tensor(one.questions[place])
    ids = torch.cat([one.prefix, question])[None]
    types = torch.cat([one.prefix_types, torch.zeros_like(question)])[None]
    engine.model.model.rope_deltas = None
    generated = engine.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **one.seen,
        max_new_tokens=one.prompts[place].max_tokens, do_sample=False,
    )  # fmt: skip
    return str(engine.decoder.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)).strip()


@contextmanager
def watched(engine: LoadedModel) -> Iterator[tuple[list[tuple[int, int]], list[torch.Tensor]]]:
    """(rows, new tokens) of each pass through the model, and its last logits."""
    shapes: list[tuple[int, int]] = []
    logits: list[torch.Tensor] = []

    def before(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        shapes.append(tuple(named["input_ids"].shape))

    hooks = [
        engine.model.register_forward_pre_hook(before, with_kwargs=True),
        engine.model.register_forward_hook(lambda *seen: logits.append(seen[2].logits[:, -1].float())),
    ]
    try:
        yield shapes, logits
    finally:
        for hook in hooks:
            hook.remove()


@PROMPTS
@pytest.mark.parametrize("seen", SEEN)
def test_the_shared_prefix_computes_what_stock_generate_does(
    model: QwenModel, seen: tuple[str, str, int, str], prompts: Sequence[Prompt]
) -> None:
    from torch.testing import assert_close

    engine, one = prepared(model, seen, prompts)
    with watched(engine) as (_, logits):
        said = [answer.text for answer in answer_batch(engine, [one])[0]]
    ours = logits[1]  # after the prefix
    for place, text in enumerate(said):
        with watched(engine) as (_, logits):
            assert stock(engine, one, place) == text
        assert_close(ours[place], logits[0][0], atol=2e-4, rtol=1e-3)


@PROMPTS
def test_a_shared_prefix_says_the_same_as_separate_prompts(model: QwenModel, prompts: Sequence[Prompt]) -> None:
    """In batches of clips of different lengths, too."""
    shared = replies(model, requests_of(SEEN, *prompts))
    assert shared == [[replies(model, requests_of([seen], prompt))[0][0] for prompt in prompts] for seen in SEEN]


@PROMPTS
def test_the_parts_are_the_tokens_of_the_whole(model: QwenModel, prompts: Sequence[Prompt]) -> None:
    engine, one = prepared(model, SEEN[0], prompts)
    frames = int((one.prefix_types == 2).sum())
    for prompt, question in zip(prompts, one.questions, strict=True):
        text = prompt.text.replace("<|", "< |")
        message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}
        chat = engine.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        whole = chat.replace("<|video_pad|>", "<|video_pad|>" * frames)
        assert one.prefix.tolist() + question == engine.decoder(whole, add_special_tokens=False)["input_ids"]
        assert question, "something is left for the answer to go on from"


def test_what_is_shared() -> None:
    assert shared_tokens([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 6]]) == 2
    assert shared_tokens([[1, 2], [3, 2]]) == 0
    assert shared_tokens([[1, 2, 3]]) == 2
    assert shared_tokens([[1, 2], [1, 2, 3]]) == 1, "the shorter one keeps a token"
    assert shared_tokens([[1, 2], [1, 2]]) == 1


def test_frames_and_context_are_computed_once_for_all_prompts(model: QwenModel) -> None:
    engine, one = prepared(model, SEEN[0], LONG)
    assert len(one.prefix) > 300
    with watched(engine) as (shapes, _):
        (answers,) = answer_batch(engine, [one])
    longest = max(len(question) for question in one.questions)
    assert shapes[:2] == [(1, len(one.prefix)), (len(LONG), longest)]
    assert longest < 40, "what differs, and the end of the user's turn"
    read = [answer.prompt_tokens for answer in answers]
    own = [len(question) for question in one.questions]
    assert read == [len(one.prefix) + own[0], *own[1:]], "what is shared counts once"


def test_the_frames_of_a_batch_are_looked_at_once(model: QwenModel) -> None:
    engine = engine_of(model)
    looks: list[int] = []
    hook = engine.model.model.visual.register_forward_pre_hook(lambda *_: looks.append(1))
    try:
        replies(model, requests_of(SEEN[:3], *QUESTIONS))
    finally:
        hook.remove()
    assert len(looks) == 1, "three clips and five prompts are one batch"


def test_rows_that_ended_cost_nothing_any_more(model: QwenModel) -> None:
    prompts = [Prompt(f"p{most}", "scene", "Which colour is it?", max_tokens=most) for most in (1, 2, 24)]
    engine, one = prepared(model, SEEN[0], prompts)
    plain = [stock(engine, one, place) for place in range(len(prompts))]
    with watched(engine) as (shapes, _):
        (answers,) = answer_batch(engine, [one], tokens_per_call=2)
    assert [answer.text for answer in answers] == plain
    assert [rows for rows, _ in shapes[1:4]] == [3, 3, 1], "two tokens together, then the one that goes on"


def test_a_batch_counts_what_it_is_padded_to(model: QwenModel) -> None:
    long_clip, long_text = prepared(model, SEEN[3], APART)[1], prepared(model, SEEN[0], LONG)[1]
    engine = engine_of(model)
    together = batch_tokens([long_clip, long_text])
    assert together > batch_tokens([long_clip]) + batch_tokens([long_text]), "the shorter ones are padded"
    sizes: list[int] = []

    def note(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        rows, new = named["input_ids"].shape
        sizes.append(rows * (named["past_key_values"].get_seq_length() + new))

    hook = engine.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        answer_batch(engine, [long_clip, long_text])
    finally:
        hook.remove()
    assert max(sizes) <= together
    assert [len(batch) for batch in fill_batches([long_clip, long_text], TokenBudget(together))] == [2]
    assert [len(batch) for batch in fill_batches([long_clip, long_text], TokenBudget(together - 1))] == [1, 1]


def test_control_tokens_in_a_prompt_are_words(model: QwenModel) -> None:
    """A title or subtitle that ends the user's turn must not be able to."""
    engine, one = prepared(model, SEEN[0], QUESTIONS[-1:])
    after = [*one.prefix.tolist(), *one.questions[0]]
    after = after[after.index(engine.decoder.convert_tokens_to_ids("<|vision_end|>")) :]
    ids = engine.decoder.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "<|video_pad|>"])
    assert [after.count(token) for token in ids] == [1, 1, 0], "the chat template's own and no more"


def test_answers_of_a_divided_request_are_the_same(model: QwenModel) -> None:
    """A part begins as the whole did, however much more its own prompts share."""
    engine, one = prepared(model, SEEN[0], LONG)
    parts = [answer_batch(engine, [part])[0] for part in (one.part(0, 2), one.part(2, 4))]
    said = [answer.text for part in parts for answer in part]
    (whole,) = answer_batch(engine, [one])
    assert said == [answer.text for answer in whole]
    (reply,) = model.answer([request(clip("red", "square"), *LONG)], threading.Event())
    assert [answer.text for answer in reply.answers] == said
