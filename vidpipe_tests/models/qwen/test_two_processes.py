"""Two processes of one home hold one model: the second waits, and a process that was killed holds none."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.describing_model import ModelReply
from vidpipe.models.qwen.backend import QwenModel
from vidpipe.models.qwen.loading import ModelLock
from vidpipe.settings import Settings, notices_shown
from vidpipe_tests.models.qwen.conftest import clip, needs_torch, request, settings

pytestmark = needs_torch

#: Answers once, then whenever it is told to; lets the model go when it is told that.
HOLDER = """
import itertools, sys, threading
from pathlib import Path
from vidpipe.models.qwen.backend import QwenModel
from vidpipe_tests.models.qwen.conftest import clip, request, settings
model = QwenModel(settings().model_copy(update={"home": Path(sys.argv[1])}))
for line in itertools.chain(["first"], sys.stdin):
    (reply,) = model.answer([request(clip("red", "square"))], threading.Event())
    print(reply.answers[0].text, flush=True)
    if "close" in line:
        model.close()
"""


def here(home: Path) -> Settings:
    return settings().model_copy(update={"home": home})


@contextmanager
def holding(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the tiny model for `home`."""
    command = [sys.executable, "-c", HOLDER, str(home)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "A red square.\n"
            yield process
        finally:
            process.kill()


class Asking(threading.Thread):
    """Asks `model` in a thread of its own."""

    def __init__(self, model: QwenModel, color: str) -> None:
        super().__init__(daemon=True)
        self.cancelled = threading.Event()
        self.replies: list[ModelReply] = []
        self._model, self._request = model, request(clip(color, "square"))
        self.start()

    def run(self) -> None:
        self.replies += self._model.answer([self._request], self.cancelled)

    def texts(self) -> list[str]:
        self.join(120)
        assert not self.is_alive()
        return [answer.text for reply in self.replies for answer in reply.answers]


@pytest.mark.soak
def test_one_process_at_a_time_holds_the_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = QwenModel(here(tmp_path))
    said: list[str] = []
    with caplog.at_level(logging.INFO), notices_shown(said.append), holding(tmp_path) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        impatient = Asking(model, "blue")
        impatient.join(1)
        assert impatient.is_alive(), "it waits"
        impatient.cancelled.set()
        assert impatient.texts() == [], "and gives up when it is told to"
        waiting = Asking(model, "green")
        waiting.join(1.5)
        assert waiting.is_alive()
        logged = [text for record in caplog.records if "Waiting for the model" in (text := record.getMessage())]
        assert logged == said
        assert len(said) == 2, "once for each who waits"
        assert f"process {other.pid} holds it" in said[0]

        other.stdin.write("answer and close\n")
        other.stdin.flush()
        assert other.stdout.readline() == "A red square.\n"
        assert waiting.texts() == ["A green square."], "close lets the next one load"
        assert not ModelLock(here(tmp_path)).take("another"), "one lock a home"
        assert ModelLock(here(tmp_path / "other home")).take("another"), "another home is another lock"

        other.stdin.write("answer\n")
        other.stdin.flush()
        model.close()
        assert other.stdout.readline() == "A red square.\n", "it loads again in its turn"
        waiting = Asking(model, "yellow")
        waiting.join(1)
        assert waiting.is_alive()
        other.kill()
        assert waiting.texts() == ["A yellow square."], "a process that was killed holds nothing"
    model.close()


def test_a_lock_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(UnavailableError, match=r"model-.*\.lock cannot be acquired"):
        list(QwenModel(here(tmp_path)).answer([request(clip("red", "square"))], threading.Event()))


def test_a_model_that_does_not_load_holds_no_lock(tmp_path: Path) -> None:
    broken = settings(model_dir=str(tmp_path)).model_copy(update={"home": tmp_path})
    with pytest.raises(UnavailableError, match="not a checkpoint"):
        list(QwenModel(broken).answer([request(clip("red", "square"))], threading.Event()))
    lock = ModelLock(here(tmp_path))
    assert lock.take("the next")
    lock.free()
