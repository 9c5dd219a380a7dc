"""A home made by `init_home` for each test that needs one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.settings import init_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return init_home(tmp_path / "home").home
