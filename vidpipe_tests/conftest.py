"""Shared fixtures: a home, a real mongod, an environment without VIDPIPE_* variables. Marks and groups tests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.settings import Settings
from vidpipe.settings.logs import reset_logging
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.models.packaged_models import models_directory, with_models  # noqa: F401 - fixtures

#: Several tests run at once, and the tensors of the tiny model are too small for several threads each. Read by torch
#: when it is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
#: Machines may be busy: a single example may take longer than the 200 ms that Hypothesis allows.
hypothesis.settings.register_profile("vidpipe", deadline=None)
hypothesis.settings.load_profile("vidpipe")

CLIPS_VARIABLE = "VIDPIPE_TEST_CLIPS"
#: Path of azurite-blob, the emulator of Azure Blob Storage.
AZURITE_VARIABLE = "VIDPIPE_TEST_AZURITE"
#: Folders and fixtures whose tests share what takes long to set up: a home with a dozen videos in every stage, a home
#: with running servers, torch with a loaded model, a small library behind its page. They run in one process each.
_SHARED_SETUP = ("end_to_end", "services", "qwen", "small_library")
#: Files that mostly wait for Dagster's daemon, which checks backfills every 30 s. They start first.
_WAITING_FILES = ("test_backfills.py", "test_dagster_dev.py")
_SERVER_FIXTURES = {"mongod_uri", "embedded_settings", "s3"}
_SERVER_FOLDERS = {"end_to_end", "services"}
#: Test files that start servers of their own mention one of these.
_SERVER_WORDS = re.compile(r"\b(?:mongod|embedded|replica_set|dagster_home|DagsterInstance)\b")
_TORCH_IMPORTS = re.compile(
    r"^(?:from|import) .*\b(?:torch|transformers|endpoint\.serving|qwen\.conftest)\b", re.MULTILINE
)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker, and xdist reads its groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need servers or torch, and group those that share an expensive setup into one process."""
    texts: dict[Path, str] = {}
    for item in items:
        text = texts.setdefault(item.path, item.path.read_text(encoding="utf-8"))
        folders = {parent.name for parent in item.path.parents}
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & _SERVER_FIXTURES or folders & _SERVER_FOLDERS or _SERVER_WORDS.search(text):
            item.add_marker(pytest.mark.server)
        needs_torch = "qwen" in folders or bool(_TORCH_IMPORTS.search(text))
        if needs_torch:
            item.add_marker(pytest.mark.torch)
        shared = "qwen" if needs_torch else next((one for one in _SHARED_SETUP if one in folders | fixtures), None)
        item.add_marker(pytest.mark.xdist_group(shared or item.nodeid.partition("::")[0]))
    items.sort(
        key=lambda item: (
            item.path.name not in _WAITING_FILES,
            not {parent.name for parent in item.path.parents}.union(getattr(item, "fixturenames", ()))
            & {*_SHARED_SETUP},
        )
    )


@pytest.fixture(scope="session", autouse=True)
def _no_vidpipe_variables() -> Iterator[None]:
    """Hide the settings of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if re.match("VIDPIPE_(?!TEST_)", name)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_children() -> None:
    """Restore SIGINT, which a shell ignores in background jobs and which children inherit; tests press Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_log_files_left() -> Iterator[None]:
    """Close the log files of commands that a test ran in this process; their home is deleted."""
    yield
    reset_logging()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder for a home."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def mongod_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real mongod for the session. It contains the key: never print it."""
    from vidpipe.library import embedded

    settings = Settings(home=tmp_path_factory.mktemp("mongod"))
    yield embedded.start(settings).uri
    embedded.stop(settings)
    shutil.rmtree(settings.data_directory)


@contextlib.contextmanager
def settings_of(home: Path, mongod_uri: str) -> Iterator[Settings]:
    """Settings of a home with its own database, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    yield Settings(home=home, mongodb=MongoDB(uri=SecretStr(mongod_uri), database_name=name))
    with MongoClient[dict[str, object]](mongod_uri) as client:
        client.drop_database(name)


@pytest.fixture
def settings(home: Path, mongod_uri: str) -> Iterator[Settings]:
    """Settings of `home` with its own database on the session's mongod, dropped afterwards."""
    with settings_of(home, mongod_uri) as made:
        yield made


@pytest.fixture(scope="module")
def module_settings(tmp_path_factory: pytest.TempPathFactory, mongod_uri: str) -> Iterator[Settings]:
    """Settings with a home and database for all tests of a file."""
    with settings_of(tmp_path_factory.mktemp("home"), mongod_uri) as made:
        yield made


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/dagster of a new home, to copy: Dagster takes a second to create its tables."""
    from vidpipe.operations.services.state import dagster_home
    from vidpipe.pipeline.instance import instance

    settings = Settings(home=tmp_path_factory.mktemp("history"))
    instance(settings).dispose()
    return dagster_home(settings)


@pytest.fixture
def embedded_settings(home: Path) -> Iterator[Settings]:
    """Settings of `home` without a URI: with its own embedded server, not yet started, stopped afterwards."""
    from vidpipe.library import embedded

    settings = Settings(home=home, mongodb=MongoDB(timeout_s=2))
    yield settings
    embedded.stop(settings)
    shutil.rmtree(settings.data_directory, ignore_errors=True)


@pytest.fixture(scope="session")
def clips_directory() -> Path:
    """The folder of real clips that VIDPIPE_TEST_CLIPS names; the test is skipped without it."""
    clips = Path(os.environ.get(CLIPS_VARIABLE, ""))
    if not os.environ.get(CLIPS_VARIABLE) or not clips.is_dir():
        pytest.skip(f"set {CLIPS_VARIABLE} to a folder of real clips")
    return clips
