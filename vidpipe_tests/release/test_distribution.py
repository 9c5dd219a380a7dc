"""Sdist and wheel: built from the clone, complete, equal, and installable with every supported version of Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.utils import canonicalize_name

from vidpipe import __version__
from vidpipe_tests.clone import ROOT, build, module_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    name.rpartition(" ")[2]
    for name in PROJECT["classifiers"]
    if name.startswith("Programming Language :: Python :: 3.")
]
#: Extras for users install without a compiler; the servers that tests use come partly as source code.
WITH_SOURCES = ("dev",)


def script(name: str) -> ModuleType:
    """Return a script of the clone as a module."""
    return module_of(ROOT / "scripts" / f"{name}.py")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of the clone."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_archives_have_what_vidpipe_needs_and_nothing_else(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script("check_dist").main([str(dist)]) == 0, capsys.readouterr().err
    assert f"vidpipe-{__version__}.tar.gz: " in capsys.readouterr().out


def test_the_check_names_what_is_missing_and_what_does_not_belong() -> None:
    check = script("check_dist")
    faults = check.wheel_faults(["vidpipe/errors.py", "vidpipe_tests/clips.py"])
    assert "The wheel lacks vidpipe/errors.py." not in faults
    assert "The wheel lacks vidpipe/py.typed." in faults
    assert "The wheel must not have vidpipe_tests/clips.py." in faults
    faults = check.sdist_faults(["rules/questions.json", "docs/screenshots/library.png"])
    assert "The sdist lacks constraints.txt." in faults
    assert "The sdist must not have rules/questions.json." in faults
    assert "The sdist must not have docs/screenshots/library.png." in faults


def test_the_sdist_builds_the_same_wheel_as_the_clone(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - our own
    build(tmp_path / f"vidpipe-{__version__}", tmp_path, "-t", "wheel")
    assert contents(next(tmp_path.glob("*.whl"))) == contents(next(dist.glob("*.whl")))


def test_the_metadata_name_the_version_the_license_and_every_supported_python(dist: Path) -> None:
    metadata = contents(next(dist.glob("*.whl")))[f"vidpipe-{__version__}.dist-info/METADATA"].decode().splitlines()
    assert f"Version: {__version__}" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert not [line for line in metadata if line.startswith("Classifier: License")]  # PyPI refuses both
    assert [f"Classifier: Programming Language :: Python :: {version}" in metadata for version in PYTHONS] == [True] * 3


@pytest.mark.soak  # a minute or two: resolves each extra for each version of Python
@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_can_be_installed_with_the_pinned_versions(python: str, extra: str, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed; `make` installs it")
    command = [uv, "pip", "compile", "-q", "--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    command += ["-c", "constraints.txt", "-o", str(tmp_path / "resolved.txt"), "pyproject.toml"]
    command += ["--extra", extra] if extra else []
    command += [] if extra in WITH_SOURCES else ["--only-binary", ":all:"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = set(re.findall(r"^([\w.-]+)==", (tmp_path / "resolved.txt").read_text(), re.MULTILINE))
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {canonicalize_name(name) for name in resolved} <= {canonicalize_name(name) for name in pinned} | {"pip"}
