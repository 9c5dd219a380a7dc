"""Batches filled by tokens, and halved when memory runs out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vidpipe.errors import VidpipeError
from vidpipe.vlm.model import Answer, Reply
from vidpipe.vlm.qwen.inputs import Prepared
from vidpipe.vlm.qwen.loading import Engine, free_memory
from vidpipe.vlm.qwen.prefix import answer_batch


@dataclass
class Room:
    """Tokens that fit at once: what the settings say, and less once memory ran out."""

    tokens: int


def batch_tokens(batch: Sequence[Prepared]) -> int:
    """Tokens that a batch holds at once: a row a prompt, padded to the longest prefix, question and answer."""
    rows = sum(len(each.prompts) for each in batch)
    prefix, question, answer = (max(each.longest[part] for each in batch) for part in range(3))
    return rows * (prefix + question + answer)


def filled(requests: Iterable[Prepared], room: Room) -> Iterator[list[Prepared]]:
    """Consecutive requests in batches that fit into `room`; one that is larger alone goes alone."""
    batch: list[Prepared] = []
    for request in requests:
        if batch and batch_tokens([*batch, request]) > room.tokens:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def answered(engine: Engine, batch: Sequence[Prepared], room: Room) -> Iterator[Reply]:
    """One reply a request. Out of memory halves the batch, then a request's prompts, until it fits or one is left.

    `room` shrinks with it, so that the batches to come need not find out again.
    """
    if len(batch) > 1:
        answers = _tried(engine, batch, room)
        if answers is not None:
            for each, said in zip(batch, answers, strict=True):
                yield Reply(each.request, said)
            return
        middle = len(batch) // 2
        yield from answered(engine, batch[:middle], room)
        yield from answered(engine, batch[middle:], room)
        return
    said, error = _alone(engine, batch[0], room)
    yield Reply(batch[0].request, said, error)


def _alone(engine: Engine, one: Prepared, room: Room) -> tuple[list[Answer], VidpipeError | None]:
    answers = _tried(engine, [one], room)
    if answers is not None:
        return answers[0], None
    if len(one.prompts) == 1:
        return [], _too_large(engine, one)
    middle = len(one.prompts) // 2
    parts = [_alone(engine, part, room) for part in (one.part(0, middle), one.part(middle, len(one.prompts)))]
    said = list(itertools.chain.from_iterable(answers for answers, _ in parts))
    return said, next((error for _, error in parts if error), None)


def _tried(engine: Engine, batch: Sequence[Prepared], room: Room) -> list[list[Answer]] | None:
    """The answers; None where memory ran out."""
    import torch

    try:
        return answer_batch(engine, batch)
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # a CPU's allocator has no error class of its own
            raise
    room.tokens = min(room.tokens, batch_tokens(batch) // 2)
    free_memory()  # only here, where the traceback no longer holds the tensors
    return None


def _too_large(engine: Engine, one: Prepared) -> VidpipeError:
    request = one.request
    return VidpipeError(
        f"The {request.scope} {request.start_s:.1f}-{request.end_s:.1f} s of video {request.video[:12]} does not fit "
        f"into the memory of the {'GPU' if engine.device == 'cuda' else 'machine'}, even alone: {one.length} tokens.",
        "Lower MaxVideoTokens or MaxPixels in [QwenVL], use a smaller model, or free memory.",
    )
