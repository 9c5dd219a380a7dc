"""The tiny Qwen2-VL sees what is in the frames, and says the same however its work is divided."""

from __future__ import annotations

import threading

from vidpipe.models.describing_model import Frame, ModelReply
from vidpipe.models.qwen.backend import QwenModel
from vidpipe_tests.models.qwen.conftest import (
    QUESTIONS,
    SEEN,
    clip,
    needs_torch,
    replies,
    request,
    requests_of,
    settings,
)

pytestmark = needs_torch


def test_each_clip_gets_its_colour(model: QwenModel) -> None:
    colors = ("red", "green", "blue", "yellow", "white", "purple", "cyan")
    shown = [(color, thing) for color in colors for thing in ("square", "picture")]
    said = replies(model, [request(clip(color, thing)) for color, thing in shown])
    expected = [f"A {color} {thing}." for color, thing in shown]
    assert [texts[0] for texts in said] == expected


def test_answers_name_their_prompt_and_count_their_tokens(model: QwenModel) -> None:
    (reply,) = model.answer([request(clip("red", "square"), *QUESTIONS)], threading.Event())
    assert [answer.prompt for answer in reply.answers] == list(QUESTIONS)
    tokens = {answer.prompt.id: answer.tokens for answer in reply.answers}
    assert tokens["four_tokens"] == 4, "cut off at its own limit, not at the batch's"
    assert 4 < tokens["short"] < 24, "the model ends by itself"
    assert reply.answers[2].text == "A red square.", "no control tokens in the text"


def test_a_batch_says_the_same_as_one_by_one(model: QwenModel) -> None:
    asked = requests_of(SEEN, *QUESTIONS)
    together = replies(model, asked)
    assert together == [replies(model, [each])[0] for each in asked]
    assert together[::-1] == replies(model, asked[::-1])


def test_a_broken_frame_is_an_error_of_its_request_alone(model: QwenModel) -> None:
    broken = request([Frame(0.5, b"\xff\xd8\xff no picture")], video="b")
    empty = request([], video="c")
    good = request(clip("blue", "picture"))
    by_video = {reply.request.video[0]: reply for reply in model.answer([broken, empty, good], threading.Event())}
    assert "0.50 s is not a readable JPEG" in str(by_video["b"].error)
    assert "no frames" in str(by_video["c"].error)
    assert [answer.text for answer in by_video["a"].answers] == ["A blue picture."]


def test_cancelled_between_batches(model: QwenModel) -> None:
    cancelled = threading.Event()
    small = QwenModel(settings(batch_tokens=256))
    said: list[ModelReply] = []
    for reply in small.answer(requests_of(SEEN), cancelled):
        said.append(reply)
        cancelled.set()
    small.close()
    assert len(said) == 1
    assert not list(model.answer(requests_of(SEEN), cancelled))
