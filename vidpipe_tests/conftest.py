"""What every room's tests share: a home of their own, a real mongod, and an environment without VIDPIPE_* variables."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.settings import Settings
from vidpipe.settings.logs import reset_logging
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.rooms import in_one_piece

#: Several tests run at once, and the tiny model's tensors are too small to be shared out among threads that wait for
#: each other. For torch, which reads it when it is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CLIPS_VARIABLE = "VIDPIPE_TEST_CLIPS"
CLIPS = Path(os.environ.get(CLIPS_VARIABLE) or Path(__file__).parents[2] / "shared" / "clips")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms that take long first: where several files run at once, none is left to run alone at the end."""
    items.sort(key=lambda item: not in_one_piece(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where files run at once, the rooms with a home or servers for all their files stay in one process."""
    from vidpipe_tests.scheduling import ByRoom

    return ByRoom(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_vidpipe_variables() -> Iterator[None]:
    """The settings of whoever runs the tests must not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("VIDPIPE_") and name != CLIPS_VARIABLE]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_children() -> None:
    """A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_log_files_left() -> Iterator[None]:
    """A command that a test ran in this process set up the logs of its home, which is gone afterwards."""
    yield
    reset_logging()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home; nothing in it yet."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def mongod_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real mongod for the whole session, with its key: never print it."""
    from vidpipe.library import embedded

    settings = Settings(home=tmp_path_factory.mktemp("mongod"))
    yield embedded.start(settings).uri
    embedded.stop(settings)
    shutil.rmtree(settings.data_directory)


@contextlib.contextmanager
def _settings(home: Path, mongod_uri: str) -> Iterator[Settings]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    yield Settings(home=home, mongodb=MongoDB(uri=SecretStr(mongod_uri), database_name=name))
    with MongoClient[dict[str, object]](mongod_uri) as client:
        client.drop_database(name)


@pytest.fixture
def settings(home: Path, mongod_uri: str) -> Iterator[Settings]:
    """Settings of `home`, with a database of its own on the session's mongod, dropped afterwards."""
    with _settings(home, mongod_uri) as made:
        yield made


@pytest.fixture(scope="module")
def module_settings(tmp_path_factory: pytest.TempPathFactory, mongod_uri: str) -> Iterator[Settings]:
    """Settings with a home and database of their own for all tests of a file."""
    with _settings(tmp_path_factory.mktemp("home"), mongod_uri) as made:
        yield made


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/dagster of a fresh home: Dagster takes a second to lay out its tables."""
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.instance import instance

    settings = Settings(home=tmp_path_factory.mktemp("history"))
    instance(settings).dispose()
    return dagster_home(settings)


@pytest.fixture
def embedded_settings(home: Path) -> Iterator[Settings]:
    """Settings of `home` without a URI: an embedded server of its own, not yet started, ended afterwards."""
    from vidpipe.library import embedded

    settings = Settings(home=home, mongodb=MongoDB(timeout_s=2))
    yield settings
    embedded.stop(settings)
    shutil.rmtree(settings.data_directory, ignore_errors=True)


@pytest.fixture(scope="session")
def clips_directory() -> Path:
    """The folder of real clips that nobody here made; the test skips where it is absent."""
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not there ({CLIPS}); {CLIPS_VARIABLE} names another folder")
    return CLIPS
