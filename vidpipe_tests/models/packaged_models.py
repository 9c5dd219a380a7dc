"""Real models out of registry packages, installed once for all test runs of this user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.catalogue import entry_of
from vidpipe.models.installation import install

#: Set by `make soak`: a model that has vanished is a failure, not a skip. Read before the fixture that hides variables.
REQUIRED = bool(os.environ.get("VIDPIPE_TEST_REQUIRE_MODELS"))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidpipe-tests" / "models"


class PackagedModels:
    """The cache of installed models, shared by test runs and processes: installing waits for a lock."""

    def __init__(self, directory: Path, *, required: bool) -> None:
        self.directory = directory
        self._required = required
        self._installed: set[str] = set()

    def __call__(self, *names: str) -> Path:
        """Install models and return the folder of all models. Skips the test if one cannot be had."""
        for name in (name for name in names if name not in self._installed):
            try:
                install(entry_of(name), self.directory)
                self._installed.add(name)
            except UnavailableError as error:
                if self._required:
                    pytest.fail(f"{error}")
                pytest.skip(f"{error}")
        return self.directory

    def into(self, home: Path, *names: str) -> Path:
        """Put models into data/models of a home, as links to the cache, and return that folder."""
        models = home / "data" / "models"
        models.mkdir(parents=True, exist_ok=True)
        for name in names:
            (models / name).symlink_to(self(name) / name)
        return models


@pytest.fixture(scope="session")
def models_directory() -> PackagedModels:
    """Real models: `models_directory("faces-centerface")` is a folder to be used as Settings.models_directory."""
    return PackagedModels(_cache(), required=REQUIRED)


@pytest.fixture
def with_models(home: Path, models_directory: PackagedModels) -> Callable[..., Path]:
    """`with_models("vad-fireredvad")` puts real models into the test's home."""
    return lambda *names: models_directory.into(home, *names)
