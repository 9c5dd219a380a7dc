"""The tutorial of the first library works as it is written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from vidpipe_tests.storage.servers import free_port
from vidpipe_tests.walks.conftest import DOCS
from vidpipe_tests.walks.document import run_document


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_stranger_makes_a_first_library(installed: Mapping[str, str], folder: Path) -> None:
    ports = {f"VIDPIPE_SERVICES_{name}PORT": str(free_port()) for name in ("LIBRARY", "WEB", "METRICS")}
    environment = {**installed, **ports}
    try:
        run_document(DOCS / "tutorials" / "first-library.md", folder, environment)
    finally:
        stop = ["vidpipe", "--home", str(folder / "library"), "down"]
        subprocess.run(stop, env={**os.environ, **environment}, capture_output=True, check=False)
