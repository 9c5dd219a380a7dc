"""Special files are refused immediately, and private files are private from the start."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vidpipe.cli.doctor import check_all
from vidpipe.errors import VidpipeError
from vidpipe.media.programs import run
from vidpipe.operations.backups.backup import part_folder
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.instance import prepare
from vidpipe.safe_files import check_replaceable, open_private, read_regular, replace_file
from vidpipe.settings import Settings, audit, configure_logging, load
from vidpipe.settings.logs import AUDIT_NAME, reset_logging
from vidpipe.settings.operation import Lists
from vidpipe.settings.sources import read_ini
from vidpipe.sources.inputs import gather
from vidpipe.sources.list_files import read_list
from vidpipe.tagging.rule_files import read_text


@pytest.fixture
def odd_files(tmp_path: Path) -> dict[str, Path]:
    """Special files, named like lists."""
    folder = tmp_path / "odd"
    folder.mkdir()
    pipe, device, kernel, bound = (folder / f"{name}.txt" for name in ("pipe", "device", "kernel", "socket"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    kernel.symlink_to("/proc/self/environ")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(bound))
    return {"a named pipe": pipe, "a device": device, "a socket": bound, "a virtual file of the kernel": kernel}


def test_pipes_devices_and_kernel_files_are_refused_at_once(odd_files: dict[str, Path]) -> None:
    for said, path in odd_files.items():
        for read in (
            lambda path: read_list(path, Lists()),
            lambda path: read_ini(path, "", secrets_allowed=False, model=Settings, plugins=()),
            lambda path: read_text(path, str(path), "CustomTagRules"),
        ):
            with pytest.raises(VidpipeError, match=f"cannot be read: it is {said}"):
                read(path)
        (problem,) = gather([path]).problems
        assert said in str(problem.error)
    with pytest.raises(OSError, match="a named pipe"):
        check_replaceable(odd_files["a named pipe"])


def test_what_a_shell_hands_over_as_a_pipe_is_read() -> None:
    reader, writer = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writer, b"[Paths]"), os.close(writer)))
    thread.start()
    assert read_regular(Path(f"/dev/fd/{reader}")) == b"[Paths]"
    thread.join()
    (problem,) = gather([f"/dev/fd/{reader}"]).problems
    assert "`vidpipe add -`" in str(problem.error)
    os.close(reader)


def test_logs_history_and_backups_are_for_their_owner_whatever_the_umask(home: Path) -> None:
    settings = Settings(home=home)
    (home / "config.local.ini").touch(0o600)
    before = os.umask(0)
    try:
        configure_logging(settings)
        audit("something")
        prepare(settings)
        open_private(home / "run.log").close()
        backup = part_folder(home, media=False, derived=False)
    finally:
        os.umask(before)
        reset_logging()
    logs = settings.resolve(settings.logging.log_file).parent
    modes = {path: path.stat().st_mode & 0o777 for path in (
        logs, logs / AUDIT_NAME, logs / "vidpipe.log", dagster_home(settings), backup, home / "run.log"
    )}  # fmt: skip
    assert {path for path, mode in modes.items() if mode & 0o077} == set()

    def found() -> tuple[str, str]:
        check = dict(check_all(settings))["home"]
        return check.status, check.todo

    assert found() == ("ok", "")
    (home / "config.local.ini").chmod(0o644)
    assert found() == ("warn", f"`chmod -R go= {home / 'config.local.ini'}`")


def test_programs_of_others_get_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "VIDPIPE_SOURCE_X", "DB_PASSWORD", "NVIDIA_API_KEY", "FFREPORT")
    for name in (*secret, "CUDA_VISIBLE_DEVICES", "LIBVA_DRIVER_NAME", "LC_ALL"):
        monkeypatch.setenv(name, "s3cret")
    seen = {line.partition("=")[0] for line in run(["env"], timeout_s=60).stdout.decode().splitlines()}
    assert seen.isdisjoint(secret)
    assert {"PATH", "CUDA_VISIBLE_DEVICES", "LIBVA_DRIVER_NAME", "LC_ALL"} <= seen


def test_a_misplaced_line_of_a_settings_file_is_not_repeated(home: Path) -> None:
    for text in ("root:PRIVATE\n", "[Paths]\nPRIVATE\n"):
        (home / "config.ini").write_text(text)
        with pytest.raises(VidpipeError, match=r"line [12]") as error:
            load(home)
        assert "PRIVATE" not in str(error.value)


def test_threads_that_replace_the_same_file_do_not_mix_their_contents(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    contents = [bytes([letter]) * 300_000 for letter in b"abcdefgh"]

    def replace_often(content: bytes) -> None:
        for _ in range(30):
            replace_file(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(replace_often, contents))
    assert list(tmp_path.iterdir()) == [path]
