"""A model in a process of its own: crashes, signals, cancelling, large requests, what the process inherits."""

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.models.installed import InstalledModel
from vidpipe.models.worker import WorkerModel, WorkerStoppedError
from vidpipe.settings import Settings
from vidpipe.stages.analyses.packed_frames import ask
from vidpipe.stages.contract import Item, OutOfReach, StageContext, per_video

_LOAD = "vidpipe_tests.models.worker_functions:load"
_INSTALLED = InstalledModel("some-model", "1", Path("/models/some-model"), {"a.onnx": "0" * 64}, {"size": [8, 8]})
_NEVER = threading.Event()


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerModel]:
    made = WorkerModel([_INSTALLED], _LOAD, {"twice": 2}, threads=3)
    yield made
    made.close()


def test_the_model_gets_its_folders_cards_threads_and_arguments(worker: WorkerModel) -> None:
    assert worker.call("given", _NEVER) == {
        "threads": 3, "folders": {"some-model": "/models/some-model"}, "cards": {"some-model": {"size": [8, 8]}},
        "twice": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "how"),
    [("segfault", "SIGSEGV"), ("exit", "exit code 3")],
)
def test_a_crash_fails_one_request_and_the_next_one_is_answered(worker: WorkerModel, request_: str, how: str) -> None:
    with pytest.raises(MediaError, match=f"The process of the model some-model ended .*{how}"):
        worker.call(request_, _NEVER)
    assert worker.call("here again", _NEVER) == "here again"


@pytest.mark.parametrize(
    ("request_", "said"), [("raise", "ValueError: invalid literal"), ("nan", "ValueError"), ("not json", "TypeError")]
)
def test_an_error_of_a_request_leaves_the_process_running(worker: WorkerModel, request_: str, said: str) -> None:
    before = worker.call("process", _NEVER)
    with pytest.raises(MediaError, match=said):
        worker.call(request_, _NEVER)
    assert worker.call("process", _NEVER) == before


@pytest.mark.parametrize("fails", ["raises", "crashes"])
def test_a_model_that_cannot_be_loaded_is_unavailable(fails: str) -> None:
    broken = WorkerModel([_INSTALLED], _LOAD, {"fails": fails}, threads=1)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="The model some-model cannot be loaded") as caught:
            broken.call("anything", _NEVER)
        assert caught.value.hint == "Check its settings, and its files with `vidpipe models verify some-model`."
        assert broken._process is None


def test_a_missing_package_is_reported_with_the_command_that_installs_it() -> None:
    with pytest.raises(UnavailableError, match="The package no_such_package is not installed") as caught:
        WorkerModel([_INSTALLED], _LOAD, {}, threads=1, packages=("json", "no_such_package"))
    assert caught.value.hint == "Run `pip install 'vidpipe[analyses]'`."


def test_a_stage_whose_model_cannot_be_loaded_blames_no_video(home: Path) -> None:
    broken = WorkerModel([_INSTALLED], _LOAD, {"fails": "raises"}, threads=1)
    stage = per_video(lambda item, context: ask(broken, "anything", context))
    with pytest.raises(OutOfReach, match="cannot be loaded"):
        list(stage([Item("0" * 64, {})], StageContext(Settings(home=home))))


def test_large_requests_and_answers_arrive_whole_and_too_large_answers_are_refused(worker: WorkerModel) -> None:
    jpegs = [bytes(8 << 20), b"x" * (8 << 20)]
    assert worker.call({"jpegs": jpegs}, _NEVER) == [hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs]
    assert len(worker.call({"times": 8 << 20}, _NEVER)) == 8 << 20
    with pytest.raises(MediaError, match="sent no valid answer"):
        worker.call({"times": 70 << 20}, _NEVER)
    assert worker.call("here again", _NEVER) == "here again"


def test_cancelling_ends_the_process(worker: WorkerModel) -> None:
    pid = worker.call("process", _NEVER)[0]
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(WorkerStoppedError):
        worker.call("sleep", cancelled)
    assert not psutil.pid_exists(pid)


def test_requests_of_several_threads_are_answered_in_turn(worker: WorkerModel) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            answers[number] = worker.call(number, _NEVER)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number for number in range(8)}


def test_the_process_has_no_secrets_no_network_models_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VIDPIPE_MONGODB_URI", "OPENAI_API_KEY", "SMTP_PASSWORD"):
        monkeypatch.setenv(name, "do-not-tell")
    made = WorkerModel([_INSTALLED], _LOAD, {}, threads=3)
    try:
        seen = made.call("environment", _NEVER)
        pid, session = made.call("process", _NEVER)
    finally:
        made.close()
    assert "do-not-tell" not in seen.values()
    assert (seen["OMP_NUM_THREADS"], seen["HF_HUB_OFFLINE"]) == ("3", "1")
    assert pid == session, "Ctrl-C in the terminal must not reach it before the run stops"
    assert not psutil.pid_exists(pid), "close() must end it"


@pytest.mark.soak
def test_the_process_ends_with_a_killed_parent_even_in_the_middle_of_a_request() -> None:
    code = (
        "import threading\n"
        "from pathlib import Path\n"
        "from vidpipe.models.installed import InstalledModel\n"
        "from vidpipe.models.worker import WorkerModel\n"
        f"model = WorkerModel([InstalledModel('m', '1', Path('/'), {{}})], {_LOAD!r}, {{}}, threads=1)\n"
        "print(model.call('process', threading.Event())[0], flush=True)\n"
        "model.call('sleep', threading.Event())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    process.wait(timeout=20)


def test_the_version_changes_with_files_card_and_arguments_but_not_with_threads() -> None:
    def version(card: dict[str, object], sha256: str, twice: int, threads: int) -> str:
        model = InstalledModel("m", "1", Path("/"), {"a": sha256}, card)
        return WorkerModel([model], _LOAD, {"twice": twice}, threads=threads).version

    first = version({"size": 8}, "0" * 64, 2, 1)
    assert first == version({"size": 8}, "0" * 64, 2, 4)
    others = {
        version({"size": 9}, "0" * 64, 2, 1),
        version({"size": 8}, "1" * 64, 2, 1),
        version({"size": 8}, "0" * 64, 3, 1),
    }
    assert len(others | {first}) == 4
