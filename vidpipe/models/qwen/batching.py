"""Batches filled by tokens, and halved when memory runs out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vidpipe.errors import VidpipeError
from vidpipe.models.describing_model import ModelAnswer, ModelReply
from vidpipe.models.qwen.inputs import PreparedRequest
from vidpipe.models.qwen.loading import LoadedModel, free_memory
from vidpipe.models.qwen.prefill import answer_batch


@dataclass
class TokenBudget:
    """Tokens that fit into memory at once: the setting, and less after memory ran out."""

    tokens: int


def batch_tokens(batch: Sequence[PreparedRequest]) -> int:
    """Return the tokens in a batch: one row per prompt, padded to the longest prefix, question and answer."""
    rows = sum(len(each.prompts) for each in batch)
    prefix, question, answer = (max(each.longest[part] for each in batch) for part in range(3))
    return rows * (prefix + question + answer)


def fill_batches(requests: Iterable[PreparedRequest], budget: TokenBudget) -> Iterator[list[PreparedRequest]]:
    """Yield consecutive requests in batches that fit into `budget`; a larger one goes alone."""
    batch: list[PreparedRequest] = []
    for request in requests:
        if batch and batch_tokens([*batch, request]) > budget.tokens:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def answer_in_batches(
    engine: LoadedModel, batch: Sequence[PreparedRequest], budget: TokenBudget
) -> Iterator[ModelReply]:
    """Yield one reply per request.

    When memory runs out, the batch is halved, then the prompts of a request, until it fits or one is left. `budget`
    shrinks accordingly for the following batches.
    """
    if len(batch) > 1:
        answers = _try(engine, batch, budget)
        if answers is not None:
            for each, said in zip(batch, answers, strict=True):
                yield ModelReply(each.request, said)
            return
        middle = len(batch) // 2
        yield from answer_in_batches(engine, batch[:middle], budget)
        yield from answer_in_batches(engine, batch[middle:], budget)
        return
    said, error = _answer_alone(engine, batch[0], budget)
    yield ModelReply(batch[0].request, said, error)


def _answer_alone(
    engine: LoadedModel, one: PreparedRequest, budget: TokenBudget
) -> tuple[list[ModelAnswer], VidpipeError | None]:
    answers = _try(engine, [one], budget)
    if answers is not None:
        return answers[0], None
    if len(one.prompts) == 1:
        return [], _too_large(engine, one)
    middle = len(one.prompts) // 2
    parts = [_answer_alone(engine, part, budget) for part in (one.part(0, middle), one.part(middle, len(one.prompts)))]
    said = list(itertools.chain.from_iterable(answers for answers, _ in parts))
    return said, next((error for _, error in parts if error), None)


def _try(engine: LoadedModel, batch: Sequence[PreparedRequest], budget: TokenBudget) -> list[list[ModelAnswer]] | None:
    """Return the answers; None if memory ran out."""
    import torch

    try:
        return answer_batch(engine, batch)
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # the CPU allocator has no error class of its own
            raise
    budget.tokens = min(budget.tokens, batch_tokens(batch) // 2)
    free_memory()  # only here, after the traceback has released the tensors
    return None


def _too_large(engine: LoadedModel, one: PreparedRequest) -> VidpipeError:
    request = one.request
    return VidpipeError(
        f"The {request.scope} {request.start_s:.1f}-{request.end_s:.1f} s of video {request.video[:12]} does not fit "
        f"into the memory of the {'GPU' if engine.device == 'cuda' else 'machine'}, even alone: {one.length} tokens.",
        "Lower MaxVideoTokens or MaxPixels in [QwenVL], use a smaller model, or free memory.",
    )
