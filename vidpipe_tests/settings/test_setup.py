"""Messages of the setup if something is missing and cannot be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vidpipe_tests.clone import module_of

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def machine() -> ModuleType:
    return module_of(SCRIPTS / "machine.py")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; empty at first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("VIDPIPE_MONGODB_URI", raising=False)
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def find_python(path: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh") or "/bin/sh"
    environ = {"PATH": path}
    return subprocess.run([shell, str(SCRIPTS / "python.sh")], env=environ, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_is_named_with_what_to_install(tmp_path: Path) -> None:
    # Simulates an old Python: reports its version, and fails the check for a recent one.
    program(tmp_path, "python3", 'case "$2" in *print*) echo 3.9;; *) exit 1;; esac')
    done = find_python(str(tmp_path))
    assert done.returncode == 1
    assert f"Found: {tmp_path}/python3 (3.9)" in done.stderr
    assert "3.11 or later" in done.stderr
    assert "no python3 was found" in find_python(str(tmp_path / "nothing")).stderr


def test_a_python_that_serves_is_found(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    assert find_python(str(tmp_path)).stdout.strip() == f"{tmp_path}/python3"


@pytest.mark.usefixtures("programs")
def test_ffmpeg_that_cannot_be_installed_is_named_with_the_ways_to_get_it(machine: ModuleType) -> None:
    with pytest.raises(machine.Missing, match=r"ffmpeg is missing and no package manager.*5\.1 or later.*static build"):
        machine.ensure_ffmpeg()


def test_an_installer_that_fails_is_quoted_after_a_second_try(machine: ModuleType, programs: Path) -> None:
    program(programs, "sudo", 'shift; exec "$@"')
    program(programs, "env", 'shift; exec "$@"')
    program(programs, "true", "exit 0")
    program(programs, "apt-get", f'echo "$@" >> {programs}/calls; echo "E: no route to mirror"; exit 100')
    with pytest.raises(machine.Missing, match="no route to mirror"):
        machine.ensure_ffmpeg()
    calls = (programs / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["update", "ffmpeg", "update", "ffmpeg"]


def test_an_old_ffmpeg_is_told_by_its_version(machine: ModuleType, programs: Path) -> None:
    for name in ("ffmpeg", "ffprobe"):
        program(programs, name, 'echo "ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"')
    with pytest.raises(machine.Missing, match=r"ffmpeg 4\.4 on PATH .* is too old"):
        machine.ensure_ffmpeg()
    program(programs, "ffmpeg", 'echo "ffmpeg version N-117890-g9aaaeba45c Copyright"')
    machine.ensure_ffmpeg()


@pytest.fixture
def bare_python() -> Path:
    """A Python without the packages of this environment, and so without the mongod from one of them."""
    python = Path(sys._base_executable)
    found = subprocess.run([python, "-c", "import fiftyone"], capture_output=True, check=False).returncode == 0
    if found or python == Path(sys.executable):
        pytest.skip("the base Python has these packages as well")
    return python


@pytest.mark.usefixtures("programs")
def test_another_architecture_is_told_how_to_bring_a_mongod(machine: ModuleType, bare_python: Path) -> None:
    with pytest.raises(machine.Missing, match=rf"{os.uname().machine}.*mongod is on PATH.*VIDPIPE_MONGODB_URI"):
        machine.ensure_mongod(bare_python)


def test_a_processor_without_avx_is_named_as_the_reason(machine: ModuleType, programs: Path, bare_python: Path) -> None:
    program(programs, "mongod", "kill -ILL $$")
    with pytest.raises(machine.Missing, match=r"needs AVX.*VIDPIPE_MONGODB_URI"):
        machine.ensure_mongod(bare_python)


def test_a_missing_library_is_named(machine: ModuleType, programs: Path, bare_python: Path) -> None:
    program(programs, "mongod", 'echo "error while loading shared libraries: libcurl.so.4: cannot open" >&2; exit 127')
    with pytest.raises(machine.Missing, match=r"mongod needs libcurl\.so\.4 and no package manager"):
        machine.ensure_mongod(bare_python)


@pytest.mark.usefixtures("programs")
def test_a_server_of_the_users_needs_no_mongod_here(
    machine: ModuleType, bare_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", "mongodb://db.lan/")
    machine.ensure_mongod(bare_python)
