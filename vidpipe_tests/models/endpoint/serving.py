"""A real OpenAI-compatible server with the tiny Qwen2-VL: `transformers serve`, in a process of its own.

A test uses it by importing the fixture into its conftest:

    from vidpipe_tests.models.endpoint.serving import served  # noqa: F401
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from vidpipe_tests.cluster.servers import end

TINY = Path(__file__).parents[1] / "qwen" / "tiny"
#: A busy machine takes its time to import torch.
_START_S = 240.0


@dataclass(frozen=True)
class Served:
    """url: for PublicEndpoint; model: the name for Model; log: what the server wrote, each request with its status"""

    url: str
    model: str
    log: Path

    def requests(self) -> int:
        """Chat completions that were answered so far."""
        return self.log.read_text(errors="replace").count("POST /v1/chat/completions HTTP/1.1")


@contextlib.contextmanager
def serving(folder: Path, checkpoint: Path = TINY) -> Iterator[Served]:
    """Runs the server until the context ends; `folder` takes its log and its empty cache."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "hub").mkdir(exist_ok=True)
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub"),
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    served = Served(f"http://127.0.0.1:{port}", str(checkpoint), folder / "serve.log")
    with served.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", str(checkpoint), *options],
            stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder,
        )  # fmt: skip
    try:
        _wait_until_ready(served, process)
        yield served
    finally:
        end(process, 20)


def _wait_until_ready(served: Served, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{served.url}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"transformers serve did not start:\n{served.log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, once a session; skipped where it cannot be installed."""
    pytest.importorskip("torch", reason="the extra `qwen` is not installed")
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="transformers[serving] is not installed")
    with serving(tmp_path_factory.mktemp("serve")) as running:
        yield running
